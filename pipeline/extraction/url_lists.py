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
from itertools import chain, islice
from typing import BinaryIO, Final, NamedTuple, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import basename, open_for_read
from pipeline.tables import read_batches

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")

T = TypeVar("T")

_KNOWN_NAMES: Final = {
    "url": ("url", "image_url", "img_url", "imageurl", "image", "img", "link", "src"),
    "text": ("text", "caption", "alt", "alt_text", "caption_reference_description", "title", "description"),
    "page": ("page_url", "page", "source_page"),
}
_BATCH_ROWS: Final = 50_000


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


class RowBatch(NamedTuple):
    """Rows of a table, column by column; a null where a field is missing.

    Attributes:
        urls: Image URLs.
        texts: Texts.
        page_urls: Page URLs, all null where the table has none.
        num_bad_rows: Rows, or places, that could not be read.
    """

    urls: list[str | None]
    texts: list[str | None]
    page_urls: list[str | None]
    num_bad_rows: int


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


def read_url_list(path: str, columns: ListColumns = ListColumns()) -> Iterator[RowBatch]:  # noqa: B008 (immutable)
    """Reads a table batch by batch, in order.

    Raises:
        ValueError: When the columns are not there, or cannot be recognised.
    """
    found = list_format(path)
    if found is None:
        raise ValueError(f"{path}: not one of {', '.join(SUFFIXES)}")
    if found.suffix == ".parquet":
        yield from _read_parquet(path, columns)
        return
    with open_for_read(path) as file:
        lines = _Lines(file, is_gzip=found.is_gzip)
        if found.suffix in (".jsonl", ".ndjson"):
            yield from _read_json_lines(path, lines, columns)
        else:
            yield from _read_separated(path, lines, columns, is_tsv=found.suffix == ".tsv")


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


def _read_parquet(path: str, columns: ListColumns) -> Iterator[RowBatch]:
    with open_for_read(path) as file:
        schema = pq.read_schema(file)
    chosen = choose_columns(schema.names, columns, path)
    for batch in read_batches(path, list(dict.fromkeys(chosen.values())), _BATCH_ROWS):
        read = {role: _text_list(batch.column(name)) for role, name in chosen.items()}
        yield RowBatch(read["url"], read["text"], read.get("page") or [None] * batch.num_rows, 0)


def _text_list(column: pa.Array) -> list[str | None]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())  # what some writers call text is not valid UTF-8
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [value if value is None else value.decode("utf-8", "replace") for value in column.to_pylist()]
    return [value if value is None else str(value) for value in column.to_pylist()]


class _Lines:
    """The lines of a text file as far as it can be read."""

    def __init__(self, file: BinaryIO, *, is_gzip: bool) -> None:
        self._text = io.TextIOWrapper(
            gzip.GzipFile(fileobj=file) if is_gzip else file, encoding="utf-8-sig", errors="replace", newline=""
        )
        self.num_breaks = 0

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._text
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.num_breaks += 1


def _read_separated(path: str, lines: _Lines, columns: ListColumns, *, is_tsv: bool) -> Iterator[RowBatch]:
    if is_tsv:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines)
    rows = (row for row in _rows_or_none(reader) if row != [])
    num_bad, first = _skip_bad(rows)
    if first is None:
        yield from _batches([None] * num_bad, lines)
        return
    has_header = not any(field.startswith(("http://", "https://", "//")) for field in first)
    names = first if has_header else [str(position) for position in range(len(first))]
    if not has_header:
        columns = _guess_positions(first, columns)
    chosen = {role: names.index(name) for role, name in choose_columns(names, columns, path).items()}
    rest = chain([None] * num_bad, [] if has_header else [first], rows)
    complete = (row if row is not None and len(row) == len(names) else None for row in rest)
    yield from _batches(({role: row[at] for role, at in chosen.items()} if row else None for row in complete), lines)


def _guess_positions(first: Sequence[str], columns: ListColumns) -> ListColumns:
    """Without a header: the URL is the field that is one, and of two fields the other is the text."""
    url = columns.url or str(next(i for i, field in enumerate(first) if field.startswith(("http", "//"))))
    text = columns.text or (str(1 - int(url)) if len(first) == 2 and url in ("0", "1") else "")
    return ListColumns(url, text, columns.page)


def _rows_or_none(reader: Iterator[list[str]]) -> Iterator[list[str] | None]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:  # a field without end, or a NUL
            yield None


def _read_json_lines(path: str, lines: _Lines, columns: ListColumns) -> Iterator[RowBatch]:
    decoder = msgspec.json.Decoder(dict[str, object])
    objects = (_decode_or_none(decoder, line) for line in lines if not line.isspace())
    num_bad, first = _skip_bad(objects)
    if first is None:
        yield from _batches([None] * num_bad, lines)
        return
    chosen = choose_columns(list(first), columns, path)
    rows = (_pick(found, chosen) if found is not None else None for found in chain([None] * num_bad, [first], objects))
    yield from _batches(rows, lines)


def _pick(found: Mapping[str, object], chosen: Mapping[str, str]) -> dict[str, str | None]:
    values = {role: found.get(name) for role, name in chosen.items()}
    return {role: value if value is None else str(value) for role, value in values.items()}


def _decode_or_none(decoder: "msgspec.json.Decoder[dict[str, object]]", line: str) -> dict[str, object] | None:
    try:
        return decoder.decode(line) or None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _skip_bad(rows: Iterator[T | None]) -> tuple[int, T | None]:
    """The number of bad rows before the first good one, and that row, if there is any."""
    num_bad = 0
    for row in rows:
        if row is not None:
            return num_bad, row
        num_bad += 1
    return num_bad, None


def _batches(rows: Iterable[Mapping[str, str | None] | None], lines: _Lines) -> Iterator[RowBatch]:
    """Rows in batches; None is a bad row, and so is the place where the file breaks off."""
    rows = iter(rows)
    is_last = False
    while not is_last:
        batch = list(islice(rows, _BATCH_ROWS))
        is_last = len(batch) < _BATCH_ROWS
        good = [row for row in batch if row is not None]
        num_bad = len(batch) - len(good) + (lines.num_breaks if is_last else 0)
        yield RowBatch([r["url"] for r in good], [r["text"] for r in good], [r.get("page") for r in good], num_bad)
