"""Tasks in processes side by side: what comes back, and how they end. A task is an expression of Python."""

import logging
import os
import sys
import time

import pytest

import jobs.side_by_side
from jobs.side_by_side import TaskFailed, WorkerDied, do_side_by_side
from pipeline.steps import LocalTasks

PID = "__import__('os').getpid()"
PATIENCE_S = 60


@pytest.fixture(params=["forked", "importing"])
def workers(request, monkeypatch):
    """How many; forked by a server, or processes that import for themselves as where no server is."""
    if request.param == "importing":
        monkeypatch.setattr(jobs.side_by_side.SERVER, "fork_worker", lambda channel, prepare: None)
    elif sys.platform != "linux":
        pytest.skip("workers are forked on Linux only")
    return 2


def do(tasks, workers):
    return do_side_by_side(LocalTasks(tasks, eval, len), workers=workers)


def sign(path):
    """A task that leaves the number of its process in a file, as soon as it is whole."""
    return f"(lambda p: (p.with_suffix('.new').write_text(str({PID})), p.with_suffix('.new').rename(p)))({path})"


def wait_until(is_true):
    until = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not os.path.exists(f"/proc/{pid}/stat"):
        return sys.platform != "linux"
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_answers_come_in_the_order_of_tasks_whoever_did_them_and_no_worker_is_left(workers):
    tasks = [f"({number}, __import__('time').sleep({0.3 * (number == 0)}), {PID})" for number in range(9)]
    answers = do(tasks, workers)
    assert [number for number, _, _ in answers] == list(range(9))
    pids = {pid for _, _, pid in answers}
    assert len(pids) == 2 and os.getpid() not in pids
    wait_until(lambda: not any(map(is_alive, pids)))


def test_there_are_no_more_workers_than_tasks(workers):
    assert do(["1 + 1"], workers) == [2] and do([], workers) == []


def test_an_error_is_told_with_the_place_where_it_was_raised_and_stops_the_others(workers, tmp_path):
    path = f"__import__('pathlib').Path({str(tmp_path / 'pid')!r})"
    fails = f"[__import__('time').sleep(0.02) for _ in iter({path}.exists, True)] and 1 / 0 or 1 / 0"
    with pytest.raises(TaskFailed) as failed:
        do([f"({sign(path)}, __import__('time').sleep(600))", fails], workers)
    assert str(failed.value) == "ZeroDivisionError: division by zero"
    assert "in <module>" in failed.value.__notes__[0]
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(
    ("end", "how"),
    [(f"__import__('os').kill({PID}, 9)", "killed by signal 9"), ("__import__('os')._exit(7)", "exit code 7")],
    ids=["killed", "left"],
)
def test_a_worker_that_ends_is_an_error_that_says_how(workers, end, how):
    with pytest.raises(WorkerDied, match=f"^{how}$"):
        do(["1", end, "2", "3"], workers)


def test_what_a_worker_logs_is_logged_here(workers, caplog):
    logged = "__import__('logging').getLogger('pipeline.steps').warning('%s of %d', 'one', 2)"
    hidden = "__import__('logging').getLogger('pipeline.steps').info('nobody hears it')"
    with caplog.at_level(logging.WARNING, "pipeline"):
        do([logged, hidden], workers)
    [record] = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("pipeline.steps", "WARNING", "one of 2")
    assert record.process != os.getpid()
