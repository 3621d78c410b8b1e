"""The runner on a stage of its own: workers, resume, a killed worker, a killed run, bad flags, exit codes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from jobs.interpreter import HOME
from jobs.runner import load_stage
from pipeline.base.flow import STAGES
from pipeline.base.options import options_of

TOY = '''
import os, signal, time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.options import option
from pipeline.base.tables import write_table
from pipeline.steps import MapUnits, Stage, Step

SCHEMA = pa.schema([("unit", pa.string())])


def work(unit: str, output: str, *, fault: str, pause_s: float) -> Counts:
    time.sleep(pause_s)
    if unit == "u3":
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "raise":
            raise OSError("no space left on the moon")
    lost = 1 if fault == "lose" else 0
    counts = {"things/in": 3, "things/kept": 2 - lost, "things/drop/no_query": 1}
    write_table(output, pa.table({"unit": [unit]}), SCHEMA, counts)
    return counts


@dataclass(kw_only=True)
class Toy(Stage):
    """A toy."""

    name: ClassVar[str] = "toy"
    fault: str = option("", "What goes wrong.", identity=False)
    pause_s: float = option(0.0, "Seconds a unit takes.", identity=False)
    output: str = option("", "Folder to write.", under_data="toy")

    def inputs(self) -> list[str]:
        return []

    def steps(self) -> Iterator[Step]:
        make = partial(work, fault=self.fault, pause_s=self.pause_s)
        units = [f"u{number}" for number in range(6)]
        yield Step("Work", MapUnits(units=units, output_of=self.output_of, work=make))

    def output_of(self, unit: str) -> str:
        return files.join(self.output, f"{unit}.parquet")
'''

MAIN = """
import sys
from jobs.__main__ import leave_with, set_up_logs
set_up_logs(verbose="--verbose" in sys.argv)
from jobs.runner import run_job
from toy_stage import Toy
if __name__ == "__main__":
    leave_with(lambda: run_job(Toy, sys.argv[1:]))
"""


@pytest.fixture
def toy(tmp_path):
    """Starts the toy's job with the given flags, in a process of its own."""
    (tmp_path / "toy_stage.py").write_text(TOY)
    (tmp_path / "toy_main.py").write_text(textwrap.dedent(MAIN))

    def start(*flags):
        command = [sys.executable, str(tmp_path / "toy_main.py"), "--data", str(tmp_path / "data"), *flags]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([HOME, str(tmp_path)])}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def finish(process, timeout_s=100):
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_says_one_line_and_a_second_run_does_nothing(toy, tmp_path, workers):
    code, out, err = finish(toy("--workers", workers))
    assert (code, err) == (0, "")
    assert out.startswith("toy: 12 of 18 things (no_query 6) [")
    code, out, err = finish(toy("--workers", workers))
    assert code == 0
    assert "[already done]" in out
    assert json.loads((tmp_path / "data" / "toy" / "_stage.json").read_text())["counts"]["things/in"] == 18


def test_a_killed_worker_ends_the_run_with_an_error_and_a_re_run_continues(toy, tmp_path):
    code, out, err = finish(toy("--workers", "2", "--fault", "kill"))
    assert code == 1
    assert "a worker process died" in err
    assert "Traceback" not in err
    folder = tmp_path / "data" / "toy"
    # of a unit that the other worker was at there may be a file without a receipt: it is made again
    receipts = [path.name.removesuffix(".json") for path in folder.glob("_steps/Work/u*.json")]
    done = {name: (folder / name).stat().st_mtime_ns for name in receipts}
    assert done and "u3.parquet" not in done
    code, out, err = finish(toy("--workers", "2"))
    assert code == 0
    assert out.startswith("toy: 12 of 18 things")
    for name, written in done.items():
        assert (folder / name).stat().st_mtime_ns == written


def test_a_killed_run_continues_and_leaves_no_worker_and_no_temporary(toy, tmp_path, monkeypatch):
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = toy("--workers", "2", "--pause-s", "1")
    deadline = time.monotonic() + 100
    while not list((tmp_path / "data" / "toy").glob("u*")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (tmp_path / "data" / "toy" / "_stage.json").exists()
    assert finish(toy("--workers", "2"))[0] == 0
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_two_runs_do_not_work_in_one_folder(toy, tmp_path, flags):
    first = toy("--workers", "1", "--pause-s", "60")
    deadline = time.monotonic() + 100
    while not (tmp_path / "data" / "toy" / "_started.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, _, err = finish(toy("--workers", "1", *flags))
    assert (code, "another run is working there" in err, "Traceback" in err) == (2, True, False)
    assert first.poll() is None
    assert (tmp_path / "data" / "toy" / "_started.json").exists()
    first.kill()
    first.communicate(timeout=30)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param(["--fault", "raise"], 1, "no space left on the moon", id="a failing unit"),
        pytest.param(["--fault", "raise", "--workers", "2"], 1, "no space left on the moon", id="one of two workers"),
        pytest.param(["--fault", "lose"], 1, "things: 18 came in, but kept and dropped are 12", id="lost rows"),
        pytest.param(["--pauses", "1"], 2, "unknown flag: --pauses", id="an unknown flag"),
        pytest.param(["--worker", "1"], 2, "unknown flag: --worker", id="an abbreviated flag"),
        pytest.param(["stray"], 2, "unexpected argument: stray", id="a stray word"),
        pytest.param(["--workers", "0"], 2, "must be at least 1", id="no workers"),
        pytest.param(["--runner", "DirectRunner"], 2, "--runner=DirectRunner", id="the runner that switches"),
        pytest.param(["--direct_running_mode=multi_threading"], 2, "loses data", id="the mode that loses data"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(toy, flags, code, message):
    found, _, err = finish(toy("--workers", "1", *flags))
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1 or "usage:" in err


@pytest.mark.parametrize("module", ["vocab", "jobs", "pipeline", "queue"])
def test_folders_in_the_working_directory_do_not_stand_before_packages(toy, tmp_path, monkeypatch, module):
    (tmp_path / "data" / module).mkdir(parents=True)
    (tmp_path / "data" / module / "__init__.py").write_text("raise ImportError('of the working directory')")
    monkeypatch.chdir(tmp_path / "data")
    code, out, err = finish(toy("--workers", "2"))
    assert (code, err) == (0, "")
    assert out.startswith("toy: 12 of 18 things")


def test_known_beam_flags_pass_through(toy):
    assert finish(toy("--workers", "1", "--job_name=x", "--type_check_additional=all"))[0] == 0


def test_the_portable_job_service_runs_a_stage(toy):
    flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
    code, out, _ = finish(toy(*flags))
    assert code == 0
    assert out.startswith("toy: 12 of 18 things (no_query 6)")


def test_no_option_of_a_stage_hides_a_flag_of_beam():
    known = set(PipelineOptions([]).get_all_options())
    for name in STAGES:
        own = {opt.key for opt in options_of(load_stage(name))} | set(load_stage(name).questions)
        assert not own & known, name
