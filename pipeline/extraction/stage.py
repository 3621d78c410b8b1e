"""Crawls and tables ► distinct pairs: the stage extract-pairs.

In: WARC, WAT and WACZ archives or lists of their paths, saved pages, tables of URLs and texts. Out: one table of
`PAIRS` an input unit, named after it, without pairs that another file or page holds too. Text and addresses stay in
files; only hashes are shuffled.
Source: CLIP 2.2; crawled pairs as in MetaCLIP, with the images that it misses (lazy attributes, srcset, relative URLs).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, CountUnits, DropReason, UnitReport, report_unit
from pipeline.base.options import option
from pipeline.base.schemas import PAIRS
from pipeline.base.stage_folder import Shape, Stage, Step
from pipeline.base.tables import open_table_writer, read_counts, read_table, write_table
from pipeline.extraction.dedup import Duplicates
from pipeline.extraction.filters import FilterOptions, filter_options
from pipeline.extraction.inputs import COMMON_CRAWL, InputUnit, UnreadableInput, list_units, local_copy
from pipeline.extraction.languages import check_languages
from pipeline.extraction.losers import EXTRACTED, FindLosers, LosingRule, losers_path, read_losers, table_name
from pipeline.extraction.near_duplicates import NearDuplicates, SignTexts, signatures_path
from pipeline.extraction.pages import PageRules, parse_page
from pipeline.extraction.repeats import RepeatedTexts
from pipeline.extraction.unit import COMPILED_BYTES, Extraction, ExtractionRules, saved_page_key
from pipeline.extraction.url_lists import PRESETS, ListColumns, read_url_list
from pipeline.extraction.wat_links import load_cutter
from vocab.kernels.compiled import find_obstacle


@dataclass(kw_only=True)
class ExtractPairs(FilterOptions, Stage):
    """Extracts image-text pairs from web archives, saved pages and tables of URLs, and removes duplicates."""

    name: ClassVar[str] = "extract-pairs"

    output: str = option("", "Folder to write.", under_data="pairs")
    input: tuple[str, ...] = option(
        (),
        "Files, folders or globs: WARC, WAT, WACZ, saved HTML, parquet, csv, tsv, jsonl, or lists of paths "
        "(warc.paths.gz, wat.paths.gz).",
        identity=False,
    )
    path_base: str = option(
        COMMON_CRAWL, "What stands before the paths in lists; also s3://commoncrawl/ or a folder.", identity=False
    )
    tries: int = option(5, "Times to try a remote file; pauses between are 1, 2, 4… s.", minimum=1, identity=False)
    on_unreadable: str = option(
        "stop",
        "When a listed path cannot be read: stop (run again to continue), or drop it for this output folder.",
        choices=("stop", "drop"),
        identity=False,
    )
    table_preset: str = option(
        "none", "Columns of a published list: LAION, CC3M, CC12M, COYO, DataComp.", choices=("none", *PRESETS)
    )
    url_column: str = option("", "Column of image URLs in tables: a name, or a number from 0 without a header.")
    text_column: str = option("", "Column of texts in tables.")
    page_column: str = option("", "Column of page URLs in tables.")
    table_part_mb: int = option(
        256, "MB in which large Parquet, TSV and JSON lines tables are cut, for workers to share.", minimum=1
    )
    page_urls: str = option(
        "", "TSV of saved pages: file name without .html and .gz, address of the page.", identity=False
    )
    texts: str = option("best", "Take the best text of an image, or all of them.", choices=("best", "all"))
    target_px: int = option(336, "Width wanted where a page offers an image in several.", minimum=1)
    noindex: bool = option(True, "Count robots noindex and noimageindex as opt-outs, as noai is.")
    page_language: tuple[str, ...] = option(
        (), "Read pages in these languages only: as declared, else told from the texts of their images."
    )
    max_text_repeats: int = option(0, "Most pairs of one text in the whole input; 0: any number.", minimum=0)
    near_duplicates: float = option(
        0.0, "Drop texts that share this much with another (MinHash, as 0.8); 0: off.", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if not self.input:
            raise ValueError(f"{self.name}: input must name at least one file, folder or glob")
        for option_name in ("language", "page_language"):
            try:
                check_languages(getattr(self, option_name))
            except ValueError as error:
                raise ValueError(f"{self.name}: {option_name.replace('_', '-')}: {error}") from None
        if 0 < self.near_duplicates < _MIN_THRESHOLD:
            raise ValueError(f"{self.name}: near-duplicates must be 0 or at least {_MIN_THRESHOLD}")

    def inputs(self) -> list[str]:
        """The input files, block lists, and the table of saved pages' addresses."""
        page_urls = [self.page_urls] if self.page_urls else []
        return [*files.expand_inputs(self.input), *self.block_files(), *page_urls]

    def steps(self) -> Iterator[Step]:
        """Extract unit by unit, find what loses against others over all units, write the rest."""
        paths = files.expand_inputs(self.input)
        units = list_units(paths, path_base=self.path_base, part_bytes=self.table_part_mb << 20)
        extracted_folder = files.join(self.output, "_extracted")
        extracted = [files.join(extracted_folder, f"{unit.name}.parquet") for unit in units]
        if not all(files.exists(path) for path in extracted):
            prepare_readers(units)
        yield Step(
            "ExtractCandidates",
            ExtractCandidates(
                stage_name=self.name,
                units=units,
                rules=self._rules(),
                tries=self.tries,
                drop_unreadable=self.on_unreadable == "drop",
                output=extracted_folder,
            ),
            Shape.MAP,
            tuple(extracted),
        )
        losers: list[Losers] = []
        duplicates = Losers(DropReason.DUPLICATE_PAIR, files.join(self.output, "_duplicates"))
        yield from _find(extracted, Duplicates(num_tables=len(units)), duplicates, losers)
        if self.max_text_repeats:
            repeated = Losers(DropReason.REPEATED_TEXT, files.join(self.output, "_repeats"))
            cap = RepeatedTexts(max_repeats=self.max_text_repeats, num_tables=len(units), losers=_folders(losers))
            yield from _find(extracted, cap, repeated, losers)
        if self.near_duplicates:
            signatures = files.join(self.output, "_signatures")
            yield Step(
                "SignTexts",
                SignTexts(tables=extracted, threshold=self.near_duplicates, losers=_folders(losers), output=signatures),
                Shape.MAP,
                tuple(signatures_path(signatures, unit.name) for unit in units),
            )
            near = Losers(DropReason.NEAR_DUPLICATE, files.join(self.output, "_near_duplicates"))
            rule = NearDuplicates(signatures=signatures, num_tables=len(units), losers=_folders(losers))
            yield from _find(extracted, rule, near, losers)
        yield Step(
            "WriteDistinctPairs",
            WriteDistinctPairs(stage_name=self.name, tables=extracted, losers=losers, output=self.output),
            Shape.MAP,
            tuple(files.join(self.output, f"{unit.name}.parquet") for unit in units),
        )

    def _rules(self) -> ExtractionRules:
        preset = PRESETS.get(self.table_preset, ListColumns())
        return ExtractionRules(
            pages=PageRules(all_texts=self.texts == "all", target_px=self.target_px, noindex=self.noindex),
            columns=ListColumns(
                self.url_column or preset.url, self.text_column or preset.text, self.page_column or preset.page
            ),
            filters=filter_options(self),
            page_urls=read_page_urls(self.page_urls) if self.page_urls else {},
            page_languages=self.page_language,
        )


_MIN_THRESHOLD = 0.3  # below, nearly any two texts share a band


class Losers(NamedTuple):
    """Why some rows are left out, and the folder of `FindLosers` that lists them."""

    reason: DropReason
    folder: str


def _folders(losers: Sequence[Losers]) -> tuple[str, ...]:
    return tuple(folder for _, folder in losers)


def _find(tables: Sequence[str], rule: LosingRule, found: Losers, losers: list[Losers]) -> Iterator[Step]:
    """The step that finds some losers, unless it is done; adds them to those found before."""
    if not all(files.exists(losers_path(found.folder, table_name(table))) for table in tables):
        transform = FindLosers(tables=tables, rule=rule, output=found.folder)
        yield Step(f"Find{type(rule).__name__}", transform, Shape.SHUFFLE)
    losers.append(found)


def read_page_urls(path: str) -> dict[str, str]:
    """File names of saved pages, without ``.html`` and ``.gz``, and the pages' addresses."""
    found: dict[str, str] = {}
    for batch in read_url_list(path, ListColumns(url="1", text="0")):
        found |= {saved_page_key(name or ""): url or "" for name, url in zip(batch.texts, batch.urls, strict=True)}
    return found


def prepare_readers(units: Sequence[InputUnit]) -> None:
    """Compiles what reads pages and large WATs, so that workers started later find it in the cache of this machine."""
    wats = [unit for unit in units if ".wat" in unit.name]
    num_tables = sum(unit.kind == "table" for unit in units)
    if len(wats) + num_tables < len(units):
        parse_page(b"", "")
        if obstacle := find_obstacle():
            logging.getLogger(__name__).warning("pages are read hundreds of times slower, not compiled: %s", obstacle)
    if any(unit.is_listed or files.file_size(unit.path) >= COMPILED_BYTES for unit in wats):
        load_cutter()


@dataclass(kw_only=True, eq=False)
class ExtractCandidates(beam.PTransform):
    """Writes the filtered pairs of every input file, duplicates included.

    Attributes:
        stage_name: Namespace of the counts.
        units: What is read.
        rules: What is extracted.
        tries: How often a remote file is tried.
        drop_unreadable: Whether a listed file that cannot be read is dropped; otherwise it ends the run.
        output: Folder for one `EXTRACTED` table a unit.
    """

    stage_name: str
    units: Sequence[InputUnit]
    rules: ExtractionRules
    tries: int
    drop_unreadable: bool
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Inputs" >> beam.Create(list(self.units))
            | "ExtractUnit"
            >> beam.Map(
                _extract_unit, self.rules, self.output, tries=self.tries, drop_unreadable=self.drop_unreadable
            ).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class WriteDistinctPairs(beam.PTransform):
    """Writes the pairs of every input file that lose against no equal pair.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Paths of the `EXTRACTED` tables.
        losers: What is left out; a row is in one list only.
        output: Folder for one `PAIRS` table an input file.
    """

    stage_name: str
    tables: Sequence[str]
    losers: Sequence[Losers]
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Extracted" >> beam.Create(list(self.tables)).with_output_types(str)
            | "WriteUnit" >> beam.Map(_write_distinct, list(self.losers), self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def _extract_unit(
    unit: InputUnit, rules: ExtractionRules, output: str, *, tries: int, drop_unreadable: bool
) -> UnitReport:
    path = files.join(output, f"{unit.name}.parquet")
    counts = read_counts(path)
    if counts is None:
        try:
            with local_copy(unit.path, tries=tries) as copy:
                counts = _write_extracted(path, Extraction(copy, unit.name, rules, unit.part), unit)
        except UnreadableInput:
            if not (unit.is_listed and drop_unreadable):
                raise
            counts = {"files/in": 1, f"files/drop/{DropReason.UNREADABLE_FILE}": 1}
            write_table(path, EXTRACTED.empty_table(), EXTRACTED, counts)
    return report_unit(unit.name, counts)


def _write_extracted(path: str, extraction: Extraction, unit: InputUnit) -> Counts:
    with open_table_writer(path, EXTRACTED) as writer:
        for batch in extraction.batches(unit.kind):
            writer.write(batch)
        writer.counts = extraction.counts | ({"files/in": 1, "files/kept": 1} if unit.is_listed else {})
    return writer.counts


def _write_distinct(table: str, losers: Sequence[Losers], output: str) -> UnitReport:
    name = table_name(table)
    path = files.join(output, f"{name}.parquet")
    counts = read_counts(path)
    if counts is None:
        rows = read_table(table)
        kept = np.ones(rows.num_rows, np.bool_)
        counts = {}
        for reason, folder in losers:
            lost = read_losers(folder, name)
            kept[lost] = False
            counts |= {f"pairs/drop/{reason}": len(lost)} if len(lost) else {}
        counts["pairs/kept"] = int(kept.sum())
        write_table(path, rows.filter(pa.array(kept)), PAIRS, counts)
    return report_unit(name, counts)
