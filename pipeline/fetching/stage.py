"""The stage fetch-images: its options and its steps.

In: balanced pairs, the vocabulary, and web archives if images are to come from those. Out: ``raw-NNNNN.tar`` with
``raw-NNNNN.index.parquet``, by `pipeline.fetching.unit`. No image byte is shuffled.
"""

import asyncio
import warnings
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pipeline.base import files
from pipeline.base.folders import BalancedFolder, RawFolder, StageFolder, VocabFolder
from pipeline.base.lineage import Kinship, read_stage
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_column, read_table
from pipeline.fetching.answers import Normalize
from pipeline.fetching.archived import fetch_archived
from pipeline.fetching.client import fetch_images
from pipeline.fetching.grouped_rows import join_tables
from pipeline.fetching.hosts import HostMemory
from pipeline.fetching.images import ImageRules, normalize_image
from pipeline.fetching.lookup import archive_names
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    PACKED_ROW_BYTES,
    count_hosts,
    group_units,
    order_of_work,
    read_unit_plan,
    route_rows,
    units_a_group,
    write_plans,
)
from pipeline.fetching.resolver import parse_redirection
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.searching import Planned, group_table, search_archives
from pipeline.fetching.unit import ImageSource, fetch_unit
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps, SumUnits


@dataclass(kw_only=True)
class FetchImages(FetchRules, ImageRules, Stage):
    """Fetches the images of balanced pairs, politely, or takes them from web archives; checks and stores them."""

    name: ClassVar[str] = "fetch-images"
    format: ClassVar[int] = Stage.format + 1

    balanced: str = option(
        "", "Folder of balanced pairs.", under_data="balanced", made_by=("balance-pairs", "top-up-pairs")
    )
    vocab: str = option("", "Folder of the vocabulary.", under_data="vocab", made_by=("build-vocab",))
    output: str = option("", "Folder to write.", under_data="raw")
    from_archive: tuple[str, ...] = option(
        (), "WARC or WACZ files to take the images from; the network is left alone.", identity=False
    )
    unit_urls: int = option(10_000, "Pairs in a fetch unit, the piece of work that is resumed.", minimum=1)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        for text in self.connect_to:
            try:
                parse_redirection(text)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error

    def inputs(self) -> list[str]:
        """The balanced pairs, the queries and the archives."""
        return [self.balanced, self.vocab, *self._archives()]

    def kin(self) -> list[Kinship]:
        """The balanced pairs hold numbers of the vocabulary's queries."""
        return [Kinship(self.balanced, self.vocab)]

    def steps(self) -> Steps:
        """Plan; find the images in the archives, if there are any; fetch, lanes of hosts side by side."""
        raw, tables = RawFolder(self.output), BalancedFolder(self.balanced).tables
        plans = StageFolder(raw.working("plan"))
        num_pairs = read_stage(self.balanced)["counts"].get("pairs/kept", 0)
        sources = join_tables(tables, num_rows=num_pairs)
        hosts = plans.file("hosts.npy")
        yield Step("CountHosts", SumUnits(units=sources, array_of=count_hosts, size=HOST_BUCKETS, output=hosts))
        plan = OnWorker(read_unit_plan, hosts, unit_urls=self.unit_urls)
        group_size = units_a_group(self.unit_urls)
        groups = group_units(plan.get().num_units, size=group_size)
        route = GroupPacked(
            sources=sources,
            pack=partial(route_rows, plan=plan, group_size=group_size),
            units=groups,
            output_of=partial(group_table, plans),
            work=partial(write_plans, plans=plans),
            payload=num_pairs * PACKED_ROW_BYTES,
        )
        yield Step("PlanUnits", route)
        source = OnWorker(open_network, self)
        if self.from_archive:
            archives, paths = archive_names(self._archives()), raw.working("records", "archives.json")
            files.write_json(paths, archives)
            records = yield from search_archives(archives, Planned(plans, groups, group_size, num_pairs), raw)
            source = OnWorker(open_archives, self, paths, records)
        lanes = plan.get().lanes()
        fetch = MapUnits(
            units=order_of_work(lanes),
            output_of=lambda unit: raw.index(raw_name(unit)),
            work=partial(
                fetch_unit,
                plans=plans,
                source=source,
                queries=OnWorker(read_column, VocabFolder(self.vocab).queries, "query"),
            ),
            lane_of=None if self.from_archive else lambda unit: int(lanes[unit]),  # an archive needs no manners
        )
        yield Step("FetchUnits", fetch)

    def _archives(self) -> list[str]:
        return files.expand_inputs(self.from_archive)


def open_network(stage: FetchImages) -> ImageSource:
    """Images that come from the network; what is learned of hosts is kept from one unit to the next."""
    normalize, memory = _image_checks(stage), HostMemory()
    return lambda name, urls, store: asyncio.run(
        fetch_images(urls, stage, normalize=normalize, store=store, memory=memory)
    )


def open_archives(stage: FetchImages, paths: str, records: StageFolder) -> ImageSource:
    """Images that come from archives.

    Args:
        stage: The options.
        paths: A JSON file, the path of every archive by its name.
        records: Tables of `RECORDS`, by the names of units.
    """
    normalize, archives = _image_checks(stage), files.read_json(paths)
    return lambda name, urls, store: fetch_archived(
        urls, stage, archives=archives, records=read_table(records.table(name)), normalize=normalize, store=store
    )


def _image_checks(stage: FetchImages) -> Normalize:
    warnings.filterwarnings("ignore", module=r"PIL\.")  # broken metadata of images off the web
    return partial(normalize_image, rules=stage)
