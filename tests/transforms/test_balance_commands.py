"""balance-pairs as a command, in this process, on a small pool: plan, final selection, top-up, next crawl, errors."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from jobs.__main__ import main
from pipeline.balancing.lots import Drawing, hash_queries
from pipeline.base import files
from pipeline.base.arrays import write_array
from pipeline.base.drops import drop_counts
from pipeline.base.ids import pair_id
from pipeline.base.lineage import STAGE_NAME, read_stage
from pipeline.base.matched_tables import matched_schema
from pipeline.base.schemas import MATCHED, PAIRS, RAW_INDEX
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from vocab.queries import QUERIES

NAMES = [f"query {number}" for number in range(8)]
CAP = 12
KNOWN_OF_FIRST_QUERY = [1, 42, 49, 57, 91, 111, 115, 119, 186, 199, 213, 250]  # at this cap, of pairs 0 to 299


def query_ids_of(number):
    """Query q is held by every (q + 1)-th pair; every 11th pair holds none."""
    return [] if number % 11 == 0 else [query for query in range(8) if number % (query + 1) == 0]


def identity_of(number):
    return pair_id(f"http://host.example/{number}", "text")


NUMBERS = {identity_of(number): number for number in range(400)}


def write_stage(folder, stage, counts=None):
    """Declares a folder finished, made from all that are finished beside it."""
    made_from = sorted(str(path.parent) for path in folder.parent.glob(f"*/{STAGE_NAME}") if path.parent != folder)
    outputs = [{"name": str(folder)}]  # so that no two look the same
    close_folder(str(folder), identity={"stage": stage}, counts=counts or {}, outputs=outputs, made_from=made_from)


def write_crawl(world, name, numbers):
    """A crawl's pairs and their queries, in two tables."""
    numbers = list(numbers)
    for table in range(2):
        rows = [
            {"pair_id": identity_of(number), "image_url": f"http://host.example/{number}", "text": "text"}
            | {"text_source": "alt", "source_file": name, "query_ids": query_ids_of(number)}
            for number in numbers[table::2]
        ]
        pairs, matched = (str(world / f"{name}-{kind}" / f"{table}.parquet") for kind in ("pairs", "matched"))
        write_table(pairs, pa.Table.from_pylist(rows, PAIRS), PAIRS)
        write_table(matched, pa.Table.from_pylist(rows, MATCHED), matched_schema(pairs))
    counts = np.bincount([query for number in numbers for query in query_ids_of(number)], minlength=len(NAMES))
    write_array(str(world / f"{name}-matched" / "counts.npy"), counts)
    write_stage(world / f"{name}-pairs", "extract-pairs")
    write_stage(world / f"{name}-matched", "match-pairs", drop_counts("pairs", len(numbers), {}))


@pytest.fixture
def world(tmp_path):
    rows = [{"query_id": n, "query": name, "display": name, "sources": ["word"]} for n, name in enumerate(NAMES)]
    write_table(str(tmp_path / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    write_stage(tmp_path / "vocab", "build-vocab")
    write_crawl(tmp_path, "crawl", range(300))
    return tmp_path


def run(command, *words):
    return main([command, *map(str, words), "--workers", "1", "--quiet"])


def balance(world, output, *flags, crawl="crawl"):
    folders = {"matched": f"{crawl}-matched", "pairs": f"{crawl}-pairs", "vocab": "vocab", "output": output}
    return run(
        "balance-pairs", *(word for name, folder in folders.items() for word in (f"--{name}", world / folder)), *flags
    )


def selected(folder, suffix=".parquet"):
    """Pair number to the queries that keep it, of a folder."""
    found = {}
    for path in files.list_files(str(folder), suffix):
        if files.basename(path) != "cuts.parquet":
            for row in read_table(path, ["pair_id", "kept_for"]).to_pylist():
                assert NUMBERS[row["pair_id"]] not in found
                found[NUMBERS[row["pair_id"]]] = row["kept_for"]
    return dict(sorted(found.items()))


def select_slowly(numbers, cap, seed=0):
    """The definition: the pairs with the `cap` smallest lots of every query."""
    drawing = Drawing(seed=seed, query_hashes=hash_queries(pa.array(NAMES)))
    found = {}
    for query in range(len(NAMES)):
        own = [number for number in numbers if query in query_ids_of(number)]
        ids = pa.array([identity_of(number) for number in own], pa.binary(16))
        lots = drawing.draw(ids, np.arange(len(own)), np.full(len(own), query, np.int32))
        for place in np.argsort(lots)[:cap].tolist():
            found.setdefault(own[place], []).append(query)
    return dict(sorted(found.items()))


def counts_of(folder):
    return read_stage(str(folder))["counts"]


def test_a_pool_is_balanced_as_the_definition_says_and_every_pair_counted(world):
    assert balance(world, "out", "--cap", CAP) == 0
    wanted = select_slowly(range(300), CAP)
    assert selected(world / "out") == wanted
    assert [number for number, kept_for in wanted.items() if 0 in kept_for] == KNOWN_OF_FIRST_QUERY
    counts = counts_of(world / "out")
    in_all = sum(bool(query_ids_of(number)) for number in range(300))
    assert counts["pairs/in"] == in_all == counts["pairs/kept"] + counts["pairs/drop/over_cap"]
    assert counts["pairs/kept"] == len(wanted)
    assert counts["selections"] == sum(map(len, wanted.values()))
    assert (counts["cap"], counts["fetch_cap"]) == (CAP, CAP)
    cuts = read_table(str(world / "out" / "cuts.parquet")).to_pydict()
    assert cuts["query"] == NAMES
    assert cuts["kept"] == [min(CAP, count) for count in cuts["count"]]


def test_without_a_rule_the_cap_is_that_of_clip(world):
    assert balance(world, "out") == 0
    assert counts_of(world / "out")["cap"] == 20_000
    assert selected(world / "out") == {n: query_ids_of(n) for n in range(300) if query_ids_of(n)}


@pytest.mark.parametrize("hashes", ["independent", "coordinated"])
def test_a_cap_for_a_target_keeps_about_so_many_pairs(world, capsys, hashes):
    assert balance(world, "out", "--target-pairs", 100, "--hashes", hashes) == 0
    assert "cannot be met" not in capsys.readouterr().err
    counts = counts_of(world / "out")
    assert 90 < counts["expected_pairs"] <= 100
    assert abs(counts["pairs/kept"] - 100) < 25


def test_a_target_below_one_pair_a_query_is_said_to_be_out_of_reach(world, capsys):
    assert balance(world, "out", "--target-pairs", 2) == 0
    counts = counts_of(world / "out")
    assert counts["cap"] == 1 and counts["pairs/kept"] > 2
    said = f"target-pairs 2 cannot be met: about {round(counts['expected_pairs'])} are kept, for every query keeps"
    assert said in capsys.readouterr().err


def test_a_cap_for_a_tail_share_is_that_of_the_counts(world):
    assert balance(world, "out", "--tail-share", 0.2) == 0
    counts = np.load(world / "crawl-matched" / "counts.npy")
    cap = counts_of(world / "out")["cap"]
    assert counts[counts < cap].sum() >= 0.2 * counts.sum() > counts[counts < cap - 1].sum()


def fetch(world, balanced, output, alive):
    """Raw indexes as fetch-images leaves them."""
    rows = []
    for path in files.list_files(str(world / balanced), ".parquet"):
        if files.basename(path) != "cuts.parquet":
            for row in read_table(path).to_pylist():
                status = "ok" if alive(NUMBERS[row["pair_id"]]) else "not_found"
                row = {name: row.get(name) for name in RAW_INDEX.names}
                rows.append(row | {"key": row["pair_id"].hex(), "status": status})
    for unit in range(2):
        table = pa.Table.from_pylist(sorted(rows[unit::2], key=lambda row: row["key"]), RAW_INDEX)
        write_table(str(world / output / f"raw-{unit:05d}.index.parquet"), table, RAW_INDEX)
    write_stage(world / output, "fetch-images")


def test_what_is_fetched_cut_and_topped_up_ends_as_if_all_had_been_fetched(world):
    def alive(number):
        return number % 3 != 0

    assert balance(world, "plan", "--cap", CAP, "--yield", 0.9) == 0
    plan = selected(world / "plan")
    assert counts_of(world / "plan")["fetch_cap"] > CAP
    fetched, balanced, raws = dict(plan), "plan", ["raw-0"]
    fetch(world, balanced, raws[0], alive)
    for number in range(1, 9):
        final = world / f"final-{number}"
        raw = [world / name for name in raws]
        assert run("balance-final", "--balanced", world / balanced, "--raw", *raw, "--output", final) == 0
        counts = counts_of(final)
        kept = selected(final, ".index.parquet")
        assert all(alive(pair) for pair in kept)
        assert counts["pairs/kept"] == len(kept)
        assert counts["pairs/in"] == len(fetched)
        if not counts["short_queries"]:
            break
        balanced, pools = f"top-up-{number}", {"matched": "crawl-matched", "pairs": "crawl-pairs"}
        flags = [word for name, folder in pools.items() for word in (f"--{name}", world / folder)]
        assert run("top-up-pairs", *flags, "--final", final, "--output", world / balanced) == 0
        more = selected(world / balanced)
        assert more and not more.keys() & fetched.keys()
        assert counts_of(world / balanced)["pairs/drop/fetched_before"] == len(fetched)
        fetched |= more
        raws.append(f"raw-{number}")
        fetch(world, balanced, raws[-1], alive)
    assert number > 1
    assert kept == select_slowly([number for number in range(300) if alive(number)], CAP)


@pytest.mark.parametrize("again", [0, 60])
def test_a_crawl_added_to_an_earlier_selection_ends_as_both_together(world, again):
    write_crawl(world, "next", range(300 - again, 400))
    assert balance(world, "first", "--cap", CAP) == 0
    assert balance(world, "both", "--cap", CAP, "--previous", world / "first", crawl="next") == 0
    assert selected(world / "both") == select_slowly(range(400), CAP)
    counts = counts_of(world / "both")
    known = counts.get("pairs/drop/known_pair", 0)
    assert known == sum(number >= 300 - again for number in selected(world / "first"))
    sources = Counter()
    for path in files.list_files(str(world / "both"), ".parquet"):
        if files.basename(path) != "cuts.parquet":
            rows = read_table(path, ["pair_id", "source_file"]).to_pylist()
            sources.update((NUMBERS[row["pair_id"]] < 300, row["source_file"]) for row in rows)
    assert set(sources) == {(True, "crawl"), (False, "next")}


def test_a_crawl_is_not_added_to_a_selection_of_another_making_or_with_other_queries(world, capsys):
    write_crawl(world, "next", range(300, 400))
    assert balance(world, "first", "--cap", CAP) == 0
    previous = ["--previous", world / "first"]
    for flags, message in (
        (["--cap", CAP + 1], f"{CAP + 1} pairs a query are needed, but"),
        (["--cap", CAP, "--seed", 1], "was made with --hashes independent --seed 0; give the same"),
        (["--cap", CAP, "--hashes", "coordinated"], "give the same"),
    ):
        assert balance(world, "both", *flags, *previous, "--overwrite", crawl="next") == 2
        assert message in capsys.readouterr().err
    rows = [{"query_id": n, "query": name, "display": name, "sources": ["word"]} for n, name in enumerate(NAMES[::-1])]
    write_table(str(world / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    assert balance(world, "both", "--cap", CAP, *previous, "--overwrite", crawl="next") == 2
    assert "was balanced with other queries than those in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "cap", "code", "message"),
    [
        (lambda counts: counts + 1000, 400, 1, "hold fewer pairs of a query than its count says"),
        (lambda counts: np.maximum(counts - 1, 0), 400, 1, "queries selected other numbers of pairs"),
        (lambda counts: counts[1:], 400, 2, "was matched with 7 queries, but"),
    ],
    ids=["too many", "too few", "another number of queries"],
)
def test_counts_that_the_pool_contradicts_are_an_error(world, capsys, change, cap, code, message):
    path = str(world / "crawl-matched" / "counts.npy")
    write_array(path, change(np.load(path)))
    assert balance(world, "out", "--cap", cap) == code
    assert message in capsys.readouterr().err
