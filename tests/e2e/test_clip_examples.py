"""What the documents say is run as it stands: their Python, and their commands of clip_train."""

import io
import random
import re
import shlex
import tarfile

import pytest
from PIL import Image, ImageDraw

from clip_train.__main__ import main

COLOURS = ("red", "green", "blue", "yellow")
TASKS = {"dishes": "food", "words": "signs", "actions": "frames", "countries": "views"}  # class file, its images
DOCUMENTS = ("README.md", "docs/models.md", "docs/evaluation.md")
SEPARATELY = {"train", "tokenizer", "flag"}  # of long runs, or of packages that may be missing; other tests show them


def draw(colour, rng):
    image = Image.new("RGB", (32, 32), "white")
    left, top = rng.randint(1, 10), rng.randint(1, 10)
    ImageDraw.Draw(image).ellipse((left, top, left + 18, top + 18), fill=colour)
    return image


def encode(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with all that the documents name: a model, shards, images of classes, tables."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("world")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(96):
            colour = COLOURS[number % 4]
            for suffix, data in (("png", encode(draw(colour, rng))), ("txt", f"a {colour} dish".encode())):
                info = tarfile.TarInfo(f"{number:04d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    for classes, images in TASKS.items():
        (folder / f"{classes}.txt").write_text("\n".join(COLOURS))
        sets = ("train", "test", "drawn") if images == "food" else (".",)
        for place, count in ((folder / images / name, 36 if name == "train" else 4) for name in sets):
            for colour in COLOURS:
                (place / colour).mkdir(parents=True)
                for number in range(count):
                    draw(colour, rng).save(place / colour / f"{number}.png")
    draw("red", rng).save(folder / "photo.jpg")
    draw("blue", rng).save(folder / "drawing.png")
    (folder / "captions.csv").write_text("image,caption\nphoto.jpg,a red dish\ndrawing.png,a blue dish\n")
    (folder / "models.csv").write_text("plain,drawn\n0.5,0.4\n0.7,0.5\n0.9,0.7\n")
    flags = ["--model", "tiny-32", "--vocab-size", "560", "--batch-size", "32", "--warmup-steps", "4", "--steps", "30"]
    command = ["train", "--shards", str(folder / "shards"), "--output", str(folder / "model"), "--device", "cpu"]
    assert main([*command, *flags, "--threads", "1"]) == 0
    (folder / "RUN").symlink_to(folder / "model")
    return folder


def commands_in(text):
    """The commands of clip_train that a document shows, without `python -m clip_train` and comments."""
    lines = re.findall(r"^    python -m clip_train (.*)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE)
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for command in words if command[0] not in SEPARATELY]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_of_a_document_run_one_after_another(checkout, world, monkeypatch, document):
    monkeypatch.chdir(world)
    commands = commands_in((checkout / document).read_text())
    assert commands
    for command in commands:
        output = command[command.index("--output") + 1] if "--output" in command else None
        if output and (world / output).exists():  # of another document
            command[command.index(output)] = f"{document.replace('/', '-')}-{output}"
        assert main([*command]) == 0, command


@pytest.mark.parametrize("document", DOCUMENTS[:2])
def test_the_python_of_a_document_runs_and_classifies(checkout, world, monkeypatch, document):
    monkeypatch.chdir(world)
    monkeypatch.setattr("clip_train.api._LOADED", {})  # as in a new process
    blocks = re.findall(r"^```python\n(.*?)^```", (checkout / document).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    assert len(names["probabilities"]) == len(names["captions"]) == 2
    assert sum(names["probabilities"]) == pytest.approx(1)
    if "probs" in names:
        assert names["probs"][0].tolist() == pytest.approx(names["probabilities"], abs=1e-5)
    if "predicted" in names:
        assert names["predicted"].tolist() == [0, 1]
        assert names["cosines"].shape == (1, 4)
        assert names["pixels"].grad.abs().max() > 0
