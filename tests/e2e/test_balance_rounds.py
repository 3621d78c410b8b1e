"""balance-pairs over rounds: crawl after crawl, before and after fetching, pair by pair what one round would keep."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.runner import run_stage
from pipeline.balancing.final import BalanceFinal
from pipeline.balancing.stage import BalancePairs
from pipeline.balancing.top_up import TopUpPairs
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

NUM_QUERIES = 120
CAP = 60
SHARES = np.minimum(0.6, 1.2 / np.arange(1, NUM_QUERIES + 1))


def query_ids_of(number):
    ids = np.flatnonzero(np.random.default_rng(number).random(NUM_QUERIES) < SHARES).tolist()
    return ids or [NUM_QUERIES - 1]


QUERY_IDS = {number: query_ids_of(number) for number in range(4000)}


def identity_of(number):
    return pair_id(f"http://host.example/{number}", "text")


def write_stage(folder, stage, counts=None):
    """Declares a folder finished, made from all that are finished beside it."""
    made_from = sorted(str(path.parent) for path in folder.parent.glob(f"*/{STAGE_NAME}") if path.parent != folder)
    outputs = [{"name": str(folder)}]  # so that no two look the same
    close_folder(str(folder), identity={"stage": stage}, counts=counts or {}, outputs=outputs, made_from=made_from)


def write_matched(folder, numbers, tables=3, query_ids=QUERY_IDS):
    """Matched pairs and, beside them, their pairs, in several tables; a number is the same pair wherever it goes."""
    numbers, pairs = list(numbers), folder.with_name(f"{folder.name}-pairs")
    for table in range(tables):
        own = numbers[table::tables]
        constant = {"text": "text", "text_source": "alt", "page_url": None, "language": None}
        rows = [
            {
                "pair_id": identity_of(number),
                "image_url": f"http://host.example/{number}",
                "source_file": folder.name,
                "query_ids": query_ids[number],
            }
            | constant
            for number in own
        ]
        path, matched = str(pairs / f"part-{table}.parquet"), str(folder / f"part-{table}.parquet")
        write_table(path, pa.Table.from_pylist(rows, PAIRS), PAIRS)
        write_table(matched, pa.Table.from_pylist(rows, MATCHED), matched_schema(path))
    flat = [id for number in numbers for id in query_ids[number]]
    write_array(str(folder / "counts.npy"), np.bincount(flat, minlength=NUM_QUERIES))
    write_stage(folder, "match-pairs", drop_counts("pairs", len(numbers), {}))
    write_stage(pairs, "extract-pairs")
    return str(folder)


@pytest.fixture
def world(tmp_path):
    names = [f"query {i}" for i in range(NUM_QUERIES)]
    rows = [{"query_id": i, "query": name, "display": name, "sources": ["word"]} for i, name in enumerate(names)]
    write_table(str(tmp_path / "vocab" / "queries.parquet"), pa.Table.from_pylist(rows, QUERIES), QUERIES)
    write_stage(tmp_path / "vocab", "build-vocab")
    return tmp_path


def balance(world, matched, output, **options):
    folders = {"matched": matched, "pairs": f"{matched}-pairs", "vocab": str(world / "vocab")}
    stage = BalancePairs(**folders, output=str(world / output), **options)
    run_stage(stage, workers=1, quiet=True)
    return stage.output


def kept(folder, *columns, suffix=".parquet"):
    """What a folder keeps: pair id to (queries that keep it, keep probability, other columns)."""
    found = {}
    for path in files.list_files(folder, suffix):
        if files.basename(path) != "cuts.parquet":
            for row in read_table(path, ["pair_id", "kept_for", "keep_probability", *columns]).to_pylist():
                identity = row.pop("pair_id")
                assert identity not in found
                found[identity] = tuple(row.values())
    return found


def cut_columns(folder, *names):
    return read_table(files.join(folder, "cuts.parquet"), list(names)).to_pydict()


@pytest.mark.parametrize("hashes", ["independent", "coordinated"])
def test_every_query_keeps_its_share_and_pairs_are_as_many_as_their_probabilities_promise(world, hashes):
    matched = write_matched(world / "matched", range(4000))
    folder = balance(world, matched, "balanced", cap=CAP, hashes=hashes)
    pairs, counts = kept(folder, "query_ids"), np.load(world / "matched" / "counts.npy")
    selections = Counter(id for kept_for, *_ in pairs.values() for id in kept_for)
    assert [selections[id] for id in range(NUM_QUERIES)] == np.minimum(counts, CAP).tolist()
    shares = np.minimum(1, CAP / counts)
    for kept_for, probability, query_ids in pairs.values():
        wanted = shares[query_ids].max() if hashes == "coordinated" else 1 - np.prod(1 - shares[query_ids])
        assert probability == pytest.approx(wanted, rel=1e-6)
        assert set(kept_for) <= set(query_ids)
    expected = read_stage(folder)["counts"]["expected_pairs"]
    assert len(pairs) == pytest.approx(expected, rel=0.05)


def test_coordinated_lots_keep_fewer_pairs(world):
    matched = write_matched(world / "matched", range(4000))
    sizes = [len(kept(balance(world, matched, name, cap=CAP, hashes=name))) for name in ("coordinated", "independent")]
    assert sizes[0] < sizes[1]


def test_caps_are_nested(world):
    matched = write_matched(world / "matched", range(4000))
    few, many = (kept(balance(world, matched, f"cap-{cap}", cap=cap)) for cap in (100, 200))
    assert few.keys() < many.keys()
    assert all(set(few[pair][0]) <= set(many[pair][0]) for pair in few)


def test_a_cap_by_target_keeps_about_so_many_pairs(world):
    matched = write_matched(world / "matched", range(4000))
    for hashes in ("independent", "coordinated"):
        folder = balance(world, matched, hashes, target_pairs=1500, hashes=hashes)
        assert len(kept(folder)) == pytest.approx(1500, rel=0.04)
        assert read_stage(folder)["counts"]["expected_pairs"] == pytest.approx(1500, rel=0.04)


def test_a_cap_by_tail_share_is_the_cap_that_it_names(world):
    matched = write_matched(world / "matched", range(4000))
    folder = balance(world, matched, "share", tail_share=0.2)
    cap, counts = read_stage(folder)["counts"]["cap"], np.load(world / "matched" / "counts.npy")
    assert counts[counts < cap].sum() >= 0.2 * counts.sum() > counts[counts < cap - 1].sum()
    assert kept(folder) == kept(balance(world, matched, "cap", cap=cap))


@pytest.mark.parametrize(
    "flags",
    [["--cap", "10", "--tail-share", "0.1"], ["--tail-share", "0.1", "--target-pairs", "9"]],
    ids=["cap and share", "share and target"],
)
def test_two_rules_for_the_cap_are_an_error(world, capsys, flags):
    assert main(["balance-pairs", "--data", str(world), *flags]) == 2
    assert "give one of cap, tail-share and target-pairs, not" in capsys.readouterr().err


@pytest.mark.parametrize("repeated", [0, 700], ids=["new pairs only", "some pairs again"])
@pytest.mark.parametrize("cap", [CAP, 40], ids=["same cap", "smaller cap"])
def test_a_new_crawl_added_to_an_earlier_selection_equals_balancing_both(world, repeated, cap):
    first = write_matched(world / "first", range(2500))
    second = write_matched(world / "second", range(2500 - repeated, 4000), tables=2)
    union = write_matched(world / "union", range(4000))
    earlier = balance(world, first, "earlier", cap=CAP)
    both = balance(world, second, "both", cap=cap, previous=earlier)
    wanted = balance(world, union, "wanted", cap=cap)
    found, expected = kept(both), kept(wanted)
    assert found.keys() == expected.keys()
    assert all(found[pair][0] == expected[pair][0] for pair in found)
    assert cut_columns(both, "cut", "kept") == cut_columns(wanted, "cut", "kept")
    counts = read_stage(both)["counts"]
    assert counts["pairs/in"] == len(kept(earlier)) + 4000 - 2500 + repeated
    if not repeated:
        assert found == expected
        assert cut_columns(both, "count") == cut_columns(wanted, "count")
        return
    # A pair that the first crawl had and its cap left out is counted twice, for queries over that cap only.
    first_counts = np.load(world / "first" / "counts.npy")
    count, true = (np.array(cut_columns(folder, "count")["count"]) for folder in (both, wanted))
    assert (count >= true).all() and (count[first_counts <= CAP] == true[first_counts <= CAP]).all()
    assert 0 < counts["pairs/drop/known_pair"] <= repeated
    sources = {identity: source for identity, (*_, source) in kept(both, "source_file").items()}
    assert all(sources.get(identity_of(number), "first") == "first" for number in range(2500))


def test_crawl_after_crawl_and_by_target_size(world):
    folder = balance(world, write_matched(world / "c0", range(1500)), "b0", cap=80)
    for step, numbers in enumerate((range(1500, 2500), range(2500, 4000)), start=1):
        matched = write_matched(world / f"c{step}", numbers)
        folder = balance(world, matched, f"b{step}", cap=CAP, previous=folder)
    assert kept(folder) == kept(balance(world, write_matched(world / "all", range(4000)), "whole", cap=CAP))
    matched = write_matched(world / "c3", range(3000, 4000))
    base = balance(world, write_matched(world / "base", range(3000)), "b-base", cap=300)
    folder = balance(world, matched, "target", target_pairs=1500, previous=base)
    assert len(kept(folder)) == pytest.approx(1500, rel=0.06)


def test_adding_to_a_selection_of_another_making_is_an_error(world, capsys):
    earlier = balance(world, write_matched(world / "first", range(500)), "earlier", cap=20)
    second = write_matched(world / "second", range(500, 900))
    flags = ["--data", str(world), "--matched", second, "--pairs", f"{second}-pairs", "--previous", earlier, "--quiet"]
    for more, message in ((["--cap", "21"], "left some out at 20"), (["--cap", "20", "--seed", "1"], "give the same")):
        assert main(["balance-pairs", *flags, "--output", str(world / message[:4]), *more]) == 2
        assert message in capsys.readouterr().err


def is_alive(number, share):
    return np.random.default_rng(10**6 + number).random() < share


def fetch(world, balanced, output, alive):
    """A raw folder as fetch-images leaves it, without the tars; `alive` says which numbers have an image."""
    numbers = {identity_of(number): number for number in QUERY_IDS}
    rows = defaultdict(list)
    for path in files.list_files(balanced, ".parquet"):
        if files.basename(path) == "cuts.parquet":
            continue
        for row in read_table(path).to_pylist():
            unit = row["pair_id"][0] % 3
            row = {name: row.get(name) for name in RAW_INDEX.names} | {"key": row["pair_id"].hex()}
            rows[unit].append(row | {"status": "ok" if alive(numbers[row["pair_id"]]) else "not_found"})
    for unit in range(3):
        table = pa.Table.from_pylist(sorted(rows[unit], key=lambda row: row["key"]), RAW_INDEX)
        write_table(str(world / output / f"raw-{unit:05d}.index.parquet"), table, RAW_INDEX)
    write_stage(world / output, "fetch-images")
    return str(world / output)


def finish(world, balanced, raws, output, workers=1):
    stage = BalanceFinal(balanced=balanced, raw=tuple(raws), output=str(world / output))
    return stage.output, run_stage(stage, workers=workers, quiet=True)


def test_balancing_before_fetching_equals_balancing_after_it_when_enough_is_alive(world):
    matched = write_matched(world / "matched", range(4000))
    plan = balance(world, matched, "plan", cap=CAP, yield_=0.65)
    raw = fetch(world, plan, "raw", lambda number: is_alive(number, 0.65))
    final, counts = finish(world, plan, [raw], "final")
    survivors = [number for number in range(4000) if is_alive(number, 0.65)]
    wanted = kept(balance(world, write_matched(world / "after", survivors), "wanted", cap=CAP))
    found = kept(final, suffix=".index.parquet")
    assert counts["short_queries"] == counts["missing_pairs"] == 0
    assert len(kept(plan)) < 0.95 * 4000
    assert {pair: kept_for for pair, (kept_for, _) in found.items()} == {p: k for p, (k, _) in wanted.items()}
    differences = [abs(found[pair][1] - wanted[pair][1]) for pair in found]
    assert np.mean(differences) < 0.03  # one estimates how many pairs of the pool are alive, the other knows
    assert (
        counts["pairs/in"]
        == len(kept(plan))
        == counts["pairs/kept"] + sum(number for name, number in counts.items() if name.startswith("pairs/drop/"))
    )


def test_a_new_crawl_may_be_added_before_fetching(world):
    first, second = write_matched(world / "first", range(2500)), write_matched(world / "second", range(2500, 4000))
    earlier = balance(world, first, "earlier", cap=CAP, yield_=0.65)
    plan = balance(world, second, "plan", cap=CAP, yield_=0.65, previous=earlier)
    assert kept(plan) == kept(balance(world, write_matched(world / "union", range(4000)), "once", cap=CAP, yield_=0.65))
    final, counts = finish(world, plan, [fetch(world, plan, "raw", lambda number: is_alive(number, 0.65))], "final")
    survivors = [number for number in range(4000) if is_alive(number, 0.65)]
    wanted = kept(balance(world, write_matched(world / "after", survivors), "wanted", cap=CAP))
    found = kept(final, suffix=".index.parquet")
    assert counts["short_queries"] == 0
    assert {pair: kept_for for pair, (kept_for, _) in found.items()} == {p: k for p, (k, _) in wanted.items()}


@pytest.mark.parametrize("what", ["final", "top-up"])
def test_only_a_whole_selection_can_be_added_to(world, what):
    matched = write_matched(world / "matched", range(600))
    plan = balance(world, matched, "plan", cap=CAP, yield_=0.65)
    final, _ = finish(world, plan, [fetch(world, plan, "raw", lambda number: is_alive(number, 0.2))], "final")
    top_up = TopUpPairs(matched=matched, pairs=f"{matched}-pairs", final=final, output=str(world / "top-up"))
    run_stage(top_up, workers=1, quiet=True)
    with pytest.raises(ValueError, match="was made by"):
        balance(world, matched, "more", cap=10, previous=str(world / what))


def test_short_queries_are_topped_up_until_the_selection_is_that_of_the_whole_pool(world):
    matched = write_matched(world / "matched", range(4000))

    def alive(number):  # links of some queries die far more often than expected
        return is_alive(number, 0.15 if 2 in QUERY_IDS[number] else 0.65)

    balanced = balance(world, matched, "plan", cap=CAP, yield_=0.65)
    fetched, raws, shortages = kept(balanced), [fetch(world, balanced, "raw-0", alive)], []
    for round_number in range(1, 6):
        final, counts = finish(world, balanced, raws, f"final-{round_number}")
        shortages.append(counts["missing_pairs"])
        if not counts["short_queries"]:
            break
        top_up = TopUpPairs(
            matched=matched, pairs=f"{matched}-pairs", final=final, output=str(world / f"top-up-{round_number}")
        )
        run_stage(top_up, workers=1, quiet=True)
        balanced, more = top_up.output, kept(top_up.output)
        assert not fetched.keys() & more.keys()
        fetched |= more
        raws.append(fetch(world, balanced, f"raw-{round_number}", alive))
    assert len(shortages) > 1 and shortages[0] > 0 == shortages[-1]
    survivors = [number for number in range(4000) if alive(number)]
    wanted = kept(balance(world, write_matched(world / "after", survivors), "wanted", cap=CAP))
    found = kept(final, suffix=".index.parquet")
    assert {pair: kept_for for pair, (kept_for, _) in found.items()} == {p: k for p, (k, _) in wanted.items()}


def folder_bytes(folder):
    return {files.basename(path): files.read_bytes(path) for path in files.list_files(folder)}


def test_any_number_of_workers_and_a_run_cut_short_write_the_same_final_selection(world):
    plan = balance(world, write_matched(world / "matched", range(2000)), "plan", cap=CAP, yield_=0.65)
    raw = fetch(world, plan, "raw", lambda number: is_alive(number, 0.65))
    one, counts = finish(world, plan, [raw], "one")
    two, again = finish(world, plan, [raw], "two", workers=2)
    assert counts == again
    assert folder_bytes(one) == folder_bytes(two)
    before = folder_bytes(two)
    for name in (STAGE_NAME, "cuts.parquet", next((world / "two").glob("*-raw-00001.index.parquet")).name):
        (world / "two" / name).unlink()
    assert finish(world, plan, [raw], "two")[1] == counts
    assert folder_bytes(two) == before


def test_on_real_texts_every_query_keeps_its_share(world, real_data):
    table = pq.read_table(real_data / "text_lists" / "laion_url_text_10k.parquet")
    texts = [
        str(text).lower().split()
        for text in table[next(n for n in table.column_names if n.lower() == "text")].to_pylist()
    ]
    words = [word for word, _ in Counter(word for text in texts for word in set(text)).most_common(NUM_QUERIES)]
    place = {word: number for number, word in enumerate(words)}
    lists = {number: sorted({place[word] for word in text if word in place}) for number, text in enumerate(texts)}
    own = {number: ids for number, ids in lists.items() if ids}
    matched = write_matched(world / "real", own, query_ids=own)
    pairs, counts = kept(balance(world, matched, "balanced", cap=200)), np.load(world / "real" / "counts.npy")
    selections = Counter(id for kept_for, _ in pairs.values() for id in kept_for)
    assert (counts > 200).any()
    assert [selections[id] for id in range(NUM_QUERIES)] == np.minimum(counts, 200).tolist()
    shares = np.minimum(1, 200 / np.maximum(counts, 1))
    promised = sum(1 - np.prod(1 - shares[ids]) for ids in own.values())
    assert len(pairs) == pytest.approx(promised, rel=0.02)
