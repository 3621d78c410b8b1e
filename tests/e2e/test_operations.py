"""What people who run stages see: dry runs, status, JSON logs, counters; on a small pool of pairs."""

import json
import logging
import os

import pyarrow as pa
import pytest

import jobs.runner
from jobs.__main__ import main
from jobs.engines import StepFailed, run_step
from pipeline.base import files
from pipeline.base.holding import hold_folder
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import write_table
from vocab.matcher import compile_matcher
from vocab.queries import QUERIES

WORDS = ("cat", "dog", "tree")
TEXTS = ("a cat", "a cat and a dog", "nothing", "a tree", "cat, dog, tree")
TABLES = 3


@pytest.fixture
def data(tmp_path):
    """A data folder with a vocabulary of three words and three tables of five pairs."""
    folder = tmp_path / "data"
    rows = [{"query_id": i, "query": word, "display": word, "sources": ["word"]} for i, word in enumerate(WORDS)]
    write_table(str(folder / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    compile_matcher(list(WORDS)).save(str(folder / "vocab" / "matcher"), files.write_bytes_whole)
    close(folder / "vocab", "build-vocab", {"queries": len(WORDS)})
    for table in range(TABLES):
        pairs = [make_pair(table, number, text) for number, text in enumerate(TEXTS)]
        write_table(str(folder / "pairs" / f"p{table}.parquet"), pa.Table.from_pylist(pairs, PAIRS), PAIRS)
    close(folder / "pairs", "extract-pairs", {"pairs/in": 20, "pairs/kept": 15, "pairs/drop/no_text": 5})
    return folder


def make_pair(table, number, text):
    url = f"http://host.example/{table}-{number}.jpg"
    return {
        "pair_id": pair_id(url, text),
        "image_url": url,
        "text": text,
        "text_source": "alt",
        "page_url": None,
        "language": None,
        "source_file": "crawl",
    }


def close(folder, stage, counts):
    close_folder(str(folder), identity={"stage": stage, "options": {}}, counts=counts, outputs=[], made_from=[])


def run(command, data, *flags):
    return main([command, "--data", str(data), "--workers", "1", *flags])


def look(folder):
    """All that is in a folder, with when it was written."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def cut_short(monkeypatch, label, lost=""):
    """The engine fails after a step, and one of its receipts is lost if it is named."""

    def fail(step, engine, receipts):
        run_step(step, engine, receipts)
        if step.label == label:
            if lost:
                os.unlink(receipts.file(lost))
            raise StepFailed(f"{label}: out of luck")

    monkeypatch.setattr(jobs.runner, "run_step", fail)


@pytest.mark.parametrize("flags", [(), ("--case", "fold"), ("--overwrite",)])
def test_a_dry_run_of_a_new_stage_writes_nothing(data, capsys, flags):
    before = look(data)
    assert run("match-pairs", data, "--dry-run", *flags) == 0
    assert look(data) == before
    shown = capsys.readouterr().out
    assert "MatchQueries" in shown
    assert f"{TABLES} units" in shown
    assert "rows in 15" in shown
    assert "vCPU-hours" in shown


def test_a_dry_run_says_what_an_earlier_run_has_done(data, capsys, monkeypatch):
    cut_short(monkeypatch, "MatchQueries", lost=str(data / "matched" / "p1.parquet"))
    assert run("match-pairs", data) == 1
    before = look(data)
    assert run("match-pairs", data, "--dry-run") == 0
    assert look(data) == before
    shown = capsys.readouterr().out
    assert "match-pairs: would continue" in shown
    assert "3 units, 2 of them done" in shown
    monkeypatch.undo()
    assert run("match-pairs", data) == 0
    before = look(data)
    assert run("match-pairs", data, "--dry-run") == 0
    assert look(data) == before
    assert "match-pairs: is done" in capsys.readouterr().out


def test_a_dry_run_ends_where_steps_decide_what_follows(data, capsys):
    assert run("match-pairs", data, "--quiet") == 0
    before = look(data)
    assert run("balance-pairs", data, "--cap", "4", "--dry-run") == 0
    assert look(data) == before
    shown = capsys.readouterr().out
    assert "TakeCuts1" in shown
    known, _, expected = shown.partition("what follows is decided")
    assert "KeepSelected" not in known
    assert "KeepSelected" in expected


def test_a_dry_run_of_several_stages_knows_which_wait_for_others(data, tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text(f'data = "{data}"\n[match-pairs]\n[balance-pairs]\ncap = 4\n')
    before = look(data)
    assert main(["run", str(config), "--dry-run"]) == 0
    assert look(data) == before
    shown = capsys.readouterr().out
    assert f"balance-pairs: waits for a stage before it: {data}/matched" in shown
    assert "rows in 15" in shown.partition("balance-pairs")[2]
    assert "all stages: " in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--vocab", "nowhere"], "no finished stage in nowhere", id="missing input"),
        pytest.param(["--pairs", "{data}/vocab"], "was made by build-vocab", id="lineage"),
        pytest.param(["--preset", "metaclip"], "made with preset None, not 'metaclip'", id="made otherwise"),
        pytest.param(["--runner", "DirectRunner"], "--runner=DirectRunner", id="engine flags"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(data, capsys, flags, message):
    assert run("match-pairs", data, "--quiet") == 0
    before = look(data)
    given = [flag.format(data=data) for flag in flags]
    assert run("match-pairs", data, "--dry-run", *given) == 2
    assert message in capsys.readouterr().err
    assert run("match-pairs", data, *given) == 2
    assert look(data) == before


def test_a_dry_run_refuses_a_folder_that_somebody_works_in(data, capsys):
    with hold_folder(str(data / "matched")):
        assert run("match-pairs", data, "--dry-run") == 2
    assert "is working there" in capsys.readouterr().err


def test_a_dry_run_refuses_what_a_run_would_and_names_no_price_on_this_machine(data, capsys):
    assert run("match-pairs", data, "--quiet") == 0
    assert run("balance-pairs", data, "--quiet") == 0
    assert run("fetch-images", data, "--contact", "me@example.org", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "CountHosts" in shown
    assert "cost" not in shown.partition("fetch-images: new")[2]
    cloud = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"]
    assert run("fetch-images", data, "--contact", "me@example.org", "--dry-run", *cloud) == 2
    assert "lies on this machine" in capsys.readouterr().err


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_json_logs_tell_of_stages_steps_and_counts(data, capsys):
    assert run("match-pairs", data, "--quiet", "--log-format", "json") == 0
    events = events_of(capsys.readouterr().err)
    kinds = [event["event"] for event in events if event["event"] not in ("progress", "message")]
    steps = ["step_start", "step_end"] * 2
    assert kinds == ["run_start", "stage_start", *steps, "stage_end", "run_end"]
    ended = {event["step"]: event for event in events if event["event"] == "step_end"}
    assert ended["MatchQueries"]["counts"]["pairs/kept"] == 12
    assert ended["MatchQueries"]["units"] == TABLES
    [stage] = [event for event in events if event["event"] == "stage_end"]
    assert stage["counts"] == read_stage(str(data / "matched"))["counts"]
    assert stage["drops"] == {"pairs/drop/no_query": 3}
    [start] = [event for event in events if event["event"] == "stage_start"]
    assert (start["options"]["case"], start["state"], len(start["identity"])) == (None, "fresh", 64)
    assert events[-1]["exit_code"] == 0


def test_json_logs_say_which_steps_were_done_before(data, capsys, monkeypatch):
    cut_short(monkeypatch, "MatchQueries")
    assert run("match-pairs", data, "--log-format", "json") == 1
    [error] = [event for event in events_of(capsys.readouterr().err) if event["event"] == "error"]
    assert error["exit_code"] == 1
    assert "out of luck" in error["text"]
    monkeypatch.undo()
    assert run("match-pairs", data, "--quiet", "--log-format", "json") == 0
    events = events_of(capsys.readouterr().err)
    made = {event["step"]: event["made"] for event in events if event["event"] == "step_end"}
    assert made == {"MatchQueries": False, "CountQueries": True}
    assert run("match-pairs", data, "--quiet", "--log-format", "json") == 0
    assert [event["state"] for event in events_of(capsys.readouterr().err) if "state" in event] == [
        "done",
        "already done",
    ]


def test_json_logs_turn_every_line_into_an_event(data, capsys, monkeypatch):
    def warn(step, engine, receipts):
        logging.getLogger("pipeline").warning("slow today")
        raise StepFailed("no")

    monkeypatch.setattr(jobs.runner, "run_step", warn)
    assert run("match-pairs", data, "--log-format", "json", "--verbose") == 1
    events = events_of(capsys.readouterr().err)
    texts = [event["text"] for event in events if event["event"] == "message"]
    assert any("slow today" in text for text in texts)
    assert any("Traceback" in text for text in texts)


def test_progress_events_say_how_many_units_are_done(data, capsys, monkeypatch):
    def wait(step, engine, receipts):
        run_step(step, engine, receipts)
        for _ in range(1000):
            captured.append(capsys.readouterr().err)
            if '"progress"' in "".join(captured) and '"done": 3' in "".join(captured):
                return
            jobs.runner.time.sleep(0.02)

    captured = []
    monkeypatch.setattr(jobs.runner, "run_step", wait)
    assert run("match-pairs", data, "--quiet", "--log-format", "json", "--log-every", "0.01") == 0
    progress = [event for event in events_of("".join(captured)) if event["event"] == "progress"]
    assert {"stage": "match-pairs", "step": "MatchQueries", "units": 3, "done": 3}.items() <= progress[
        -1
    ].items() or any(event["step"] == "MatchQueries" and event["done"] == 3 for event in progress)


def test_text_is_what_it_was(data, capsys):
    assert run("match-pairs", data) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("match-pairs: 12 of 15 pairs (no_query 3)")


def test_counters_are_written_whole_as_json(data, tmp_path):
    path = tmp_path / "counters" / "now.json"
    assert run("match-pairs", data, "--quiet", "--counters", str(path)) == 0
    content = json.loads(path.read_text())
    assert (content["state"], content["exit_code"]) == ("done", 0)
    stage = content["stages"]["match-pairs"]
    assert stage["counts"] == read_stage(str(data / "matched"))["counts"]
    assert stage["steps"]["MatchQueries"]["done"] == TABLES


def test_counters_for_prometheus_tell_of_failures_too(data, tmp_path, monkeypatch):
    path = tmp_path / "wit400m.prom"
    cut_short(monkeypatch, "CountQueries")
    assert run("match-pairs", data, "--quiet", "--counters", str(path)) == 1
    lines = path.read_text().splitlines()
    assert 'wit400m_count{stage="match-pairs",name="pairs/kept"} 12' in lines
    assert "wit400m_run_exit_code 1" in lines
    assert 'wit400m_stage_done{stage="match-pairs"} 0' in lines


def test_counters_that_cannot_be_written_stop_a_run_before_it_begins(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("match-pairs", data, "--counters", str(tmp_path / "file" / "c.json")) == 2
    assert not (data / "matched").exists()
    assert "Traceback" not in capsys.readouterr().err


def status_of(folder, capsys, *flags):
    code = main(["status", str(folder), *flags])
    return code, capsys.readouterr().out


def test_status_tells_of_all_stages_in_the_order_of_the_flow(data, capsys):
    assert run("match-pairs", data, "--quiet", "--case", "fold") == 0
    capsys.readouterr()
    code, shown = status_of(data, capsys)
    assert code == 0
    firsts = [line.split()[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert firsts == ["build-vocab", "extract-pairs", "match-pairs"]
    assert "12 of 15 pairs (no_query 3)" in shown
    assert "with case 'fold'" in shown
    found = json.loads(status_of(data, capsys, "--json")[1])[2]
    outputs = read_stage(str(data / "matched"))["outputs"]
    assert (found["state"], found["num_files"]) == ("done", len(outputs))
    assert found["bytes"] == sum(output["bytes"] for output in outputs)
    assert found["options"] == {"case": "fold"}
    assert status_of(data / "matched", capsys)[1].splitlines() == shown.splitlines()[-3:]


def test_status_of_a_stage_that_was_cut_short_counts_units(data, capsys, monkeypatch):
    cut_short(monkeypatch, "MatchQueries", lost=str(data / "matched" / "p1.parquet"))
    assert run("match-pairs", data, "--quiet") == 1
    before = look(data)
    capsys.readouterr()
    code, shown = status_of(data, capsys)
    assert (code, look(data)) == (0, before)
    assert "match-pairs   cut short" in shown
    assert "2 of 3 units" in shown
    [step] = json.loads(status_of(data / "matched", capsys, "--json")[1])[0]["steps"]
    assert (step["step"], step["done"], step["units"]) == ("MatchQueries", 2, 3)
    assert step["units_per_s"] > 0
    assert step["left_s"] == pytest.approx(1 / step["units_per_s"])


def test_status_sees_who_works_in_a_folder_and_takes_no_lock(data, capsys, monkeypatch):
    cut_short(monkeypatch, "MatchQueries")
    assert run("match-pairs", data, "--quiet") == 1
    capsys.readouterr()
    with hold_folder(str(data / "matched")):
        [found] = json.loads(status_of(data / "matched", capsys, "--json")[1])
    assert (found["state"], found["holder"]) == ("working", f"process {os.getpid()}")


def test_status_knows_folders_of_older_versions(data, capsys):
    assert run("match-pairs", data, "--quiet") == 0
    capsys.readouterr()
    path = data / "matched" / STAGE_NAME
    content = json.loads(path.read_text())
    content["identity"]["format"] -= 1
    path.write_text(json.dumps(content))
    assert "match-pairs   older version" in status_of(data, capsys)[1]


@pytest.mark.parametrize("folder", [".", "nowhere"])
def test_status_of_a_folder_without_stages_is_bad_use(tmp_path, capsys, folder):
    assert main(["status", str(tmp_path / folder)]) == 2
    assert "no stage has begun" in capsys.readouterr().err


def test_status_of_a_store_lists_each_folder_once(data, capsys, monkeypatch):
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(data), "/status-data", recursive=True)
    listed = []
    list_entries = files.list_entries

    def listing(folder):
        listed.append(folder)
        return list_entries(folder)

    monkeypatch.setattr(files, "list_entries", listing)
    monkeypatch.setattr(files, "list_sizes", lambda folder: pytest.fail("another listing"))
    found = json.loads(status_of("memory://status-data", capsys, "--json")[1])
    assert [status["stage"] for status in found] == ["build-vocab", "extract-pairs"]
    assert len(listed) == len(set(listed))
    store.rm("/status-data", recursive=True)
