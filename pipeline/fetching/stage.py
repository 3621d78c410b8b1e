"""The stage fetch-images: its options, its steps and their wiring to Beam.

In: balanced pairs, the vocabulary, and web archives if images are to come from those. Out: ``raw-NNNNN.tar`` with
``raw-NNNNN.index.parquet``, by `pipeline.fetching.unit`. One element is one fetch unit; no image byte enters a
PCollection.
"""

import asyncio
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import apache_beam as beam

from pipeline.base import files
from pipeline.base.drops import CountUnits, UnitReport, report_unit
from pipeline.base.options import option
from pipeline.base.stage_folder import Shape, Stage, Step, input_tables
from pipeline.base.tables import read_counts, read_table, write_table
from pipeline.fetching.archived import fetch_archived, read_archive_index
from pipeline.fetching.client import fetch_images
from pipeline.fetching.images import ImageRules, normalize_image
from pipeline.fetching.planning import PlanUnits, ReportPlan, read_plan
from pipeline.fetching.resolver import parse_redirection
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.unit import Source, write_unit
from pipeline.web.archives.records import IMAGE_INDEX, index_images

_CUTS_NAME: Final = "cuts.parquet"  # lies among the balanced pairs and holds none
_QUERIES_NAME: Final = "queries.parquet"
_INDEX_SUFFIX: Final = ".index.parquet"


@dataclass(kw_only=True)
class FetchImages(FetchRules, ImageRules, Stage):
    """Fetches the images of balanced pairs, politely, or takes them from web archives; checks and stores them."""

    name: ClassVar[str] = "fetch-images"

    balanced: str = option("", "Folder of balanced pairs.", under_data="balanced")
    vocab: str = option("", "Folder of the vocabulary.", under_data="vocab")
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
        return [self.balanced, files.join(self.vocab, _QUERIES_NAME), *self._archives()]

    def steps(self) -> Iterator[Step]:
        """Plan; index the archives, if any; fetch."""
        plan_folder = files.join(self.output, "_plan")
        plan = read_plan(plan_folder)
        if plan is None:
            tables = [path for path in input_tables(self.balanced) if files.basename(path) != _CUTS_NAME]
            yield Step("PlanUnits", self._plan_units(tables, plan_folder), Shape.SHUFFLE)
            plan = read_plan(plan_folder)
        else:
            yield Step("PlanUnits", ReportPlan(stage_name=self.name, counts=plan[1]), Shape.SHUFFLE)
        plans = plan[0] if plan else []
        archives = self._archives()
        indexes = [files.join(self.output, "_archives", f"{i:05d}.parquet") for i in range(len(archives))]
        if archives:
            yield Step("IndexArchives", IndexArchives(archives=archives, indexes=indexes), Shape.MAP, tuple(indexes))
        outputs = tuple(unit_path(self.output, path, _INDEX_SUFFIX) for path in plans)
        yield Step(
            "FetchUnits", FetchUnits(stage=self, plans=plans, archives=archives, indexes=indexes), outputs=outputs
        )

    def _archives(self) -> list[str]:
        return files.expand_inputs(self.from_archive)

    def _plan_units(self, tables: Sequence[str], folder: str) -> PlanUnits:
        return PlanUnits(stage_name=self.name, tables=tables, output=folder, unit_urls=self.unit_urls)


@dataclass(kw_only=True, eq=False)
class IndexArchives(beam.PTransform):
    """Writes, for every archive, where its images lie.

    Attributes:
        archives: Paths of WARC and WACZ files.
        indexes: Tables to write (`archives.IMAGE_INDEX`), in the order of the archives.
    """

    archives: Sequence[str]
    indexes: Sequence[str]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[str], the paths of the tables."""
        places = list(zip(self.archives, self.indexes, strict=True))
        return (
            root
            | "Archives" >> beam.Create(places).with_output_types(tuple[str, str])
            | "IndexArchive" >> beam.MapTuple(_index_archive).with_output_types(str)
        )


@dataclass(kw_only=True, eq=False)
class FetchUnits(beam.PTransform):
    """Writes the raw tar and the index of every fetch unit.

    Attributes:
        stage: The options.
        plans: Plans of the units.
        archives: Where the images come from; empty: the network.
        indexes: Tables of the archives' images.
    """

    stage: FetchImages
    plans: Sequence[str]
    archives: Sequence[str]
    indexes: Sequence[str]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        fetch = _FetchUnit(self.stage, self.archives, self.indexes)
        return (
            root
            | "Plans" >> beam.Create(list(self.plans)).with_output_types(str)
            | "FetchUnit" >> beam.ParDo(fetch).with_output_types(UnitReport)
            | CountUnits(self.stage.name)
        )


class _FetchUnit(beam.DoFn):
    def __init__(self, stage: FetchImages, archives: Sequence[str], indexes: Sequence[str]) -> None:
        self._stage = stage
        self._archives = archives
        self._indexes = indexes

    def setup(self) -> None:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # broken metadata of images off the web
        self._queries = read_table(files.join(self._stage.vocab, _QUERIES_NAME), ["query"])["query"].combine_chunks()
        self._source = _open_source(self._stage, self._archives, self._indexes)

    def process(self, plan_path: str) -> list[UnitReport]:
        index_path = unit_path(self._stage.output, plan_path, _INDEX_SUFFIX)
        counts = read_counts(index_path)
        if counts is None:
            counts = write_unit(
                read_table(plan_path),
                self._source,
                queries=self._queries,
                tar_path=unit_path(self._stage.output, plan_path, ".tar"),
                index_path=index_path,
            )
        return [report_unit(files.basename(plan_path), counts)]


def unit_path(folder: str, plan_path: str, suffix: str) -> str:
    """Where a file of a fetch unit lies.

    >>> unit_path("data/raw", "data/raw/_plan/raw-00007.parquet", ".tar")
    'data/raw/raw-00007.tar'
    """
    return files.join(folder, files.basename(plan_path).removesuffix(".parquet") + suffix)


def _open_source(stage: FetchImages, archives: Sequence[str], indexes: Sequence[str]) -> Source:
    normalize = partial(normalize_image, rules=stage)
    if archives:
        index = read_archive_index(indexes)
        return lambda urls, store: fetch_archived(
            urls, stage, archives=archives, index=index, normalize=normalize, store=store
        )
    return lambda urls, store: asyncio.run(fetch_images(urls, stage, normalize=normalize, store=store))


def _index_archive(archive: str, index: str) -> str:
    if not files.exists(index):
        write_table(index, index_images(archive), IMAGE_INDEX)
    return index
