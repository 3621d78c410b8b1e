"""What the workers of a fetch say of themselves, and what those who watch make of it."""

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest

from jobs import watching
from jobs.watching import FetchWatch, begin_watch, fetch_facts, fetch_line, look_once
from pipeline.base import files
from pipeline.base.folders import StageFolder
from pipeline.fetching import work_files
from pipeline.fetching.work_files import WATCH, FetchProgress, Work, WorkFile, add_work_files, compare_work, tell_work

DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def work_file(ok=0, *, next_s=5.0, written=1000.0, **failed):
    return WorkFile(
        {"ok": ok} | failed,
        requests=ok + 1,
        received_bytes=100 * ok,
        under_way=4,
        hosts_waiting=2,
        images_per_s=3.0,
        bytes_per_s=300.0,
        written=written,
        next_s=next_s,
    )


def put(folder, name, file):
    files.write_json(files.join(str(folder), f"{name}.json"), file._asdict())


def test_rates_are_those_since_the_file_before():
    before, now = Work({"ok": 10, "not_found": 5}, 20, 1000), Work({"ok": 14, "not_found": 9}, 30, 9000, 3, 1)
    said = compare_work(now, before, seconds=2.0, written=7.0, next_s=5.0)
    assert (said.images_per_s, said.bytes_per_s) == (2.0, 4000.0)
    assert said[:5] == now


def test_no_time_gives_no_rate():
    said = compare_work(Work({"ok": 1}, 1, 1), Work({}), seconds=0.0, written=7.0, next_s=5.0)
    assert (said.images_per_s, said.bytes_per_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("file", "age_s", "counts"),
    [
        pytest.param(work_file(3), 0.0, True, id="fresh"),
        pytest.param(work_file(3, next_s=0.3), 15.0, True, id="a little late"),
        pytest.param(work_file(3), 21.0, False, id="too late"),
        pytest.param(work_file(3, next_s=30.0), 100.0, True, id="on a store"),
        pytest.param(work_file(3, next_s=30.0), 121.0, False, id="too late on a store"),
        pytest.param(work_file(3, next_s=0.0), 0.0, False, id="ended"),
    ],
)
def test_what_a_worker_has_done_counts_for_ever_and_what_it_is_at_while_it_lives(file, age_s, counts):
    total = add_work_files([(work_file(5, timed_out=1), 1.0), (file, age_s)])
    assert total.work.statuses == {"ok": 8, "timed_out": 1}
    assert (total.work.requests, total.work.received_bytes) == (10, 800)
    number = 2 if counts else 1
    assert (total.workers, total.images_per_s, total.bytes_per_s) == (number, 3.0 * number, 300.0 * number)
    assert (total.work.under_way, total.work.hosts_waiting) == (4 * number, 2 * number)


def test_nothing_adds_up_to_nothing():
    total = add_work_files([])
    assert total == FetchProgress(Work({}), 0, 0, 0)
    assert total.success_share == 0.0


def test_the_most_frequent_failures_are_named_and_success_is_none():
    progress = add_work_files([(work_file(90, not_found=2, timed_out=5, robots_disallow=2, too_small=1), 0.0)])
    assert list(progress.failures(3).items()) == [("timed_out", 5), ("not_found", 2), ("robots_disallow", 2)]
    assert progress.success_share == 0.9
    assert fetch_facts(progress)["failures"] == progress.failures(3)


def test_a_line_tells_of_failures_only_where_there_are_some():
    assert "(" not in fetch_line(add_work_files([(work_file(1), 0.0)]))
    assert "50.0 % of URLs (not_found 1)" in fetch_line(add_work_files([(work_file(1, not_found=1), 0.0)]))


def test_the_fields_of_the_event_are_those_that_are_documented():
    section = DOCS.read_text().partition("### During a fetch")[2].partition("\n## ")[0]
    firsts = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(firsts))) == set(fetch_facts(add_work_files([])))


def read_only(folder):
    [path] = folder.glob("*.json")
    return json.loads(path.read_text())


def test_a_worker_tells_while_it_works_and_when_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(work_files, "_EVERY_S", 0.02)
    now = {"work": Work({"ok": 1}, 2, 3, 4, 5)}

    async def work():
        async with tell_work(str(tmp_path / "watch"), lambda: now["work"]):
            while not list(tmp_path.glob("watch/*.json")):
                await asyncio.sleep(0.001)
            assert read_only(tmp_path / "watch")["next_s"] > 0
            assert read_only(tmp_path / "watch")["under_way"] == 4
            now["work"] = Work({"ok": 2}, 9)

    with files.record_writes() as written:
        asyncio.run(work())
    assert not written
    last = read_only(tmp_path / "watch")
    assert (last["statuses"], last["requests"], last["next_s"]) == ({"ok": 2}, 9, 0)


def test_a_worker_that_fails_tells_how_far_it_came(tmp_path):
    async def work():
        async with tell_work(str(tmp_path), lambda: Work({"ok": 7})):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(work())
    assert read_only(tmp_path)["statuses"] == {"ok": 7}


def test_workers_have_files_of_their_own_even_in_one_process(tmp_path):
    async def work():
        look = lambda: Work({"ok": 1})  # noqa: E731
        async with tell_work(str(tmp_path), look), tell_work(str(tmp_path), look):
            pass

    asyncio.run(work())
    assert look_once(str(tmp_path), now=0.0) is None
    assert FetchWatch(str(tmp_path)).look().work.images == 2


def test_work_goes_on_where_it_cannot_be_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(work_files, "_EVERY_S", 0.001)
    (tmp_path / "file").write_text("")
    tries = []
    put_down = files.write_json
    monkeypatch.setattr(files, "write_json", lambda *a: (tries.append(a), put_down(*a)))

    async def work():
        async with tell_work(str(tmp_path / "file" / "watch"), lambda: Work({})):
            while len(tries) < 3:
                await asyncio.sleep(0.001)

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert len([record for record in caplog.records if "cannot tell" in record.message]) == 1


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_watch_reads_again_what_has_changed_and_nothing_else(tmp_path, monkeypatch):
    clock, read = Clock(), []
    read_file = watching.read_work_file
    monkeypatch.setattr(watching, "read_work_file", lambda path: (read.append(Path(path).stem), read_file(path))[1])
    watch = FetchWatch(str(tmp_path), clock=clock)
    assert watch.look() is None
    put(tmp_path, "a", work_file(1))
    put(tmp_path, "b", work_file(1))
    assert watch.look() is None  # too soon
    clock.now = 5.0
    assert watch.look().work.images == 2
    put(tmp_path, "b", work_file(20, written=1001.0))
    assert watch.look().work.images == 2
    clock.now = 10.0
    assert watch.look().work.images == 21
    assert sorted(read) == ["a", "b", "b"]


def test_the_last_look_is_never_too_soon(tmp_path):
    watch = FetchWatch(str(tmp_path), clock=Clock())
    assert watch.look() is None
    put(tmp_path, "a", work_file(1))
    assert watch.look(last=True).work.images == 1


def test_the_last_look_reads_what_seems_not_to_have_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "list_entries", lambda _: {"a.json": files.Entry(200, 1000.0, False)})
    watch = FetchWatch(str(tmp_path), clock=Clock())
    put(tmp_path, "a", work_file(1))
    assert watch.look(last=True).workers == 1
    put(tmp_path, "a", work_file(2, next_s=0.0))
    progress = watch.look(last=True)
    assert (progress.work.images, progress.workers) == (2, 0)


def test_a_worker_whose_file_no_longer_changes_is_gone_whatever_its_clock_says(tmp_path):
    clock = Clock()
    watch = FetchWatch(str(tmp_path), clock=clock)
    put(tmp_path, "dies", work_file(1, written=9e9))
    for second in range(0, 40, 5):
        clock.now = float(second)
        put(tmp_path, "lives", work_file(second, written=second))
        progress = watch.look()
        assert progress.workers == (2 if second <= 20 else 1)
        assert progress.work.images == 1 + second


def test_a_store_is_asked_twice_a_minute_at_most():
    clock, folder = Clock(), "memory://bucket/raw/_watch"
    watch = FetchWatch(folder, every_s=0.1, clock=clock)
    put(folder, "a", work_file(1))
    assert watch.look().work.images == 1
    put(folder, "a", work_file(22))
    clock.now = 29.0
    assert watch.look().work.images == 1
    clock.now = 30.0
    assert watch.look().work.images == 22
    files.remove_tree(folder)


def test_a_store_that_does_not_answer_is_asked_again(tmp_path, monkeypatch):
    put(tmp_path, "a", work_file(1))
    watch = FetchWatch(str(tmp_path))
    listing = files.list_entries

    def fail(_):
        raise OSError("no answer")

    monkeypatch.setattr(files, "list_entries", fail)
    assert watch.look(last=True) is None
    monkeypatch.setattr(files, "list_entries", listing)
    assert watch.look(last=True).work.images == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"', "\x00"])
def test_files_that_say_nothing_are_left_out(tmp_path, content):
    put(tmp_path, "a", work_file(1))
    (tmp_path / "b.json").write_text(content)
    assert FetchWatch(str(tmp_path)).look().work.images == 1


def test_what_an_earlier_run_has_left_is_gone_when_a_step_begins(tmp_path):
    put(tmp_path / "watch", "old", work_file(1000))
    watch = begin_watch(str(tmp_path / "watch"), every_s=1.0)
    put(tmp_path / "watch", "new", work_file(1))
    assert watch.look().work.images == 1
    assert begin_watch("", every_s=1.0) is None


def test_one_look_goes_by_the_time_that_is_in_a_file(tmp_path):
    folder = StageFolder(str(tmp_path)).working(WATCH)
    put(folder, "a", work_file(1, written=1000.0))
    put(folder, "b", work_file(1, written=900.0))
    found = look_once(str(tmp_path), now=1003.0)
    assert (found.work.images, found.workers) == (2, 1)
