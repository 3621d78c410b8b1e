"""Workers that are forked by a server: whose children they are, what they inherit, how they and the server end."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from jobs import fork_client
from jobs.engines import Engine, StepFailed, run_step
from jobs.fork_server import ForkServer
from jobs.stopping import end_children
from pipeline.base import files
from pipeline.base.receipts import StepReceipts
from pipeline.steps import MapUnits, Step

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def look(unit, output, *, fault=""):
    """Writes what a worker is like."""
    if fault == "server":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(100)
    drawn = f"{random.getrandbits(64)} {np.random.randint(1 << 62)}"  # noqa: NPY002
    place = f"{os.getpid()} {os.getppid()} {os.getcwd()} {os.environ.get('OF_THIS_STEP')} {os.environ.get('WORKER_ID')}"
    files.write_bytes_whole(output, f"{place} {drawn} {os.environ.get('OPENBLAS_NUM_THREADS')}".encode())
    time.sleep(0.3)  # so that the other unit goes to the other worker
    return {}


def sign():
    """Leaves the number of this process."""
    with open("prepared", "a") as file:
        print(os.getpid(), file=file)


BEAM = ("--runner=FnApiRunner",)  # whose workers run Beam's harness


def run(folder, label, prepare=None, *, flags=(), **fault):
    """What each of two workers is like, word by word."""
    outputs = {unit: str(folder / f"{label}-{unit}") for unit in "ab"}
    units = MapUnits(units=list("ab"), output_of=outputs.__getitem__, work=partial(look, **fault))
    step = Step(label, units, prepare=prepare)
    run_step(step, Engine(workers=2, beam_flags=flags), StepReceipts(str(folder), label))
    return [files.read_bytes(output).decode().split() for output in outputs.values()]


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """A working directory and a variable that were others when this process began."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THIS_STEP", "x")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]))
    yield tmp_path
    end_children()


@pytest.mark.parametrize(("flags", "name"), [((), "None"), (BEAM, "worker")], ids=["tasks", "Beam's"])
def test_workers_of_all_steps_are_children_of_one_server_until_conditions_change(changed, monkeypatch, flags, name):
    first, second = run(changed, "First", flags=flags), run(changed, "Second", flags=flags)
    assert {words[1] for words in first} == {words[1] for words in second}
    server = int(first[0][1])
    with open(f"/proc/{server}/cmdline") as file:
        assert "jobs.fork_server" in file.read()
    assert len({words[0] for words in (*first, *second)} - {str(server)}) >= 2
    assert {tuple(words[2:4]) for words in first} == {(str(changed), "x")}
    assert all(words[4].startswith(name) for words in first)
    numbers = [number for words in (*first, *second) for number in words[5:7]]
    assert len({words[0] for words in first}) == 2 and len(set(numbers)) == len(numbers)
    assert {words[7] for words in first} == {str(os.environ.get("OPENBLAS_NUM_THREADS"))}
    monkeypatch.setenv("OF_THIS_STEP", "y")
    (changed / "other").mkdir()
    monkeypatch.chdir(changed / "other")
    third = run(changed, "Third", flags=flags)
    assert {tuple(words[2:4]) for words in third} == {(str(changed / "other"), "y")}
    assert not is_alive(server) and str(server) not in {words[1] for words in third}


def test_what_workers_share_is_prepared_once_by_the_server(changed):
    [(_, server, *_), _] = run(changed, "First", prepare=sign)
    run(changed, "Second", prepare=sign, flags=BEAM)
    assert (changed / "prepared").read_text().split() == [server]


PROGRAM = """
import os, sys
from pathlib import Path
from jobs.__main__ import leave_with, set_up_logs
from jobs.fork_server import importing_in_one_thread
set_up_logs(verbose=False)
with importing_in_one_thread():
    from jobs.engines import Engine
    import test_fork_server as toy

def main():
    Engine(workers=2).prepare()
    with open("program", "w") as file:
        print(os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS"), file=file)
    for label in ("First", "Second"):
        print(*(" ".join(words) for words in toy.run(Path.cwd(), label, prepare=toy.sign)), sep="\\n")
    return 0

leave_with(main)
"""


def test_a_program_of_ours_is_forked_and_its_workers_are_like_others(changed):
    (changed / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "program.py"], cwd=changed, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    workers = [line.split() for line in done.stdout.splitlines()]
    [server] = {words[1] for words in workers}
    program, variable = (changed / "program").read_text().split()
    assert len({words[0] for words in workers} - {server, program}) == 4 and server != program
    assert {tuple(words[2:4]) for words in workers} == {(str(changed), "x")}
    assert {words[7] for words in workers} == {variable} == {str(os.environ.get("OPENBLAS_NUM_THREADS"))}
    assert (changed / "prepared").read_text().split() == [server]
    assert not is_alive(int(server))


@pytest.mark.parametrize("flags", [(), BEAM], ids=["tasks", "Beam's"])
def test_the_death_of_the_server_ends_its_workers_and_the_step_and_the_next_step_has_another(changed, flags):
    [(_, server, *_), _] = run(changed, "First", flags=flags)
    with pytest.raises(StepFailed, match="a worker process died"):
        run(changed, "Cut", fault="server", flags=flags)
    [(_, other, *_), _] = run(changed, "Second", flags=flags)
    assert other != server


@pytest.fixture
def server(monkeypatch):
    server = ForkServer()
    yield server
    server.end()


def start(server, **variables):
    """A client that is given an environment that no harness can work with, or none at all."""
    return subprocess.Popen(server.worker_command(), shell=True, env=os.environ | variables, stderr=subprocess.PIPE)


def test_a_worker_that_fails_has_its_exit_code_and_its_last_words(server):
    client = start(server, PIPELINE_OPTIONS="{")
    _, words = client.communicate(timeout=60)
    assert client.returncode == 1 and b"JSONDecodeError" in words


def test_the_server_ends_with_its_owner(server):
    server.worker_command()
    process = server._process
    assert process.poll() is None
    os.close(server._lifeline)  # as when the owner is killed
    server._lifeline = -1
    assert process.wait(60) == 0


def test_a_client_that_nobody_answers_becomes_the_command():
    client = [sys.executable, "-I", "-S", fork_client.__file__, "nobody"]
    assert subprocess.run([*client, sys.executable, "-c", "import sys; sys.exit(7)"], timeout=60).returncode == 7


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(b"taken 0", 0, id="all is well"),
        pytest.param(b"taken 3", 3, id="an exit code"),
        pytest.param(b"taken -9", -9, id="killed"),
        pytest.param(b"taken ", 1, id="the server is gone"),
    ],
)
def test_a_client_ends_as_its_worker_does(answer, code):
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"test-{os.getpid()}-{random.getrandbits(64)}"
        listener.bind(b"\0" + name.encode())
        listener.listen()
        client = subprocess.Popen([sys.executable, "-I", "-S", fork_client.__file__, name, "/bin/false"])
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 16):
                pass
            connection.sendall(answer)
        assert client.wait(60) == code


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
