"""One run at a time works in a folder: a lock on disks, a lease that ends by itself on object stores."""

import os
import threading
import time

import pytest

from pipeline.base import files, holding
from pipeline.base.holding import FolderInUse, LeaseLost, find_holder, hold_folder

STORE = "memory://holding/data/pairs"


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    yield str(tmp_path / "pairs") if request.param == "disk" else STORE
    files.remove_tree("memory://holding")


def test_a_folder_is_held_by_one_and_free_afterwards(folder):
    with hold_folder(folder) as hold:
        hold.check()
        with pytest.raises(FolderInUse, match=r"another run.* is working there"), hold_folder(folder):
            raise AssertionError("held twice")
    with hold_folder(folder):
        pass
    assert files.list_files(folder) == []


def test_a_folder_is_free_after_a_run_that_failed(folder):
    with pytest.raises(KeyError), hold_folder(folder):
        raise KeyError
    with hold_folder(folder):
        pass


def test_the_lease_of_a_dead_run_ends_by_itself(monkeypatch):
    lease = files.join(STORE, "_lease.json")
    files.write_json(lease, {"owner": "process 1 on b", "token": "x", "expires": time.time() + 60})
    with pytest.raises(FolderInUse, match=r"process 1 on b.*the folder is free in (60|59) s"), hold_folder(STORE):
        pass
    files.write_json(lease, {"owner": "process 1 on b", "token": "x", "expires": time.time() - 1})
    with hold_folder(STORE):
        assert files.read_json(lease)["token"] != "x"
    assert not files.exists(lease)


def test_a_lease_is_renewed_while_the_run_lasts(monkeypatch):
    monkeypatch.setattr(holding, "_RENEW_S", 0.01)
    with hold_folder(STORE):
        first = files.read_json(files.join(STORE, "_lease.json"))["expires"]
        deadline = time.monotonic() + 20
        while files.read_json(files.join(STORE, "_lease.json"))["expires"] <= first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_run_that_lost_its_lease_does_not_go_on_and_leaves_the_other_alone(monkeypatch):
    monkeypatch.setattr(holding, "_RENEW_S", 0.01)
    lease = files.join(STORE, "_lease.json")
    with hold_folder(STORE) as hold:
        files.write_json(lease, {"owner": "process 2 on c", "token": "y", "expires": time.time() + 60})
        deadline = time.monotonic() + 20
        with pytest.raises(LeaseLost, match="taken over by process 2 on c"):
            while time.monotonic() < deadline:
                hold.check()
                time.sleep(0.01)
    assert files.read_json(lease)["token"] == "y"
    files.remove_tree("memory://holding")


def test_of_runs_that_begin_together_one_gets_the_folder():
    won, lost, at_once, done = [], [], threading.Barrier(8), threading.Barrier(8)

    def run():
        at_once.wait()
        try:
            with hold_folder(STORE):
                won.append(1)
                done.wait()
        except FolderInUse:
            lost.append(1)
            done.wait()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(won), len(lost)) == (1, 7)


@pytest.mark.parametrize("place", ["disk", "store"])
def test_who_holds_a_folder_is_seen_without_taking_it(tmp_path, place):
    folder = str(tmp_path) if place == "disk" else "memory://watched-folder"
    assert find_holder(folder) is None
    with hold_folder(folder):
        assert f"process {os.getpid()}" in find_holder(folder)
    assert find_holder(folder) is None
    with hold_folder(folder):  # looking took nothing
        pass


def test_nobody_holds_a_folder_that_is_not_there(tmp_path):
    assert find_holder(str(tmp_path / "nowhere")) is None
