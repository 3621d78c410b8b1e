"""Every stage through Beam's job service, its workers in another process and folder: the files of the local engine."""

import hashlib

import pytest

from jobs.__main__ import main
from jobs.demo.world.folder import DUMP_NAME, WARC_NAME, write_world

STAGES = {
    "build-vocab": "vocab",
    "extract-pairs": "pairs",
    "match-pairs": "matched",
    "balance-pairs": "balanced",
    "fetch-images": "raw",
    "balance-final": "final",
    "top-up-pairs": "top-up",
    "write-shards": "shards",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(str(folder), "small")
    return folder


def flags_of(world, data):
    """What each stage is told."""
    warc, views = str(world / WARC_NAME), str(world / "wiki" / "pageviews-*.gz")
    return {
        "build-vocab": ["--dump", str(world / DUMP_NAME), "--pageviews", views, "--wordnet", "none"],
        "extract-pairs": ["--input", warc],
        "match-pairs": [],
        "balance-pairs": ["--cap", "8"],
        "fetch-images": ["--from-archive", warc],
        "balance-final": [],
        "top-up-pairs": [],
        "write-shards": ["--final", str(data / "final"), "--max-samples", "100"],
    }


def run_flow(world, data, *flags):
    for stage, own in flags_of(world, data).items():
        assert main([stage, "--data", str(data), "--quiet", *own, *flags]) == 0


def digests(data, folder):
    """Of all files of a stage that are for others."""
    files = {path.relative_to(data / folder).as_posix(): path for path in (data / folder).rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not any(part.startswith("_") for part in name.split("/"))
    }


def test_every_stage_gives_the_same_files_on_the_portable_engine(world, tmp_path, start_service):
    # The pool runs its workers as threads: they start at once, and are in another process all the same.
    pool, service = start_service("thread_pool", tmp_path), start_service("job_service", tmp_path)
    portable = ["--runner=PortableRunner", "--environment_type=EXTERNAL"]
    portable += [f"--environment_config={pool}", f"--job_endpoint={service}"]
    run_flow(world, tmp_path / "here", "--workers", "1")
    run_flow(world, tmp_path / "there", *portable)
    for folder in STAGES.values():
        made = digests(tmp_path / "here", folder)
        assert made and digests(tmp_path / "there", folder) == made, folder
