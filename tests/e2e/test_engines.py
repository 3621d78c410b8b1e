"""Engines that are cut off: a worker that is killed, Ctrl-C, a folder that the worker does not share."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

STAGE = '''
import os, signal, time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pyarrow as pa

from pipeline.base import files
from pipeline.base.options import option
from pipeline.base.tables import write_table
from pipeline.steps import MapUnits, Stage, Step

SCHEMA = pa.schema([("unit", pa.string())])


def work(unit: str, output: str, *, folder: str, fault: str):
    open(os.path.join(folder, f"{unit}-{os.getpid()}"), "w").close()
    if unit == "u3" and fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "wait":
        time.sleep(600)
    counts = {"things/in": 3, "things/kept": 2, "things/drop/no_query": 1}
    write_table(output, pa.table({"unit": [unit]}), SCHEMA, counts)
    return counts


@dataclass(kw_only=True)
class Toy(Stage):
    """A toy."""

    name: ClassVar[str] = "toy"
    fault: str = option("", "What goes wrong.", identity=False)
    seen: str = option("", "Folder where workers sign.", identity=False)
    output: str = option("", "Folder to write.", under_data="toy")

    def inputs(self) -> list[str]:
        return [self.seen]

    def steps(self) -> Iterator[Step]:
        make = partial(work, folder=os.path.dirname(self.seen), fault=self.fault)
        units = [f"u{number}" for number in range(6)]
        yield Step("Work", MapUnits(units=units, output_of=self.output_of, work=make))

    def output_of(self, unit: str) -> str:
        return files.join(self.output, f"{unit}.parquet")
'''
MAIN = """
import sys
from jobs.__main__ import leave_with, set_up_logs
from jobs.fork_server import importing_in_one_thread
set_up_logs(verbose=False)
with importing_in_one_thread():  # so that its workers are forked from this program, as those of the commands are
    from jobs.runner import run_job
    from cut_stage import Toy
if __name__ == "__main__":
    leave_with(lambda: run_job(Toy, sys.argv[1:]))
"""


def hear_interrupts():
    """Undoes what a process in the background inherits: there, Ctrl-C is not heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "cut_stage.py").write_text(STAGE)
    (folder / "cut_main.py").write_text(MAIN)
    return folder


@pytest.fixture(scope="module")
def engines(code, start_service):
    """Flags of each engine."""
    pool, service = start_service("worker_pool", code), start_service("job_service", code)
    portable = ["--runner=PortableRunner", "--environment_type=EXTERNAL", f"--environment_config={pool}"]
    return {
        "local 1": ["--workers=1"],
        "local 2": ["--workers=2"],
        "Beam's 2": ["--workers=2", "--runner=FnApiRunner"],
        "embed": [*portable, "--job_endpoint=embed"],
        "service": [*portable, f"--job_endpoint={service}"],
    }


@pytest.fixture
def toy(code, tmp_path, portable_environment):
    """Starts the toy's job in a process group of its own; workers sign in `tmp_path/seen`."""
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "input").write_text("an input")

    def start(*flags, data=None):
        command = [sys.executable, str(code / "cut_main.py"), "--data", str(data or tmp_path / "data")]
        command += ["--seen", str(tmp_path / "seen" / "input"), *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            command,
            env=portable_environment(code),
            cwd=tmp_path,
            start_new_session=True,
            preexec_fn=hear_interrupts,
            **pipes,
        )

    return start


def finish(process):
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def workers_of(tmp_path):
    """Process ids that signed."""
    names = [name for name in os.listdir(tmp_path / "seen") if name.startswith("u")]
    return {int(name.partition("-")[2]) for name in names}


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("u*.parquet")}


@pytest.mark.parametrize("engine", ["local 2", "Beam's 2", "embed", "service"])
def test_a_killed_worker_is_an_error_and_the_next_run_gives_the_same(toy, engines, tmp_path, engine):
    code, _, err = finish(toy(*engines[engine], "--fault=kill"))
    assert (code, err.count("\n")) == (1, 1)
    assert "a worker process" in err and "Run the same command again to continue" in err
    code, _, err = finish(toy(*engines[engine]))
    assert (code, err) == (0, "")
    assert finish(toy("--workers=1", data=tmp_path / "whole"))[0] == 0
    made = digests(tmp_path / "data" / "toy")
    assert len(made) == 6 and made == digests(tmp_path / "whole" / "toy")
    assert not [name for name in os.listdir(tmp_path / "data" / "toy") if name.startswith(("_pulse", "_probe"))]


@pytest.mark.parametrize(
    ("engine", "number", "expected"),
    [
        pytest.param("local 1", signal.SIGINT, 130, id="one process"),
        pytest.param("local 2", signal.SIGINT, 130, id="two processes"),
        pytest.param("Beam's 2", signal.SIGINT, 130, id="two processes of Beam's"),
        pytest.param("embed", signal.SIGINT, 130, id="portable"),
        pytest.param("local 2", signal.SIGTERM, 143, id="told to end"),
    ],
)
def test_an_interrupted_run_says_one_line_and_leaves_no_worker(toy, engines, tmp_path, engine, number, expected):
    process = toy(*engines[engine], "--fault=wait")
    while not workers_of(tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    code, out, err = finish(process)
    assert (code, out, err) == (expected, "", "wit400m toy: interrupted; run it again to continue\n")
    if engine != "embed":  # the pool's worker ends when its unit does
        assert not any(map(is_alive, workers_of(tmp_path)))


def test_a_folder_that_the_worker_does_not_share_is_refused_before_work_starts(toy, engines, tmp_path):
    code, _, err = finish(toy(*engines["embed"], data="data"))
    assert (code, err.count("\n"), "the worker does not share data/toy" in err) == (2, 1, True)
    assert list((tmp_path / "data" / "toy").iterdir()) == []
    assert not workers_of(tmp_path)


def test_a_pool_that_is_not_there_is_an_error_at_once(toy, engines, free_port, tmp_path):
    flags = [flag for flag in engines["embed"] if "config" not in flag]
    code, _, err = finish(toy(*flags, f"--environment_config=localhost:{free_port()}"))
    assert (code, err.count("\n"), "nothing answers at --environment_config=localhost:" in err) == (1, 1, True)
    code, _, err = finish(toy(*engines["service"][:-1], f"--job_endpoint=localhost:{free_port()}"))
    assert (code, err.count("\n"), "nothing answers at --job_endpoint=localhost:" in err) == (1, 1, True)


def test_a_pool_that_starts_no_worker_is_an_error_in_time(toy, engines, start_service, code):
    address = start_service("worker_pool", code, "--container_executable", "/bin/true")
    flags = [flag for flag in engines["embed"] if "config" not in flag]
    code, _, err = finish(toy(*flags, f"--environment_config={address}", "--engine-timeout-s=3"))
    assert (code, err.count("\n"), "no worker of the engine has started within 3 s" in err) == (1, 1, True)
