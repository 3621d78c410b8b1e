"""The wheel, built offline, unpacked and run where no checkout is."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.base.tables import read_table

PACKAGES = ("vocab", "pipeline", "jobs", "clip_train")
SOURCES = ("pyproject.toml", "README.md", "LICENSE")


def run(*command: str, cwd: Path, **environment: str) -> str:
    ended = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def sources(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from: building leaves files behind."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        shutil.copy(checkout / name, folder)
    for name in PACKAGES:
        shutil.copytree(checkout / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    flags = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", "dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", *flags, ".", cwd=sources)
    [built] = (sources / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    flags = ("--no-deps", "--no-index", "--no-compile", "--target", str(folder))
    run(sys.executable, "-m", "pip", "install", "-q", *flags, str(wheel), cwd=folder)
    return folder


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path, sources: Path):
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {path for name in PACKAGES for path in (sources / name).rglob("*") if path.is_file()}
    assert {path.relative_to(sources).as_posix() for path in files} <= held
    assert {f"{name}/py.typed" for name in PACKAGES} <= held


def test_the_packages_of_the_wheel_are_those_that_are_imported(installed: Path, tmp_path: Path):
    code = f"import {', '.join(PACKAGES)}\nfor package in ({', '.join(PACKAGES)}): print(package.__file__)"
    said = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert all(Path(line).is_relative_to(installed) for line in said.splitlines())


@pytest.mark.parametrize("program", [("jobs",), ("clip_train",)], ids=" ".join)
def test_the_programs_of_the_wheel_tell_their_commands(installed: Path, tmp_path: Path, program: tuple[str, ...]):
    said = run(sys.executable, "-m", *program, "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "usage" in said.lower()


def test_the_console_script_of_the_wheel_runs_a_stage_in_worker_processes(installed: Path, tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.tsv").write_text(f"url\ttext\nhttp://a.example/{name}.jpg\tA photo of the letter {name}\n")
    script = str(installed / "bin" / "wit400m")
    stage = ("extract-pairs", "--input", "a.tsv", "b.tsv", "--workers", "2")
    run(sys.executable, script, *stage, cwd=tmp_path, PYTHONPATH=str(installed), NUMBA_DISABLE_JIT="1")
    assert sum(read_table(str(path)).num_rows for path in tmp_path.glob("data/pairs/*.parquet")) == 2


def test_the_setuptools_of_a_fresh_environment_builds_an_archive_of_every_file(sources: Path, tmp_path: Path):
    if sys.version_info >= (3, 12):
        pytest.skip("a fresh environment has no setuptools since Python 3.12")
    run(sys.executable, "-m", "venv", "fresh", cwd=tmp_path)
    python = str(tmp_path / "fresh" / "bin" / "python")
    said = run(python, "-c", "import setuptools; print(setuptools.__version__)", cwd=tmp_path)
    assert int(said.split(".")[0]) < 77
    run(python, "-c", f"import setuptools.build_meta as b; b.build_sdist({str(tmp_path)!r})", cwd=sources)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    files = {path for name in PACKAGES for path in (sources / name).rglob("*") if path.is_file()}
    assert {path.relative_to(sources).as_posix() for path in files} <= held
