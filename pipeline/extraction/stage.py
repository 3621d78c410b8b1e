"""Crawls and tables ► distinct pairs: the stage extract-pairs.

In: WARC, WAT and WACZ archives, saved pages, tables of URLs and texts. Out: one table of `PAIRS` an input file, named
after it, without pairs that another file or page holds too. Text and addresses stay in files; only ids are shuffled.
Source: CLIP 2.2; crawled pairs as in MetaCLIP, with the images that it misses (lazy attributes, srcset, relative URLs).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import files
from pipeline.drops import CountUnits, DropReason, UnitReport, report_unit
from pipeline.extraction.dedup import EXTRACTED, FindDuplicates, losers_path, read_losers, table_name
from pipeline.extraction.filters import FilterOptions, filter_options
from pipeline.extraction.pages import PageRules
from pipeline.extraction.unit import Extraction, ExtractionRules, input_kind, saved_page_key
from pipeline.extraction.url_lists import ListColumns, read_url_list
from pipeline.options import option
from pipeline.schemas import PAIRS
from pipeline.stages import Shape, Stage, Step
from pipeline.tables import open_table_writer, read_counts, read_table, write_table


class InputUnit(NamedTuple):
    """One input file: where it is, the name its tables get, and what it is."""

    path: str
    name: str
    kind: str


@dataclass(kw_only=True)
class ExtractPairs(FilterOptions, Stage):
    """Extracts image-text pairs from web archives, saved pages and tables of URLs, and removes duplicates."""

    name: ClassVar[str] = "extract-pairs"

    output: str = option("", "Folder to write.", under_data="pairs")
    input: tuple[str, ...] = option(
        (), "Files, folders or globs: WARC, WAT, WACZ, saved HTML, parquet, csv, tsv, jsonl.", identity=False
    )
    url_column: str = option("", "Column of image URLs in tables: a name, or a number from 0 without a header.")
    text_column: str = option("", "Column of texts in tables.")
    page_column: str = option("", "Column of page URLs in tables.")
    page_urls: str = option(
        "", "TSV of saved pages: file name without .html and .gz, address of the page.", identity=False
    )
    texts: str = option("best", "Take the best text of an image, or all of them.", choices=("best", "all"))
    target_px: int = option(336, "Width wanted where a page offers an image in several.", minimum=1)
    noindex: bool = option(True, "Count robots noindex and noimageindex as opt-outs, as noai is.")

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if not self.input:
            raise ValueError(f"{self.name}: input must name at least one file, folder or glob")

    def inputs(self) -> list[str]:
        """The input files, and the table of saved pages' addresses."""
        return [*files.expand_inputs(self.input), *([self.page_urls] if self.page_urls else [])]

    def steps(self) -> Iterator[Step]:
        """Extract file by file, find duplicates over all files, write what is distinct."""
        units = list_units(files.expand_inputs(self.input))
        extracted_folder = files.join(self.output, "_extracted")
        duplicates_folder = files.join(self.output, "_duplicates")
        extracted = [files.join(extracted_folder, f"{unit.name}.parquet") for unit in units]
        yield Step(
            "ExtractCandidates",
            ExtractCandidates(stage_name=self.name, units=units, rules=self._rules(), output=extracted_folder),
            Shape.MAP,
            tuple(extracted),
        )
        if not all(files.exists(losers_path(duplicates_folder, unit.name)) for unit in units):
            yield Step("FindDuplicates", FindDuplicates(tables=extracted, output=duplicates_folder), Shape.SHUFFLE)
        yield Step(
            "WriteDistinctPairs",
            WriteDistinctPairs(
                stage_name=self.name, tables=extracted, duplicates=duplicates_folder, output=self.output
            ),
            Shape.MAP,
            tuple(files.join(self.output, f"{unit.name}.parquet") for unit in units),
        )

    def _rules(self) -> ExtractionRules:
        return ExtractionRules(
            pages=PageRules(all_texts=self.texts == "all", target_px=self.target_px, noindex=self.noindex),
            columns=ListColumns(self.url_column, self.text_column, self.page_column),
            filters=filter_options(self),
            page_urls=read_page_urls(self.page_urls) if self.page_urls else {},
        )


def list_units(paths: Sequence[str]) -> list[InputUnit]:
    """The units that files make, sorted by name; a file given twice, in two folders say, is one.

    Raises:
        ValueError: For a file of no known kind.
    """
    units: dict[str, InputUnit] = {}
    for path in paths:
        stamp = files.file_stamp(path)
        name = f"{files.basename(path).lstrip('._')}-{stamp['digest'][:12]}"
        units.setdefault(name, InputUnit(path, name, input_kind(path)))
    return [units[name] for name in sorted(units)]


def read_page_urls(path: str) -> dict[str, str]:
    """File names of saved pages, without ``.html`` and ``.gz``, and the pages' addresses."""
    found: dict[str, str] = {}
    for batch in read_url_list(path, ListColumns(url="1", text="0")):
        found |= {saved_page_key(name or ""): url or "" for name, url in zip(batch.texts, batch.urls, strict=True)}
    return found


@dataclass(kw_only=True, eq=False)
class ExtractCandidates(beam.PTransform):
    """Writes the filtered pairs of every input file, duplicates included.

    Attributes:
        stage_name: Namespace of the counts.
        units: The input files.
        rules: What is extracted.
        output: Folder for one `EXTRACTED` table an input file.
    """

    stage_name: str
    units: Sequence[InputUnit]
    rules: ExtractionRules
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Inputs" >> beam.Create(list(self.units))
            | "ExtractUnit" >> beam.Map(_extract_unit, self.rules, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


@dataclass(kw_only=True, eq=False)
class WriteDistinctPairs(beam.PTransform):
    """Writes the pairs of every input file that lose against no equal pair.

    Attributes:
        stage_name: Namespace of the counts.
        tables: Paths of the `EXTRACTED` tables.
        duplicates: Folder of what `FindDuplicates` wrote.
        output: Folder for one `PAIRS` table an input file.
    """

    stage_name: str
    tables: Sequence[str]
    duplicates: str
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Extracted" >> beam.Create(list(self.tables)).with_output_types(str)
            | "WriteUnit" >> beam.Map(_write_distinct, self.duplicates, self.output).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def _extract_unit(unit: InputUnit, rules: ExtractionRules, output: str) -> UnitReport:
    path = files.join(output, f"{unit.name}.parquet")
    counts = read_counts(path)
    if counts is None:
        extraction = Extraction(unit.path, unit.name, rules)
        with open_table_writer(path, EXTRACTED) as writer:
            for batch in extraction.batches(unit.kind):
                writer.write(batch)
            writer.counts = counts = extraction.counts
    return report_unit(unit.name, counts)


def _write_distinct(table: str, duplicates: str, output: str) -> UnitReport:
    name = table_name(table)
    path = files.join(output, f"{name}.parquet")
    counts = read_counts(path)
    if counts is None:
        rows, losers = read_table(table), read_losers(duplicates, name)
        kept = np.ones(rows.num_rows, np.bool_)
        kept[losers] = False
        counts = {"pairs/kept": int(kept.sum())}
        if len(losers):
            counts[f"pairs/drop/{DropReason.DUPLICATE_PAIR}"] = len(losers)
        write_table(path, rows.filter(pa.array(kept)), PAIRS, counts)
    return report_unit(name, counts)
