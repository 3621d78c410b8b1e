"""The programs that are compared: how each is told to do the same work, and how many images it has stored.

img2dataset is installed in an environment of its own:

    python3.12 -m venv peers                          # 3.11 does too; 3.13 cannot import it
    peers/bin/pip install img2dataset==1.47.0 'webdataset<0.3' 'albumentations<2' opencv-python-headless

Up to Python 3.11 urllib makes a TLS context for every request; `one_context` gives it what it has from 3.12 on.
"""

import glob
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from inputs import urls_table

from jobs.interpreter import module_command, module_environment

HERE = os.path.dirname(os.path.abspath(__file__))
CONTACT = "bench@host.example"
SIDE_PX = 256
SHARD_URLS = 2_000  # img2dataset is fastest with long shards


@dataclass
class Scene:
    """Where a benchmark takes place.

    Attributes:
        folder: Of the inputs.
        num_urls: In them.
        connect_to: Where hosts are, in place of a name server.
        authorities: A file of certificates to trust, or empty.
        flags: What fetch-images has to be told besides.
    """

    folder: str
    num_urls: int
    connect_to: Sequence[str] = ()
    authorities: str = ""
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {"SSL_CERT_FILE": self.authorities} if self.authorities else {}


class Run(NamedTuple):
    """A command, its environment, and where it writes."""

    command: list[str]
    env: Mapping[str, str]


class Program(NamedTuple):
    """One row of a table: a name, and how to run it in a scene, writing to a folder that is not there yet."""

    name: str
    prepare: Callable[[Scene, str], Run]


def fetch_images(name: str, *flags: str, workers: int = 2) -> Program:
    """Our stage, as a user runs it."""

    def prepare(scene: Scene, output: str) -> Run:
        words = ["fetch-images", "--data", scene.folder, "--output", output, "--workers", str(workers), "--quiet"]
        command = [*module_command("jobs"), *words, *network_flags(scene), *flags]
        return Run(command, module_environment() | scene.environment)

    return Program(name, prepare)


def network_flags(scene: Scene) -> list[str]:
    """What fetch-images is told of the network."""
    flags = ["--contact", CONTACT, *scene.flags]
    if scene.connect_to:
        flags += ["--connect-to", *scene.connect_to]
    if scene.authorities:
        flags += ["--ca-bundle", scene.authorities]
    return flags


def bare_engine(name: str, *, workers: int) -> Program:
    """What the stage calls to fetch, without Beam, plans and tars."""

    def prepare(scene: Scene, output: str) -> Run:
        script = os.path.join(HERE, "bare_engine.py")
        words = [sys.executable, script, urls_table(scene.folder), output, "--workers", str(workers)]
        return Run([*words, *network_flags(scene)], module_environment() | scene.environment)

    return Program(name, prepare)


def img2dataset(
    name: str,
    python: str,
    *flags: str,
    processes: int = 1,
    threads: int = 256,
    mode: str = "keep_ratio",
    one_context: bool = False,
) -> Program:
    """The peer; output as tars, so that both write the same.

    Args:
        name: Of the row.
        python: The interpreter it is installed for.
        flags: More of them.
        processes: Of them each has a core for its pixels.
        threads: Of each process; so many requests are under way.
        mode: How it resizes.
        one_context: One TLS context for all requests.
    """

    def prepare(scene: Scene, output: str) -> Run:
        options = {
            "url_list": urls_table(scene.folder),
            "input_format": "parquet",
            "caption_col": "caption",
            "output_folder": output,
            "output_format": "webdataset",
            "image_size": SIDE_PX,
            "resize_mode": mode,
            "processes_count": processes,
            "thread_count": threads,
            "number_sample_per_shard": min(SHARD_URLS, -(-scene.num_urls // processes)),
        }
        env = os.environ | scene.environment | {"PYTHONPATH": os.path.join(HERE, "peer_site")}
        env |= {"NO_ALBUMENTATIONS_UPDATE": "1", "FETCH_BENCH_CONNECT_TO": ",".join(scene.connect_to)}
        env |= {"FETCH_BENCH_ONE_CONTEXT": "1"} if one_context else {}
        words = [f"--{option}={value}" for option, value in options.items()]
        return Run([python, os.path.join(os.path.dirname(python), "img2dataset"), *words, *flags], env)

    return Program(name, prepare)


def describe_peer(python: str) -> str:
    """Which img2dataset on which Python; raises CalledProcessError where it cannot be imported."""
    code = "import platform, img2dataset; from importlib.metadata import version as v; "
    code += "print(f'img2dataset {v(\"img2dataset\")} on Python {platform.python_version()}')"
    env = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    return subprocess.run([python, "-c", code], env=env, check=True, capture_output=True, text=True).stdout.strip()


def makes_many_contexts(python: str) -> bool:
    """Whether urllib of that Python makes a TLS context for every request."""
    return subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info >= (3, 12))"]).returncode == 0


def count_images(output: str) -> int:
    """Images in the tars of a folder."""
    number = 0
    for path in glob.glob(os.path.join(glob.escape(output), "*.tar")):
        with tarfile.open(path) as tar:
            number += sum(1 for name in tar.getnames() if name.endswith((".jpg", ".png", ".webp")))
    return number
