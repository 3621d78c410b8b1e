"""Tables of image URLs and texts ► rows: Parquet, CSV, TSV and JSON lines, the last three also gzip-compressed.

In: the path of a table and, where its columns have unusual names, those names. Out: batches of URLs and texts as they
stand in the table. Lists published for LAION, COYO, DataComp, CC3M, CC12M and WIT are read without naming columns;
a table without a header (CC3M, CC12M) is recognised by a URL in its first row.
Source: RFC 4180 (CSV); IANA text/tab-separated-values (no quotes); jsonlines.org.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.base.files import basename, file_size, open_for_read
from pipeline.extraction.table_columns import (
    NO_COLUMNS,
    TableColumns,
    Told,
    check_names,
    decoded_column,
    guess_types,
    select_rows,
    stated_types,
)

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")

T = TypeVar("T")

_KNOWN_NAMES: Final = {
    "url": ("url", "image_url", "img_url", "imageurl", "image", "img", "link", "src"),
    "text": ("text", "caption", "alt", "alt_text", "caption_reference_description", "title", "description"),
    "page": ("page_url", "page", "source_page"),
}
_BATCH_ROWS: Final = 50_000
_TOLD_ROWS: Final = 10_000  # of a text, by which the types of its columns are told


class ListColumns(NamedTuple):
    """Columns of a table by name, or by position from 0 where it has no header; empty: recognised.

    Attributes:
        url: The image's URL.
        text: The text.
        page: URL of the page the image was found on; a table need not have it.
    """

    url: str = ""
    text: str = ""
    page: str = ""


Preset = Literal["none", "laion", "cc3m", "cc12m", "coyo", "datacomp"]
# How published lists name their columns; where one has no header, the position.
PRESETS: Final[Mapping[Preset, ListColumns]] = {
    "none": ListColumns(),
    "laion": ListColumns("URL", "TEXT"),
    "cc3m": ListColumns("1", "0"),
    "cc12m": ListColumns("0", "1"),
    "coyo": ListColumns("url", "text"),
    "datacomp": ListColumns("url", "text"),
}


class TablePart(NamedTuple):
    """A part of a table: row groups of a Parquet file, or the lines that begin in a range of bytes.

    Attributes:
        first: The first one, from 0.
        last: The first one that is not in it; -1 for all to the end.
    """

    first: int
    last: int


WHOLE: Final = TablePart(0, -1)


class RowBatch(NamedTuple):
    """Rows of a table, column by column; a null where a field is missing.

    Attributes:
        urls: Image URLs.
        texts: Texts.
        page_urls: Page URLs, all null where the table has none.
        num_bad_rows: Rows, or places, that could not be read.
        values: The carried columns, under the names they are carried by; None: there are none.
        num_refused: Rows that the condition does not hold for.
        num_unfit: Values that are not of their column's type.
    """

    urls: list[str | None]
    texts: list[str | None]
    page_urls: list[str | None]
    num_bad_rows: int
    values: pa.Table | None = None
    num_refused: int = 0
    num_unfit: int = 0


class _Row(NamedTuple):
    """A row of a text: what is wanted of it by role, and the other columns that are read."""

    roles: Mapping[str, str | None]
    values: Sequence[Any]


class ListFormat(NamedTuple):
    """How a table is stored."""

    suffix: str
    is_gzip: bool


def list_format(path: str) -> ListFormat | None:
    """The format of a table by its name, or None when it is none.

    >>> list_format("a/LAION.CSV.gz")
    ListFormat(suffix='.csv', is_gzip=True)
    """
    name = basename(path).lower()
    plain = name.removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if plain.endswith(suffix)), None)
    return ListFormat(suffix, plain != name) if suffix and (suffix != ".parquet" or plain == name) else None


def table_parts(path: str, part_bytes: int) -> list[TablePart]:
    """The parts of about some bytes that a table can be read in; one where it cannot be cut.

    Parquet is cut between row groups, TSV and JSON lines between lines. A field of a CSV may hold line breaks, and gzip
    has no places to start at: these are read in one piece.
    """
    found = list_format(path)
    if found is not None and found.suffix == ".parquet":
        with open_for_read(path) as file:
            metadata = pq.read_metadata(file)
        sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        ends = [0, *accumulate(sizes)]
        cuts = [i for i in range(1, len(sizes)) if ends[i] // part_bytes > ends[i - 1] // part_bytes]
    elif found is not None and found.suffix != ".csv" and not found.is_gzip:
        cuts = list(range(part_bytes, file_size(path), part_bytes))
    else:
        cuts = []
    return [TablePart(first, last) for first, last in zip([0, *cuts], [*cuts, -1], strict=True)]


def read_url_list(
    path: str,
    columns: ListColumns = ListColumns(),  # noqa: B008 (immutable)
    part: TablePart = WHOLE,
    *,
    others: TableColumns = NO_COLUMNS,
) -> Iterator[RowBatch]:
    """Reads a table, or a part of it, batch by batch, in order.

    Args:
        path: Of the table.
        columns: Of URLs and texts.
        part: What is read of it.
        others: Further columns, and which rows are wanted.

    Raises:
        ValueError: When the columns are not there, or cannot be recognised.
    """
    found = list_format(path)
    if found is None:
        raise ValueError(f"{path}: not one of {', '.join(SUFFIXES)}")
    if found.suffix == ".parquet":
        yield from _read_parquet(path, columns, part, others)
        return
    with open_for_read(path) as start, open_for_read(path) as file:
        head = _Lines(start, is_gzip=found.is_gzip)
        lines = _Lines(file, is_gzip=found.is_gzip, part=part)
        if found.suffix in (".jsonl", ".ndjson"):
            yield from _read_json_lines(path, head, lines, columns, others)
        else:
            yield from _read_separated(path, head, lines, columns, others)


def choose_columns(names: Sequence[str], columns: ListColumns, path: str) -> dict[str, str]:
    """The name of each column that is wanted: ``url``, ``text``, and ``page`` where there is one.

    Raises:
        ValueError: Naming the table, its columns and the option that says which one is meant.

    >>> choose_columns(["SAMPLE_ID", "URL", "TEXT"], ListColumns(), "a.parquet")
    {'url': 'URL', 'text': 'TEXT'}
    """
    chosen: dict[str, str] = {}
    by_folded = {name.lower(): name for name in reversed(names)}
    for role, known in _KNOWN_NAMES.items():
        wanted = getattr(columns, role)
        candidates = [wanted] if wanted else [by_folded[name] for name in known if name in by_folded]
        if candidates and candidates[0] in names:
            chosen[role] = candidates[0]
        elif wanted or role != "page":
            what = f"no column {wanted!r}" if wanted else f"cannot tell which column holds the {role}"
            raise ValueError(f"{path}: {what} among {', '.join(names)}; name it with --{role}-column")
    return chosen


def tell_columns(path: str, names: Sequence[str]) -> Told:
    """What a table says of some of its columns; a text is asked for its first rows.

    Raises:
        ValueError: When one of them is not there.
    """
    found = list_format(path)
    if found is None:
        raise ValueError(f"{path}: not one of {', '.join(SUFFIXES)}")
    with open_for_read(path) as file:
        if found.suffix == ".parquet":
            schema = pq.read_schema(file)
            check_names(path, schema.names, names)
            return Told(path, stated_types(schema, names), is_certain=True)
        lines = _Lines(file, is_gzip=found.is_gzip)
        if found.suffix in (".jsonl", ".ndjson"):
            objects = [row for row in islice(_objects(lines), _TOLD_ROWS) if row is not None]
            there = list(dict.fromkeys(name for row in objects for name in row))
            values = {name: [row.get(name) for row in objects] for name in names}
        else:
            there, values = _first_values(lines, names, is_tsv=found.suffix == ".tsv")
    if there:
        check_names(path, there, names)
    return Told(path, guess_types(values), is_certain=False)


def _first_values(
    lines: Iterable[str], names: Sequence[str], *, is_tsv: bool
) -> tuple[list[str], dict[str, list[Any]]]:
    """The names of the columns of a text, none of an empty one, and the first values of some of them."""
    rows = [row for row in islice(_rows(lines, is_tsv=is_tsv), _TOLD_ROWS) if row is not None]
    if not rows:
        return [], {name: [] for name in names}
    there, has_header = _column_names(rows[0])
    whole = [row for row in rows[has_header:] if len(row) == len(there)]
    places = {name: there.index(name) for name in names if name in there}
    return there, {name: [row[place] for row in whole] for name, place in places.items()}


def _column_names(first: list[str]) -> tuple[list[str], bool]:
    """The names of columns, their numbers where the first row is no header; and whether it is one."""
    has_header = not any(field.startswith(("http://", "https://", "//")) for field in first)
    return first if has_header else [str(position) for position in range(len(first))], has_header


def _read_parquet(path: str, columns: ListColumns, part: TablePart, others: TableColumns) -> Iterator[RowBatch]:
    with open_for_read(path) as file, pq.ParquetFile(file) as parquet:
        chosen = choose_columns(parquet.schema_arrow.names, columns, path)
        groups = range(parquet.num_row_groups)[part.first : part.last if part.last >= 0 else None]
        names = list(dict.fromkeys([*chosen.values(), *others.types.names]))
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=names):
            wanted, values, num_refused = batch, None, 0
            if others.types.names:
                rows = pa.Table.from_batches([batch])
                values = pa.table(
                    [decoded_column(rows[field.name], field.type) for field in others.types], others.types
                )
                if others.where:
                    places = select_rows(values, others)
                    wanted, values = rows.take(places).combine_chunks(), values.take(places)
                    num_refused = batch.num_rows - wanted.num_rows
            read = {role: _text_list(_one_array(wanted.column(name))) for role, name in chosen.items()}
            pages = read.get("page") or [None] * wanted.num_rows
            yield RowBatch(read["url"], read["text"], pages, 0, others.pick(values), num_refused)


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _text_list(column: pa.Array) -> list[str | None]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())  # what some writers call text is not valid UTF-8
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [value if value is None else value.decode("utf-8", "replace") for value in column.to_pylist()]
    return [value if value is None else str(value) for value in column.to_pylist()]


class _Lines:
    """The lines of a text file, or those that begin in a part of it, as far as it can be read."""

    def __init__(self, file: BinaryIO, *, is_gzip: bool, part: TablePart = WHOLE) -> None:
        self.is_at_start = part.first == 0
        self.num_breaks = 0
        if part == WHOLE:
            content = gzip.GzipFile(fileobj=file) if is_gzip else file
            self._text: Iterable[str] = io.TextIOWrapper(content, encoding="utf-8-sig", errors="replace", newline="")
        else:
            self._text = _lines_between(file, part)

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._text
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.num_breaks += 1


def _lines_between(file: BinaryIO, part: TablePart) -> Iterator[str]:
    """The lines that begin in a range of bytes; the last one may end beyond it."""
    if part.first:
        file.seek(part.first - 1)
        file.readline()
    while (part.last < 0 or file.tell() < part.last) and (line := file.readline()):
        yield line.decode("utf-8", "replace").removeprefix("\ufeff")


def _read_separated(
    path: str, head: _Lines, lines: _Lines, columns: ListColumns, others: TableColumns
) -> Iterator[RowBatch]:
    found = list_format(path)
    is_tsv = found is not None and found.suffix == ".tsv"
    first = next((row for row in _rows(head, is_tsv=is_tsv) if row is not None), None)
    rows = _rows(lines, is_tsv=is_tsv)
    if first is None:
        yield from _batches((None for _ in rows), lines, others)
        return
    names, has_header = _column_names(first)
    if not has_header:
        columns = _guess_positions(first, columns)
    chosen = {role: names.index(name) for role, name in choose_columns(names, columns, path).items()}
    if has_header and lines.is_at_start:
        rows = _without_first(rows)
    places = [names.index(name) for name in others.types.names]
    complete = (row if row is not None and len(row) == len(names) else None for row in rows)
    picked = (
        _Row({role: row[at] for role, at in chosen.items()}, [row[at] for at in places]) if row else None
        for row in complete
    )
    yield from _batches(picked, lines, others)


def _guess_positions(first: Sequence[str], columns: ListColumns) -> ListColumns:
    """Without a header: the URL is the field that is one, and of two fields the other is the text."""
    url = columns.url or str(next(i for i, field in enumerate(first) if field.startswith(("http", "//"))))
    text = columns.text or (str(1 - int(url)) if len(first) == 2 and url in ("0", "1") else "")
    return ListColumns(url, text, columns.page)


def _rows(lines: Iterable[str], *, is_tsv: bool) -> Iterator[list[str] | None]:
    """The rows that are not empty; None for one that cannot be read."""
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if is_tsv else csv.reader(lines)
    while True:
        try:
            if row := next(reader):
                yield row
        except StopIteration:
            return
        except csv.Error:  # a field without end, or a NUL
            yield None


def _without_first(rows: Iterator[T | None]) -> Iterator[T | None]:
    """Rows without the first good one, the header."""
    for row in rows:
        if row is not None:
            break
        yield row
    yield from rows


def _read_json_lines(
    path: str, head: _Lines, lines: _Lines, columns: ListColumns, others: TableColumns
) -> Iterator[RowBatch]:
    first = next((found for found in _objects(head) if found is not None), None)
    objects = _objects(lines)
    if first is None:
        yield from _batches((None for _ in objects), lines, others)
        return
    chosen = choose_columns(list(first), columns, path)
    names = others.types.names
    picked = (
        _Row(_pick(found, chosen), [found.get(name) for name in names]) if found is not None else None
        for found in objects
    )
    yield from _batches(picked, lines, others)


def _objects(lines: Iterable[str]) -> Iterator[dict[str, object] | None]:
    """The JSON objects in lines that are not empty; None for a line that holds none."""
    decoder = msgspec.json.Decoder(dict[str, object])
    for line in lines:
        if not line.isspace():
            yield _decode_or_none(decoder, line)


def _pick(found: Mapping[str, object], chosen: Mapping[str, str]) -> dict[str, str | None]:
    values = {role: found.get(name) for role, name in chosen.items()}
    return {role: value if value is None else str(value) for role, value in values.items()}


def _decode_or_none(decoder: "msgspec.json.Decoder[dict[str, object]]", line: str) -> dict[str, object] | None:
    try:
        return decoder.decode(line) or None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _batches(rows: Iterable[_Row | None], lines: _Lines, others: TableColumns) -> Iterator[RowBatch]:
    """Rows in batches; None is a bad row, and so is the place where the file breaks off."""
    rows = iter(rows)
    is_last = False
    while not is_last:
        batch = list(islice(rows, _BATCH_ROWS))
        is_last = len(batch) < _BATCH_ROWS
        good = [row for row in batch if row is not None]
        num_bad = len(batch) - len(good) + (lines.num_breaks if is_last else 0)
        values, num_refused, num_unfit = None, 0, 0
        if others.types.names:
            values, num_unfit = others.read([row.values for row in good])
            if others.where:
                places = select_rows(values, others)
                num_refused = len(good) - len(places)
                good, values = [good[place] for place in places.to_pylist()], values.take(places)
        roles = [row.roles for row in good]
        urls, texts, pages = [r["url"] for r in roles], [r["text"] for r in roles], [r.get("page") for r in roles]
        yield RowBatch(urls, texts, pages, num_bad, others.pick(values), num_refused, num_unfit)
