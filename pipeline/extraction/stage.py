"""Crawls and tables ► distinct pairs: the stage extract-pairs.

In: WARC, WAT and WACZ archives or lists of their paths, saved pages, tables of URLs and texts. Out: one table of
`PAIRS` an input unit, named after it, without pairs that another file or page holds too. Text and addresses stay in
files; only hashes are shuffled.
Source: CLIP 2.2; crawled pairs as in MetaCLIP, with the images that it misses (lazy attributes, srcset, relative URLs).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.carried_columns import with_carried
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import PairsFolder, StageFolder, table_name
from pipeline.base.options import option
from pipeline.base.schemas import PAIRS
from pipeline.base.table_groups import TableGroup, group_tables
from pipeline.base.tables import open_table_writer, read_table, write_table
from pipeline.extraction.dedup import Duplicates
from pipeline.extraction.filters import FilterOptions, filter_options
from pipeline.extraction.inputs import COMMON_CRAWL, READ_ERRORS, InputUnit, UnreadableInput, list_units, local_copy
from pipeline.extraction.languages import check_languages
from pipeline.extraction.losers import (
    Extracted,
    Losers,
    LosingRule,
    array_beside,
    extracted_tables,
    write_losers,
)
from pipeline.extraction.near_duplicates import NearDuplicates, sign_texts
from pipeline.extraction.pages import PageRules, parse_page
from pipeline.extraction.record_pages import SCANNED_BYTES
from pipeline.extraction.repeats import RepeatedTexts
from pipeline.extraction.table_columns import (
    NO_COLUMNS,
    ColumnWishes,
    TableColumns,
    Told,
    agree_on_types,
    parse_kept,
    parse_where,
)
from pipeline.extraction.unit import Extraction, ExtractionRules, saved_page_key
from pipeline.extraction.url_lists import PRESETS, ListColumns, Preset, read_url_list, tell_columns
from pipeline.extraction.wat_scan import load_scanner
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps
from vocab.kernels.compiled import find_obstacle


@dataclass(kw_only=True)
class ExtractPairs(FilterOptions, Stage):
    """Extracts image-text pairs from web archives, saved pages and tables of URLs, and removes duplicates."""

    name: ClassVar[str] = "extract-pairs"
    format: ClassVar[int] = Stage.format + 1

    output: str = option("", "Folder to write.", under_data="pairs")
    input: tuple[str, ...] = option(
        (),
        "Files, folders (with those below) or globs: WARC, WAT, WACZ, saved HTML, parquet, csv, tsv, jsonl, or lists "
        "of paths (warc.paths.gz, wat.paths.gz).",
        identity=False,
    )
    path_base: str = option(
        COMMON_CRAWL, "What stands before the paths in lists; also s3://commoncrawl/ or a folder.", identity=False
    )
    tries: int = option(
        5, "Times to try a remote file; pauses between are 1, 2, 4… s, up to a minute.", minimum=1, identity=False
    )
    on_unreadable: Literal["stop", "drop"] = option(
        "stop",
        "When a listed path cannot be read: stop (run again to continue), or drop it for this output folder.",
        identity=False,
    )
    table_preset: Preset = option("none", "Columns of a published list: LAION, CC3M, CC12M, COYO, DataComp.")
    url_column: str = option("", "Column of image URLs in tables: a name, or a number from 0 without a header.")
    text_column: str = option("", "Column of texts in tables.")
    page_column: str = option("", "Column of page URLs in tables.")
    keep_column: tuple[str, ...] = option(
        (),
        "Columns of tables that pairs carry to the shards, as similarity or, under another name, width=listed_width.",
        sparse=True,
    )
    where: str = option(
        "", 'Read the rows of tables for which this holds, as "similarity >= 0.3 and width >= 256".', sparse=True
    )
    table_part_mb: int = option(
        256, "MB in which large Parquet, TSV and JSON lines tables are cut, for workers to share.", minimum=1
    )
    page_urls: str = option(
        "", "TSV of saved pages: file name without .html and .gz, address of the page.", identity=False
    )
    texts: Literal["best", "all"] = option("best", "Take the best text of an image, or all of them.")
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
        for option_name, parse in (("keep-column", parse_kept), ("where", parse_where)):
            try:
                parse(getattr(self, option_name.replace("-", "_")))
            except ValueError as error:
                raise ValueError(f"{self.name}: {option_name}: {error}") from None
        if 0 < self.near_duplicates < _MIN_THRESHOLD:
            raise ValueError(f"{self.name}: near-duplicates must be 0 or at least {_MIN_THRESHOLD}")

    def inputs(self) -> list[str]:
        """The input files, block lists, and the table of saved pages' addresses; looks at the columns asked for."""
        page_urls = [self.page_urls] if self.page_urls else []
        inputs = [*files.expand_inputs(self.input), *self.block_files(), *page_urls]
        if self.keep_column or self.where:
            self._others  # noqa: B018 (raises what is wrong)
        return inputs

    def _units(self) -> list[InputUnit]:
        paths = files.expand_inputs(self.input)
        return list_units(paths, path_base=self.path_base, part_bytes=self.table_part_mb << 20)

    @cached_property
    def _others(self) -> TableColumns:
        """The columns asked for, and their types in all tables.

        Raises:
            ValueError: When a table does not have them, or they are of other types than in another one.
        """
        wishes = ColumnWishes(parse_kept(self.keep_column), parse_where(self.where))
        if wishes == ColumnWishes():
            return NO_COLUMNS
        tables = {unit.path: unit for unit in self._units() if unit.kind == "table"}
        option_names = " and ".join(n for n, given in (("keep-column", wishes.kept), ("where", self.where)) if given)
        try:
            if not tables:
                raise ValueError("there is no table among the inputs")
            told = files.each(lambda unit: self._tell_columns(unit, wishes.names), tables.values())
            return agree_on_types([one for one in told if one is not None], wishes)
        except ValueError as error:
            raise ValueError(f"{self.name}: {option_names}: {error}") from None

    def _tell_columns(self, unit: InputUnit, names: Sequence[str]) -> Told | None:
        """What a table says of some columns; None for a listed one that cannot be read, which is dropped later."""
        try:
            return tell_columns(unit.path, names)
        except READ_ERRORS as error:
            if unit.is_listed and self.on_unreadable == "drop":
                return None
            raise UnreadableInput(f"{unit.path}: cannot be read: {type(error).__name__}: {error}") from error

    def steps(self) -> Steps:
        """Extract unit by unit, find what loses against others over all units, write the rest."""
        units = self._units()
        extracted = StageFolder(PairsFolder(self.output).working("extracted"))
        extract = MapUnits(
            units=units,
            output_of=lambda unit: extracted.table(unit.name),
            work=partial(
                extract_unit, rules=self._rules(), tries=self.tries, drop_unreadable=self.on_unreadable == "drop"
            ),
        )
        if len(files.sizes(extract.outputs)) < len(units):
            prepare_readers(units)
        made = yield Step("ExtractCandidates", extract)
        num_rows = [count_left(made[output]) for output in extract.outputs]
        groups = group_tables(extract.outputs, num_rows, name_of=table_name)
        yield tuple(self._distinct_steps(groups, sum(num_rows)))

    def _distinct_steps(self, groups: Sequence[TableGroup[str]], num_rows: int) -> Iterator[Step]:
        """What finds the rows that lose against others, kind by kind, and writes the rest."""
        pairs = PairsFolder(self.output)
        tables = [table for group in groups for table in extracted_tables(group)]
        duplicates = Losers(DropReason.DUPLICATE_PAIR, pairs.working("duplicates"))
        yield find_step(groups, Duplicates(num_rows=num_rows), duplicates)
        losers: tuple[Losers, ...] = (duplicates,)
        if self.max_text_repeats:
            repeated = Losers(DropReason.REPEATED_TEXT, pairs.working("repeats"))
            cap = RepeatedTexts(num_rows=num_rows, max_repeats=self.max_text_repeats, losers=losers)
            yield find_step(groups, cap, repeated)
            losers = (*losers, repeated)
        if self.near_duplicates:
            signatures = pairs.working("signatures")
            sign = MapUnits(
                units=tables,
                output_of=lambda table: array_beside(table.path, folder=signatures),
                work=partial(sign_texts, threshold=self.near_duplicates, losers=losers),
            )
            yield Step("SignTexts", sign)
            near = Losers(DropReason.NEAR_DUPLICATE, pairs.working("near_duplicates"))
            rule = NearDuplicates(
                num_rows=num_rows, threshold=self.near_duplicates, signatures=signatures, losers=losers
            )
            yield find_step(groups, rule, near)
            losers = (*losers, near)
        write = MapUnits(
            units=tables,
            output_of=lambda table: pairs.table(table_name(table.path)),
            work=partial(write_distinct, losers=losers, schema=with_carried(PAIRS, self._others.carried)),
        )
        yield Step("WriteDistinctPairs", write)

    def _rules(self) -> ExtractionRules:
        preset = PRESETS[self.table_preset]
        return ExtractionRules(
            pages=PageRules(all_texts=self.texts == "all", target_px=self.target_px, noindex=self.noindex),
            columns=ListColumns(
                self.url_column or preset.url, self.text_column or preset.text, self.page_column or preset.page
            ),
            filters=filter_options(self),
            page_urls=read_page_urls(self.page_urls) if self.page_urls else {},
            page_languages=self.page_language,
            others=self._others,
        )


_MIN_THRESHOLD = 0.3  # below, nearly any two texts share a band


def count_left(counts: Counts) -> int:
    """How many rows a table of `EXTRACTED` has, by the counts of its unit.

    >>> count_left({"pages/in": 1, "pages/kept": 1, "pairs/in": 5, "pairs/drop/no_text": 2})
    3
    """
    dropped = sum(number for name, number in counts.items() if name.startswith("pairs/drop/"))
    return counts.get("pairs/in", 0) - dropped


def find_step(groups: Sequence[TableGroup[str]], rule: LosingRule, found: Losers) -> Step:
    """The step that lists the losing rows of every group, also where there are none.

    Args:
        groups: Of tables of `EXTRACTED`.
        rule: What is compared.
        found: Where the rows are listed.
    """
    transform = GroupPacked(
        sources=groups,
        pack=rule.pack,
        find=rule.find,
        units=groups,
        output_of=lambda group: found.path(group.name),
        work=partial(write_losers, rule=rule),
        payload=rule.payload,
    )
    return Step(f"Find{type(rule).__name__}", transform)


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
    if any(unit.is_listed or files.file_size(unit.path) >= SCANNED_BYTES for unit in wats):
        load_scanner(PageRules())


def extract_unit(unit: InputUnit, output: str, *, rules: ExtractionRules, tries: int, drop_unreadable: bool) -> Counts:
    """Writes the filtered pairs of an input unit, duplicates included: a table of `EXTRACTED`.

    Args:
        unit: What is read.
        output: The table.
        rules: What is extracted.
        tries: How often a remote file is tried.
        drop_unreadable: Whether a listed file that cannot be read is dropped.

    Raises:
        UnreadableInput: When it cannot be read and is not dropped.
    """
    try:
        with local_copy(unit.path, tries=tries) as copy:
            extraction = Extraction(copy, unit.name, rules, unit.part)
            return _write_extracted(output, extraction, unit, rules.schema)
    except UnreadableInput:
        if not (unit.is_listed and drop_unreadable):
            raise
    counts = {"files/in": 1, f"files/drop/{DropReason.UNREADABLE_FILE}": 1}
    write_table(output, rules.schema.empty_table(), rules.schema, counts)
    return counts


def _write_extracted(path: str, extraction: Extraction, unit: InputUnit, schema: pa.Schema) -> Counts:
    with open_table_writer(path, schema) as writer:
        for batch in extraction.batches(unit.kind):
            writer.write(batch)
        writer.counts = extraction.counts | ({"files/in": 1, "files/kept": 1} if unit.is_listed else {})
    return writer.counts


def write_distinct(table: Extracted, output: str, *, losers: Sequence[Losers], schema: pa.Schema = PAIRS) -> Counts:
    """Writes the pairs of a table of `EXTRACTED` that have not lost: a table of `PAIRS`.

    Args:
        table: What was extracted of an input unit.
        output: The table.
        losers: What is left out; a row is in one list only.
        schema: `PAIRS`, with the columns that are carried.
    """
    rows = read_table(table.path)
    kept = np.ones(rows.num_rows, np.bool_)
    counts: Counts = {}
    for lost in losers:
        losing = lost.rows(table)
        kept[losing] = False
        counts |= {f"pairs/drop/{lost.reason}": len(losing)} if len(losing) else {}
    counts["pairs/kept"] = int(kept.sum())
    write_table(output, rows.filter(pa.array(kept)), schema, counts)
    return counts
