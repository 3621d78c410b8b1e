"""What a plan of 40,000 units costs the process that drives it: a small graph, one request a unit, listings besides."""

import importlib.util

import fsspec
import pytest

from pipeline.base import files
from pipeline.base.receipts import StepReceipts
from pipeline.base.stage_folder import commit_stage, open_stage, stage_identity
from pipeline.steps import GroupPacked, MapUnits, Step

UNITS = range(40_000)
LISTINGS = len(UNITS) // 1000


@pytest.fixture
def plans(checkout):
    spec = importlib.util.spec_from_file_location("plans", checkout / "benchmarks" / "plans.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fsspec.register_implementation("slow", module.SlowFileSystem, clobber=True)
    module.SlowFileSystem.requests.clear()
    yield module
    module.SlowFileSystem.store.clear()


def test_a_graph_of_many_units_is_small_and_written_in_one_request(plans):
    group = GroupPacked(
        sources=UNITS, pack=plans.pack, units=UNITS, output_of=plans.output_of, work=plans.work_on_found
    )
    for number, transform in enumerate((MapUnits(units=UNITS, output_of=plans.output_of, work=plans.work), group), 1):
        plans.SlowFileSystem.requests.clear()
        assert plans.graph(Step("Step", transform)) < 200_000
        assert plans.SlowFileSystem.requests == {"put": number}


def test_a_stage_is_looked_at_and_closed_in_listings_and_one_request_a_unit(plans):
    requests = plans.SlowFileSystem.requests
    stage = plans.Many()
    identity = stage_identity(stage)
    open_stage(stage, identity)
    receipts, outputs = StepReceipts(plans.FOLDER, "Map"), [plans.output_of(unit) for unit in UNITS]
    assert receipts.read_all(outputs) is None
    assert requests.total() <= 6
    plans.fill(len(UNITS))
    requests.clear()
    assert len(receipts.read_all(outputs)) == len(UNITS)
    assert requests["get"] == len(UNITS)
    assert requests.total() - requests["get"] <= 2 * (LISTINGS + 2)
    requests.clear()
    commit_stage(stage, identity, {}, [files.Written(output, 1, plans.DIGEST) for output in outputs])
    assert requests.total() <= 4 * (LISTINGS + 2)
