"""The stage fetch-images: its options and its steps.

In: balanced pairs, the vocabulary, and web archives if images are to come from those. Out: ``raw-NNNNN.tar`` with
``raw-NNNNN.index.parquet``, by `pipeline.fetching.unit`. No image byte is shuffled.
"""

import asyncio
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import BalancedFolder, RawFolder, StageFolder, VocabFolder, table_name
from pipeline.base.lineage import Kinship
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_column, write_table
from pipeline.fetching.archived import fetch_archived, read_archive_index
from pipeline.fetching.client import fetch_images
from pipeline.fetching.images import ImageRules, normalize_image
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    count_hosts,
    plans_with_rows,
    read_unit_plan,
    route_rows,
    write_plan,
)
from pipeline.fetching.resolver import parse_redirection
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.unit import ImageSource, fetch_unit
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps, SumUnits
from pipeline.web.archives.records import IMAGE_INDEX, index_images


@dataclass(kw_only=True)
class FetchImages(FetchRules, ImageRules, Stage):
    """Fetches the images of balanced pairs, politely, or takes them from web archives; checks and stores them."""

    name: ClassVar[str] = "fetch-images"

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
        """Plan; index the archives, if any; fetch."""
        raw, tables = RawFolder(self.output), BalancedFolder(self.balanced).tables
        plans, indexes = StageFolder(raw.working("plan")), StageFolder(raw.working("archives"))
        hosts = plans.file("hosts.npy")
        yield Step("CountHosts", SumUnits(units=tables, array_of=count_hosts, size=HOST_BUCKETS, output=hosts))
        plan = OnWorker(read_unit_plan, hosts, unit_urls=self.unit_urls)
        route = GroupPacked(
            sources=tables,
            pack=partial(route_rows, plan=plan),
            units=range(plan.get().num_units),
            output_of=lambda unit: plans.table(raw_name(unit)),
            work=write_plan,
        )
        yield Step("PlanUnits", route)
        index_of = {archive: indexes.table(f"{number:05d}") for number, archive in enumerate(self._archives())}
        if index_of:
            index = MapUnits(units=list(index_of), output_of=index_of.__getitem__, work=index_archive)
            yield Step("IndexArchives", index)
        fetch = MapUnits(
            units=plans_with_rows(route.outputs),
            output_of=lambda path: raw.index(table_name(path)),
            work=partial(
                fetch_unit,
                source=OnWorker(open_source, self, index_of),
                queries=OnWorker(read_column, VocabFolder(self.vocab).queries, "query"),
            ),
        )
        yield Step("FetchUnits", fetch)

    def _archives(self) -> list[str]:
        return files.expand_inputs(self.from_archive)


def open_source(stage: FetchImages, index_of: Mapping[str, str]) -> ImageSource:
    """Where images come from: the network, or archives if there are any.

    Args:
        stage: The options.
        index_of: For every archive the table of its images (`IMAGE_INDEX`).
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # broken metadata of images off the web
    normalize = partial(normalize_image, rules=stage)
    if index_of:
        index = read_archive_index(list(index_of.values()))
        return lambda urls, store: fetch_archived(
            urls, stage, archives=list(index_of), index=index, normalize=normalize, store=store
        )
    return lambda urls, store: asyncio.run(fetch_images(urls, stage, normalize=normalize, store=store))


def index_archive(archive: str, output: str) -> Counts:
    """Writes where the images of an archive lie."""
    write_table(output, index_images(archive), IMAGE_INDEX)
    return {}
