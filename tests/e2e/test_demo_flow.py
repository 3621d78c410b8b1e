"""The whole flow on the small world: a made-up crawl to shards to a model whose loss falls."""

import json
import re
import tarfile
from pathlib import Path

import pytest
import webdataset

from jobs.__main__ import main as run
from jobs.demo.__main__ import main
from jobs.demo.world import faults
from jobs.demo.world.captions import PLURALS
from jobs.demo.world.scenes import HELD_OUT
from jobs.demo.world.wiki import MARKUP_ONLY
from pipeline.base.flow import STAGES
from pipeline.base.lineage import read_stage
from pipeline.base.tables import read_table

FOLDERS = ("vocab", "pairs", "matched", "balanced", "raw", "shards")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["--size", "small", "--output", str(folder), "--workers", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def samples(demo: Path) -> list[dict]:
    shards = [str(path) for path in sorted(demo.glob("data/shards/*.tar"))]
    return list(webdataset.WebDataset(shards, shardshuffle=False))


NOT_SHOWN = ("import-vocab", "balance-final", "top-up-pairs", "subset")  # own lists, rounds of fetching, parts


def counts_of(demo: Path, folder: str) -> dict[str, int]:
    return read_stage(str(demo / "data" / folder))["counts"]


def test_every_stage_finished_and_its_counts_add_up(demo: Path):
    assert [read_stage(str(demo / "data" / folder))["identity"]["stage"] for folder in FOLDERS] == [
        s for s in STAGES if s not in NOT_SHOWN
    ]
    for folder in FOLDERS:
        counts = counts_of(demo, folder)
        for name in [name for name in counts if name.endswith("/in")]:
            thing = name.removesuffix("/in")
            drops = sum(number for key, number in counts.items() if key.startswith(f"{thing}/drop/"))
            assert counts[name] == counts.get(f"{thing}/kept", 0) + drops, (folder, thing)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)], ids=["done", "anew"])
def test_a_dry_run_of_the_whole_flow_writes_nothing(demo: Path, flags, capsys):
    before = look(demo)
    assert run(["run", str(demo / "demo.toml"), "--dry-run", *flags]) == 0
    assert look(demo) == before
    shown = capsys.readouterr().out
    assert shown.count(": is done; nothing would run") == (0 if flags else len(FOLDERS))
    assert shown.count(": waits for a stage before it") == (len(FOLDERS) - 2 if flags else 0)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in NOT_SHOWN])
def test_a_dry_run_of_a_stage_lists_its_first_steps_and_writes_nothing(demo: Path, tmp_path: Path, stage, capsys):
    table = (demo / "demo.toml").read_text().partition(f"[{stage}]\n")[2].partition("\n[")[0]
    config = tmp_path / "one.toml"
    config.write_text(f'data = "{demo}/data"\n[{stage}]\noutput = "{tmp_path}/new"\n{table}\n')
    before = look(demo)
    assert run(["run", str(config), "--dry-run"]) == 0
    assert look(demo) == before
    assert not (tmp_path / "new").exists()
    shown = capsys.readouterr().out
    assert f"{stage}: new" in shown
    assert " units" in shown


def look(folder: Path) -> dict[str, tuple[int, int]]:
    """All files and folders, with their sizes and when they were written."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_the_vocabulary_has_the_words_of_the_scenes_and_none_of_the_markup(demo: Path):
    queries = set(read_table(str(demo / "data/vocab/queries.parquet"))["query"].to_pylist())
    assert {"red", "circle", "background", "red circle"} <= queries
    assert not {query for query in queries if any(word in query for word in MARKUP_ONLY)}


def test_the_cap_bites(demo: Path):
    cuts = read_table(str(demo / "data/balanced/cuts.parquet")).to_pylist()
    assert max(cut["count"] for cut in cuts) > 100
    assert all(cut["kept"] == min(cut["count"], 8) for cut in cuts)
    assert counts_of(demo, "balanced")["pairs/drop/over_cap"] > 20


def test_every_fault_of_the_web_is_a_named_drop(demo: Path):
    drops = {name for name in counts_of(demo, "raw") if name.startswith("images/drop/")}
    assert len(drops) >= 8, drops


def test_only_pictures_that_are_meant_to_fail_are_lost(demo: Path):
    meant = (f"http://{faults.ODD_HOST}/", f"http://{faults.DOWN_HOST}/", faults.CLOSED_FOLDER)
    rows = [row for path in demo.glob("data/raw/*.index.parquet") for row in read_table(str(path)).to_pylist()]
    lost = [row["image_url"] for row in rows if row["status"] != "ok"]
    assert lost
    assert not [url for url in lost if not url.startswith(meant)]


def test_samples_open_with_webdataset_and_hold_image_text_and_provenance(samples: list[dict]):
    assert len(samples) > 100
    for sample in samples:
        record = json.loads(sample["json"])
        assert record["caption"].encode() == sample["txt"]
        assert {"jpg", "png", "webp"} & set(sample)
        assert record["kept_for"]


def test_no_sample_names_a_held_out_combination(samples: list[dict]):
    held_out = "|".join(rf"{thing.colour} (?:{thing.shape}|{PLURALS[thing.shape]})" for thing in HELD_OUT)
    assert not [sample for sample in samples if re.search(rf"\b(?:{held_out})\b", sample["txt"].decode().lower())]


def test_sizes_are_those_of_the_shards(demo: Path, samples: list[dict]):
    sizes = json.loads((demo / "data/shards/sizes.json").read_text())
    assert sum(sizes.values()) == len(samples)
    for name in sizes:
        with tarfile.open(demo / "data/shards" / name) as tar:
            assert len(tar.getnames()) == 3 * sizes[name]


def test_the_loss_falls_in_20_steps(demo: Path):
    lines = [json.loads(line) for line in (demo / "model/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 20
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_second_run_changes_nothing_and_reports_again(demo: Path, capfd: pytest.CaptureFixture):
    before = {path: path.stat().st_mtime_ns for path in (demo / "data").rglob("*") if path.is_file()}
    assert main(["--size", "small", "--output", str(demo), "--workers", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (demo / "data").rglob("*") if path.is_file()} == before
    printed = capfd.readouterr().out
    assert printed.count("[already done]") == len(FOLDERS)
    for words in ("over_cap", "selected", "Shards: ", "zero-shot accuracy", "recall@10", "chance"):
        assert words in printed
