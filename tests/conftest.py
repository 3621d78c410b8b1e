"""Fixtures that every kind of test may use."""

import importlib.util
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_TORCH = importlib.util.find_spec("torch") is None
collect_ignore_glob = ["*/test_clip_*.py"] if WITHOUT_TORCH else []

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each, here and in what tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A slow machine is no failure; continuous integration tries the same examples every time.
settings.register_profile("unhurried", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Indexes of shards are kept in a folder of the tests', not in the user's."""
    os.environ["WIT400M_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real inputs beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("WIT400M_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder.name}/")
    return folder


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of this checkout."""
    return ROOT


@pytest.fixture(scope="session")
def plain_phrases() -> Callable[[str], list[str]]:
    """Where phrases end, by a rule that is written as expressions."""
    spec = importlib.util.spec_from_file_location("plain_phrases", ROOT / "tests" / "plain_phrases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.split_plainly


@pytest.fixture(scope="session")
def growth() -> Callable[..., float]:
    """How many times longer something takes when its input is 8 times as large: 8 for linear time, 64 for quadratic."""

    def measure(run: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
        def seconds(size: int) -> float:
            made, times = make(size), []
            for _ in range(3):
                started = time.process_time()
                run(made)
                times.append(time.process_time() - started)
            return min(times)

        return seconds(size) / max(0.01, seconds(size // 8))  # what takes less than that is mostly noise

    return measure


@pytest.fixture(autouse=True)
def shown_warnings() -> None:
    """Takes back what a command run by an earlier test, or by a fixture of many tests, said of the records shown."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in root.handlers:
        handler.setLevel(logging.NOTSET)
