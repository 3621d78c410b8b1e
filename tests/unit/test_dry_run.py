"""What a dry run says of plans that are too large to make here."""

import pyarrow as pa
import pytest

from jobs.dry_run import StagePlan, StepPlan, estimate, plan_lines, rows_in
from jobs.engines import Engine
from jobs.scale import estimate_stage, read_rates
from pipeline.base.options import options_from
from pipeline.base.tables import write_table
from pipeline.extraction.stage import ExtractPairs
from pipeline.fetching.stage import FetchImages
from pipeline.matching.stage import MatchPairs
from pipeline.sharding.stage import WriteShards
from pipeline.steps import Shape

ROWS = 400_000_000
CLOUD = ("--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t")


def plan_of(*steps, is_whole=True, rows=ROWS):
    return StagePlan(state="new", steps=steps, is_whole=is_whole, rows=rows)


def step_of(label, units, done, shape=Shape.MAP, payload=0):
    return StepPlan(step=label, shape=shape, units=units, done=done, payload=payload)


def lines_of(stage, plan, engine):
    return "\n".join(plan_lines(stage, plan, estimate(stage, plan), engine, ()))


def test_a_shuffle_that_memory_does_not_hold_is_counted_in_slices():
    stage = options_from(WriteShards, {})
    shuffle = step_of("PlanShards", 1_300, 0, Shape.SHUFFLE, payload=64 << 30)
    shown = lines_of(stage, plan_of(shuffle), Engine(workers=2, memory=8 << 30))
    assert "shuffles about " in shown
    assert "in 48 slices for 8.6 GB of memory" in shown
    assert "slices" not in lines_of(stage, plan_of(shuffle), Engine(workers=2, memory=1 << 40))
    assert "slices" not in lines_of(stage, plan_of(shuffle), Engine(workers=2, memory=8 << 30, beam_flags=CLOUD))


def test_what_is_done_costs_no_more():
    stage = options_from(MatchPairs, {})
    new = estimate(stage, plan_of(step_of("MatchQueries", 10, 0), step_of("CountQueries", 1, 0)))
    half = estimate(stage, plan_of(step_of("MatchQueries", 10, 5), step_of("CountQueries", 1, 0)))
    matching = new.steps[0].cpu_s
    assert new == estimate_stage("match-pairs", ROWS, read_rates())
    assert new.vcpu_hours - half.vcpu_hours == pytest.approx(matching / 2 / 3600)


def test_steps_that_are_not_known_yet_are_in_the_estimate_and_those_there_are_not_are_left_out():
    stage = options_from(FetchImages, {"contact": "me@example.org"})
    known = step_of("CountHosts", 1, 1)
    assert [step.step for step in estimate(stage, plan_of(known)).steps] == ["CountHosts"]
    rest = estimate(stage, plan_of(known, is_whole=False))
    assert [step.step for step in rest.steps] == ["CountHosts", "RouteRows", "PlanUnits", "FetchUnits"]
    assert rest.steps[0].cpu_s == 0
    shown = lines_of(stage, plan_of(known, is_whole=False), Engine(workers=2))
    assert "FetchUnits" in shown.partition("expected")[2]


def test_more_workers_take_less_time_and_as_many_hours():
    stage = options_from(MatchPairs, {})
    plan = plan_of(step_of("MatchQueries", 1000, 0), step_of("CountQueries", 1, 0))
    one, many = (lines_of(stage, plan, Engine(workers=workers)) for workers in (1, 100))
    hours = one.partition(" vCPU-hours")[0].rpartition("(")[2]
    assert f"({hours} vCPU-hours)" in many
    assert "h of computing with 1 worker " in one or "min of computing with 1 worker " in one
    assert one.partition("computing")[0] != many.partition("computing")[0]


def test_rows_of_lists_are_told_by_their_size_or_their_footers(tmp_path):
    table = pa.table({"url": ["u"] * 7, "text": ["t"] * 7})
    write_table(str(tmp_path / "a.parquet"), table, table.schema)
    (tmp_path / "b.tsv").write_bytes(b"x" * 130 * 5)
    stage = options_from(ExtractPairs, {"input": [str(tmp_path)]})
    assert rows_in(stage) == 12
    (tmp_path / "c.warc.gz").write_bytes(b"x")
    assert rows_in(stage) is None


def test_a_stage_that_nobody_measured_has_no_estimate():
    stage = options_from(MatchPairs, {})
    assert estimate(stage, plan_of(rows=None)) is None
    assert "no estimate" in lines_of(stage, plan_of(rows=None), Engine(workers=1))


def test_a_price_is_named_where_the_engine_has_one():
    stage = options_from(FetchImages, {"contact": "me@example.org"})
    plan = plan_of(step_of("FetchUnits", 40_000, 0))
    assert "cost    about $" in lines_of(stage, plan, Engine(workers=2, beam_flags=CLOUD))
    assert "cost" not in lines_of(stage, plan, Engine(workers=2))
