"""What a stage costs for a number of rows: elements, bytes, requests, memory, vCPU-hours, storage, money, first limit.

In: rates that ``benchmarks/scale.py --measure`` found (`rates.json`), list prices, and the functions by which the
stages themselves choose how many buckets, units and shards there are. Out: an estimate a stage, for docs/scale.md and
for ``--dry-run``. It is a model: linear in rows but for what those functions say.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from pipeline.base.options import options_of
from pipeline.base.shard_format import TRAIN
from pipeline.extraction.dedup import Duplicates
from pipeline.fetching.grouped_rows import join_tables
from pipeline.fetching.planning import HOST_BUCKETS, choose_unit_urls, group_units, plan_units, units_a_group
from pipeline.fetching.stage import FetchImages
from pipeline.sharding.card.survey import num_parts
from pipeline.sharding.packing.layout import SetLayout, make_layout
from pipeline.sharding.selection.alike import DISTANCE
from pipeline.sharding.selection.near_duplicates import buckets_of_looks
from pipeline.sharding.stage import WriteShards
from pipeline.sharding.stored_samples import cut_groups, num_buckets
from pipeline.slicing import num_slices
from pipeline.steps import GroupPacked, Step

RATES_FILE: Final = Path(__file__).with_name("rates.json")
STAGES: Final = ("extract-pairs", "match-pairs", "balance-pairs", "fetch-images", "balance-final", "write-shards")
ROWS_A_TABLE: Final = 30_000  # of a WAT of Common Crawl: 2.5 billion in 90,000
_COUNTS: Final = frozenset({"CountQueries", "CountHosts", "CountAlive", "CountKept", "CountSurvivors"})  # one output
_OF_RAW_GROUPS: Final = frozenset({"JudgeRows", "FindDuplicateSamples", "FindNearDuplicates", "SelectSamples"})
_OF_RAW_TARS: Final = frozenset({"FetchUnits", "FindAlive", "KeepFetched", "CountAlive", "CountKept"})
_PART_BYTES: Final = 8 << 20  # of a far file that one request brings, about
_REQUESTS_A_FILE: Final = 2  # that every read of one takes besides: its size, its end
_WRITES_A_UNIT: Final = 2  # output and receipt
_SECONDS_AN_HOUR: Final = 3600.0
_ELEMENT_LIMIT: Final = 50_000_000  # of one shuffle: what issues and engines bear well
_ZIPF: Final = 1.0  # of hosts: how fast their shares fall with their rank
_NUM_HOSTS: Final = 1_000_000


class Prices(NamedTuple):
    """List prices, US dollars without tax.

    Attributes:
        vcpu_hour: A vCPU of a batch worker for an hour.
        gib_hour: A GiB of its memory for an hour.
        worker_gib: Memory that a vCPU comes with.
        shuffle_gb: A GB that the service shuffles.
        storage_gb_month: A GB stored for a month.
        put_1000: A thousand requests that write or list.
        get_1000: A thousand requests that read.
        egress_gb: A GB sent out of the cloud.
        source: Where they are from.
        date: Of when.
    """

    vcpu_hour: float = 0.056
    gib_hour: float = 0.003557
    worker_gib: float = 4.0
    shuffle_gb: float = 0.011
    storage_gb_month: float = 0.020
    put_1000: float = 0.005
    get_1000: float = 0.0004
    egress_gb: float = 0.12
    source: str = (
        "Google Cloud, us-central1: Dataflow batch workers and shuffle (cloud.google.com/dataflow/pricing), standard "
        "storage (cloud.google.com/storage/pricing-examples)"
    )
    date: str = "2026-11-28"


class Machine(NamedTuple):
    """One machine, and how long one waits for it.

    Attributes:
        cores: Its cores.
        memory: Bytes.
        disk: Bytes.
        network: Bytes a second.
        hours: That a stage may take.
    """

    cores: int = 16
    memory: int = 64 << 30
    disk: int = 4 * 10**12
    network: float = 125e6
    hours: float = 24.0


class StepCost(NamedTuple):
    """What a step costs.

    Attributes:
        step: Its label.
        units: Outputs.
        elements: That are shuffled.
        shuffled_bytes: Of these.
        cpu_s: CPU seconds.
        worker_bytes: Peak memory of a worker.
        puts: Requests that write.
        gets: Requests that read.
        read_bytes: From files, or from the web.
        written_bytes: To files.
    """

    step: str
    units: int
    elements: int
    shuffled_bytes: float
    cpu_s: float
    worker_bytes: float
    puts: int
    gets: int
    read_bytes: float
    written_bytes: float


class StageCost(NamedTuple):
    """What a stage costs.

    Attributes:
        stage: Its name.
        rows: That come in.
        steps: What its steps cost.
        stored_bytes: Of its output.
    """

    stage: str
    rows: int
    steps: tuple[StepCost, ...]
    stored_bytes: float

    @property
    def elements(self) -> int:
        """Of all shuffles."""
        return sum(step.elements for step in self.steps)

    @property
    def shuffled_bytes(self) -> float:
        """Of all shuffles."""
        return sum(step.shuffled_bytes for step in self.steps)

    @property
    def vcpu_hours(self) -> float:
        """CPU time."""
        return sum(step.cpu_s for step in self.steps) / _SECONDS_AN_HOUR

    @property
    def worker_bytes(self) -> float:
        """Peak memory of a worker."""
        return max((step.worker_bytes for step in self.steps), default=0.0)

    @property
    def puts(self) -> int:
        """Requests that write."""
        return sum(step.puts for step in self.steps)

    @property
    def gets(self) -> int:
        """Requests that read."""
        return sum(step.gets for step in self.steps)

    @property
    def network_bytes(self) -> float:
        """Between workers and the store or the web, without the shuffle."""
        return sum(step.read_bytes + step.written_bytes for step in self.steps)

    def slices(self, memory: int) -> int:
        """In how many slices its largest shuffle is done in some memory."""
        return max((slices_of(step.shuffled_bytes, memory) for step in self.steps), default=1)

    def dollars(self, prices: Prices) -> float:
        """What a cloud asks for workers, shuffle, requests and a month of its output."""
        worker_hour = prices.vcpu_hour + prices.worker_gib * prices.gib_hour
        return (
            self.vcpu_hours * worker_hour
            + self.shuffled_bytes / 1e9 * prices.shuffle_gb
            + self.puts / 1000 * prices.put_1000
            + self.gets / 1000 * prices.get_1000
            + self.stored_bytes / 1e9 * prices.storage_gb_month
        )


Rates = Mapping[str, Any]


def read_rates() -> Rates:
    """The measured rates: ``stages`` to steps to costs a row; ``measured``, ``machine``, ``rows``."""
    return dict(json.loads(RATES_FILE.read_text()))


def estimate_stage(stage: str, rows: int, rates: Rates) -> StageCost:
    """What a stage costs for some rows.

    Raises:
        KeyError: For a stage that has no rates.
    """
    found: Mapping[str, Mapping[str, float]] = rates["stages"][stage]
    read = _input_bytes(stage, rates)
    steps, stored = [], 0.0
    for label, rate in found.items():
        units = num_units(label, rows)
        written, kept = rows * rate["written_bytes"], rows * rate["kept_bytes"]
        read_bytes = rows * (rate.get("fetched_bytes", 0.0) or read)
        if label == "PackShards":
            image_bytes = rates["stages"]["fetch-images"]["FetchUnits"]["kept_bytes"]
            written, kept, read_bytes = (max(bytes_, rows * image_bytes) for bytes_ in (written, kept, read_bytes))
        steps.append(
            StepCost(
                step=label,
                units=units,
                elements=num_elements(label, rows, rate["elements"]),
                shuffled_bytes=rows * rate["shuffled_bytes"],
                cpu_s=rows * rate["cpu_s"] + (read_bytes * rates["copy_s_a_byte"] if label == "PackShards" else 0.0),
                worker_bytes=rate["peak_bytes"],
                puts=num_puts(label, rows),
                gets=num_gets(label, rows, read_bytes),
                read_bytes=read_bytes,
                written_bytes=written,
            )
        )
        stored += kept
        if label not in _COUNTS:
            read = rate["written_bytes"] or read
    return StageCost(stage, rows, tuple(steps), stored)


def num_tables(rows: int) -> int:
    """Of pairs."""
    return math.ceil(rows / ROWS_A_TABLE)


@cache
def num_fetch_units(rows: int) -> int:
    """Of hosts that follow Zipf's law."""
    shares = (np.arange(_NUM_HOSTS) + 1.0) ** -_ZIPF
    hosts = np.random.default_rng(0).integers(0, HOST_BUCKETS, _NUM_HOSTS)
    histogram = np.bincount(hosts, shares / shares.sum() * rows, HOST_BUCKETS).astype(np.int64)
    return plan_units(histogram, unit_urls=_unit_urls(rows)).num_units


def set_layout(rows: int) -> SetLayout:
    """Where so many samples go."""
    most, fewest = (int(_default(WriteShards, name)) for name in ("max_samples", "min_shards"))
    return SetLayout((make_layout(TRAIN, np.array([rows]), max_samples=most, min_shards=fewest),), 0)


def num_pack_units(rows: int) -> int:
    """Runs of shards that are packed at once, of raw tars in a store."""
    at_once = int(_default(WriteShards, "shards_at_once"))
    return len(set_layout(rows).units(most_at_once=at_once, whole_blocks=True))


def num_shards(rows: int) -> int:
    """Of as many samples as they may have."""
    return math.ceil(rows / int(_default(WriteShards, "max_samples")))


def num_plan_groups(rows: int) -> int:
    """Groups of fetch units that are planned together."""
    return len(group_units(num_fetch_units(rows), size=units_a_group(_unit_urls(rows))))


def num_routed(rows: int) -> int:
    """Files of rows on their way to plans: sources."""
    return len(join_tables([""] * num_tables(rows), num_rows=rows))


def num_sources(label: str, rows: int) -> int:
    """How many files a step reads that are its work: tables, raw tars, plans."""
    if label in _OF_RAW_TARS | _OF_RAW_GROUPS:
        return num_fetch_units(rows)
    if label in ("CountSurvivors", "PlanShards"):
        return num_units("SelectSamples", rows)
    if label == "PackShards":
        return num_fetch_units(rows) * num_pack_units(rows)
    if label == "SurveyShards":
        return num_shards(rows)
    if label == "PlanUnits":
        return num_routed(rows) * num_plan_groups(rows)
    return num_tables(rows)


def num_units(label: str, rows: int) -> int:
    """How many outputs a step has."""
    if label in _COUNTS or label.startswith("TakeCuts"):
        return 1
    if label in _OF_RAW_TARS:
        return num_fetch_units(rows)
    if label == "RouteRows":
        return num_routed(rows)
    if label == "PlanUnits":
        return num_plan_groups(rows)
    if label in _OF_RAW_GROUPS:
        return len(cut_groups(range(num_fetch_units(rows))))
    if label == "SurveyShards":
        return num_parts(_shard_groups(rows))
    return num_pack_units(rows) if label in ("PlanShards", "PackShards") else num_tables(rows)


def num_elements(label: str, rows: int, a_row: float) -> int:
    """How many elements a step shuffles: as many as each source has destinations, but no more than rows.

    Args:
        label: Of the step.
        rows: That come in.
        a_row: Elements a row where they were measured; 0: the step shuffles nothing.
    """
    if not a_row:
        return 0
    if label == "FindDuplicates":
        return sum(hop.elements for hop in Duplicates(num_rows=rows).hops(num_tables(rows)))
    sources, destinations = {
        "FindNearDuplicates": (num_units("SelectSamples", rows), buckets_of_looks(rows, distance=DISTANCE)),
        "FindDuplicateSamples": (num_units("SelectSamples", rows), num_buckets(num_fetch_units(rows))),
        "PlanShards": (num_units("SelectSamples", rows), num_pack_units(rows)),
        "SurveyShards": (_shard_groups(rows), num_units("SurveyShards", rows)),
    }.get(label, (0, 0))
    return min(sources * destinations, rows) if sources else round(a_row * rows)


def num_puts(label: str, rows: int) -> int:
    """How many files a step writes: outputs, receipts, and what is written beside an output."""
    beside = {
        "PlanUnits": num_fetch_units(rows),  # plans
        "FetchUnits": num_fetch_units(rows),  # tars
        "PackShards": 2 * num_shards(rows),  # shards and their indexes
    }
    return _WRITES_A_UNIT * num_units(label, rows) + beside.get(label, 0)


def num_gets(label: str, rows: int, read_bytes: float) -> int:
    """How many requests the reads of a step take."""
    requests = 1 if label in ("PackShards", "PlanUnits") else _REQUESTS_A_FILE  # of a large file one range
    return num_sources(label, rows) * requests + math.ceil(read_bytes / _PART_BYTES)


def _shard_groups(rows: int) -> int:
    """Groups of shards that are surveyed together."""
    return len(cut_groups(range(num_shards(rows))))


def slices_of(payload: float, memory: int) -> int:
    """In how many slices so many bytes are shuffled on one machine."""
    nothing = GroupPacked(sources=(), pack=_pack_nothing, units=(), output_of=str, work=_work_nothing)
    nothing.payload = math.ceil(payload)
    return num_slices(Step("", nothing), memory)


def first_limit(stage: str, rates: Rates, machine: Machine) -> tuple[str, int]:
    """What of one machine a stage outgrows first, and from how many rows on."""
    for power in range(20, 60):
        rows = round(10 ** (power / 4))
        loads = limit_loads(estimate_stage(stage, rows, rates), machine)
        name, load = max(loads.items(), key=lambda item: item[1])
        if load >= 1:
            return name, rows
    return "none", 0


def limit_loads(cost: StageCost, machine: Machine) -> dict[str, float]:
    """What a stage takes of everything that one machine, or an engine, has; 1 is all of it."""
    seconds = machine.hours * _SECONDS_AN_HOUR
    written = sum(step.written_bytes for step in cost.steps)
    return {
        f"CPU ({machine.cores} cores, {machine.hours:g} h)": cost.vcpu_hours / (machine.cores * machine.hours),
        f"disk ({machine.disk / 1e12:g} TB)": written / machine.disk,
        f"network ({machine.network * 8 / 1e9:g} Gbit/s, {machine.hours:g} h)": cost.network_bytes
        / (machine.network * seconds),
        f"memory for the shuffle ({machine.memory >> 30} GiB; beyond, slices)": cost.slices(machine.memory) - 1,
        f"elements of a shuffle ({_ELEMENT_LIMIT:,})": cost.elements / _ELEMENT_LIMIT,
    }


def _input_bytes(stage: str, rates: Rates) -> float:
    """Bytes a row of what the stages before left, as far as this one reads it.

    A list of URLs is about as large as what is extracted of it, and a raw index as what is selected of it.
    """
    before = {
        "match-pairs": ("extract-pairs",),
        "balance-pairs": ("extract-pairs", "match-pairs"),
        "fetch-images": ("balance-pairs",),
    }
    if stage not in before:
        first = "ExtractCandidates" if stage == "extract-pairs" else "SelectSamples"
        return float(rates["stages"][stage if stage == "extract-pairs" else "write-shards"][first]["written_bytes"])
    return sum(step["kept_bytes"] for name in before[stage] for step in rates["stages"][name].values())


def _unit_urls(rows: int) -> int:
    return choose_unit_urls(rows, asked=int(_default(FetchImages, "unit_urls")))


def _default(stage: type, name: str) -> Any:
    return next(option.default for option in options_of(stage) if option.name == name)


def _pack_nothing(_: Any) -> Sequence[tuple[int, bytes]]:
    return ()


def _work_nothing(_: Any, __: str, ___: Any) -> dict[str, int]:
    return {}
