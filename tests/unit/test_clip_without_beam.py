"""The trainer imports, trains, evaluates and scores where nothing but its own needs is installed."""

import io
import subprocess
import sys
import tarfile

from PIL import Image

NEEDS = ("torch", "numpy", "pillow", "pyarrow", "requests", "tqdm", "tokenizers", "regex", "ftfy", "safetensors")
COLOURS = ("red", "blue")
# What a program would see with only some distributions installed: modules of all others cannot be found.
SCRIPT = """
import importlib.util, pkgutil, re, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

def needed(name, known):
    if name in known:
        return
    try:
        wanted = requires(name) or ()
    except PackageNotFoundError:  # for another platform
        return
    known.add(name)
    for requirement in wanted:
        if "extra ==" not in requirement:
            needed(plain(re.match("[A-Za-z0-9._-]+", requirement)[0]), known)

installed = set()
for name in sys.argv[1].split(","):
    needed(name, installed)
owners = {module: {plain(name) for name in names} for module, names in packages_distributions().items()}
blocked = {module for module, names in owners.items() if not names & installed} | {"vocab", "jobs"}
blocked -= {"clip_train", "pipeline"}

class Hiding:
    "A finder that does not find what is blocked."

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in blocked else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
assert not any(importlib.util.find_spec(name) for name in ("apache_beam", "fastwarc", "nltk", "aiohttp", "vocab"))
import clip_train
for module in pkgutil.walk_packages(clip_train.__path__, "clip_train."):
    importlib.import_module(module.name)
from clip_train.__main__ import main

device = ["--device", "cpu"]
small = ["--model", "tiny-32", "--vocab-size", "540", "--batch-size", "8", "--warmup-steps", "1", "--steps", "3"]
assert main(["train", "--shards", "shards", "--output", "run", *small, "--workers", "1", *device]) == 0
classes = ["--images", "shards", "--classes", "classes.txt"]
assert main(["evaluate", "zero-shot", "--checkpoint", "run", *classes, *device]) == 0
assert main(["score", "shards", "--checkpoint", "run", "--output", "scores", *device]) == 0
assert not blocked & {name.split(".")[0] for name in sys.modules}
"""


def write_shard(path):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(16):
            image, colour = io.BytesIO(), COLOURS[number % 2]
            Image.new("RGB", (32, 32), colour).save(image, "PNG")
            for suffix, data in (("png", image.getvalue()), ("txt", colour.encode()), ("cls", b"%d" % (number % 2))):
                info = tarfile.TarInfo(f"{number:04d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_the_trainer_works_where_only_its_own_needs_are_installed(checkout, tmp_path):
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "00000.tar")
    (tmp_path / "classes.txt").write_text("\n".join(COLOURS))
    script = f"import sys; sys.path.insert(0, {str(checkout)!r})\n{SCRIPT}"
    command = [sys.executable, "-c", script, ",".join(NEEDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "top-1" in done.stdout and "16 samples" in done.stdout
