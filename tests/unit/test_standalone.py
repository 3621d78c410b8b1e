"""Machine code that is kept runs without numba, gives what its function gives, and is refused where it could not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vocab.kernels import standalone
from vocab.kernels.standalone import Array, Kernel, NotCompiled

GRID, LINE = Array(np.dtype(np.int64), 2), Array(np.dtype(np.uint8), 1)


def _scale(number, factor):
    return number * factor


def weigh(grid, factor, line):
    for row in range(grid.shape[0]):
        total = np.int64(0)
        for column in range(grid.shape[1]):
            total += _scale(grid[row, column], factor)
        line[row] = total % 251


def allocate(line):
    room = np.empty(line.size, np.uint8)
    for place in range(line.size):
        room[place] = place
    for place in range(line.size):
        line[place] = room[line.size - 1 - place]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def forbid_numba(monkeypatch):
    def forbid():
        monkeypatch.setattr(standalone, "_compile_by_numba", lambda function: pytest.fail("compiled again"))

    return forbid


def run_weigh(kernel, grid):
    line = np.zeros(len(grid), np.uint8)
    kernel(grid, 3, line)
    return line.tolist()


def test_machine_code_is_made_once_and_gives_what_the_function_gives(cache, forbid_numba):
    grid = np.random.default_rng(0).integers(0, 1000, (17, 31))
    wanted = run_weigh(weigh, grid)
    assert run_weigh(Kernel(weigh, (GRID, int, LINE)), grid) == wanted
    assert len(list(cache.iterdir())) == 1
    forbid_numba()
    assert run_weigh(Kernel(weigh, (GRID, int, LINE)), grid) == wanted


def test_damaged_machine_code_is_made_anew(cache, forbid_numba):
    grid = np.ones((2, 3), np.int64)
    run_weigh(Kernel(weigh, (GRID, int, LINE)), grid)
    [kept] = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    assert run_weigh(Kernel(weigh, (GRID, int, LINE)), grid) == [9, 9]
    forbid_numba()
    assert run_weigh(Kernel(weigh, (GRID, int, LINE)), grid) == [9, 9]


@pytest.mark.parametrize(
    "grid",
    [np.ones((2, 3), np.int32), np.ones(3, np.int64), np.ones((2, 6), np.int64)[:, ::2]],
    ids=["other elements", "other axes", "not contiguous"],
)
def test_an_array_of_another_kind_is_refused(grid):
    with pytest.raises(TypeError, match="grid must be an array of int64, C-contiguous, with 2 axes"):
        run_weigh(Kernel(weigh, (GRID, int, LINE)), grid)


def test_a_kernel_that_needs_numba_s_memory_is_refused(cache):
    with pytest.raises(NotCompiled, match=r"allocate: what numba .* must not need NRT"):
        Kernel(allocate, (LINE,))(np.zeros(4, np.uint8))
    assert not list(cache.iterdir())


def test_where_nothing_can_be_kept_nothing_is_compiled(cache, monkeypatch):
    (cache / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache / "file"))
    kernel = Kernel(weigh, (GRID, int, LINE))
    assert "numba finds no folder to keep compiled functions in" in kernel.find_obstacle()
    with pytest.raises(NotCompiled, match="weigh: numba finds no folder"):
        run_weigh(kernel, np.ones((2, 3), np.int64))


def test_numba_s_own_switch_is_obeyed(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert Kernel(weigh, (GRID, int, LINE)).find_obstacle() == "NUMBA_DISABLE_JIT is set"


SMAPS = """\
1000-3000 r-xp 00000000 fe:00 1 /lib/libllvmlite.so
Anonymous:             0 kB
Swap:                  0 kB
3000-4000 r--p 00000000 fe:00 1 /lib/libllvmlite.so
Anonymous:             4 kB
Swap:                  0 kB
4000-5000 r--p 00000000 fe:00 1 /lib/libllvmlite.so
Anonymous:             0 kB
Swap:                  4 kB
5000-6000 rw-p 00000000 fe:00 1 /lib/libllvmlite.so
Anonymous:             0 kB
Swap:                  0 kB
6000-7000 r-xp 00000000 fe:00 1 /lib/libarrow.so
Anonymous:             0 kB
7000-9000 r--p 00000000 00:00 0
Anonymous:             0 kB
9000-a000 r--p 00000000 fe:00 1 /lib/libllvmlite.so
Anonymous:             0 kB
Swap:                  0 kB
"""


def test_only_what_can_be_read_again_is_given_back():
    assert standalone._find_unwritten(SMAPS.splitlines(), "libllvmlite") == [(0x1000, 0x3000), (0x9000, 0xA000)]


def test_pictures_are_resized_without_numba(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    code = "from pipeline.pixels.images import prepare_pixels; prepare_pixels(); import sys; "
    home = Path(standalone.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=home, check=True)  # makes what is not kept yet
    check = code + "sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=home, check=True)
