"""What people read of a stage's counts: the summary line and the funnel of a run."""

from pipeline.base.funnel import funnel_lines, summary_line

COUNTS = {
    "pages/in": 10,
    "pages/kept": 9,
    "pages/drop/not_ok": 1,
    "files/in": 0,
    "files/kept": 0,
    "pairs/in": 5000,
    "pairs/kept": 3000,
    "pairs/drop/a": 500,
    "pairs/drop/b": 1000,
    "pairs/drop/c": 500,
    "pairs/drop/d": 0,
    "matches": 1234,
}


def test_a_summary_names_every_thing_that_came_in_with_its_reasons_largest_first():
    assert summary_line("stage", COUNTS) == (
        "stage: 9 of 10 pages (not_ok 1); 3,000 of 5,000 pairs (b 1,000, a 500, c 500); 1,234 matches"
    )
    assert summary_line("stage", {}) == "stage: "
    assert summary_line("stage", {"pairs/in": 2, "pairs/kept": 2}) == "stage: 2 of 2 pairs"


def test_a_funnel_has_a_line_for_every_thing_and_names_its_stage_once():
    lines = funnel_lines([{"stage": "one", "counts": COUNTS}, {"stage": "two", "counts": {"pairs/in": 1}}])
    assert [line.split() for line in lines] == [
        ["stage", "thing", "in", "kept", "dropped"],
        ["one", "pages", "10", "9", "not_ok", "1"],
        ["pairs", "5,000", "3,000", "b", "1,000", "a", "500", "c", "500"],
        ["two", "pairs", "1", "0", "-"],
    ]
    assert [line[:16].rstrip() for line in lines] == ["stage", "one", "", "two"]


def test_many_reasons_go_on_below_where_the_first_began():
    counts = {"pairs/in": 100, "pairs/kept": 0} | {f"pairs/drop/some_long_reason_{n}": 10 for n in range(10)}
    _, first, *others = funnel_lines([{"stage": "stage", "counts": counts}])
    column = first.index("some_long_reason_0")
    assert len(others) > 1
    assert all(line.index("some_long_reason") == column and len(line) <= column + 66 for line in others)
    assert sum(line.count("some_long_reason") for line in (first, *others)) == 10
