"""Own lists of queries ► rows: MetaCLIP's metadata.json, class names, plain lists, TSV and CSV with counts.

In: the bytes of a list, whose name says how it is written. Out: a row for every string in it (`OWN_LIST`), as it is
written there. What is no such list is an error that names the list and the line: own lists are short and meant, so
nothing in them is passed over in silence.

    .json       a list of strings; or class names: names by number or WordNet id ("tench, Tinca tinca" are two), numbers
                or counts by name, pairs of id and name
    .tsv .csv   the columns of queries and counts, with a header or without; more columns are left out
    others      a line a query; lines with tabs are a TSV; "n01440764 tench, Tinca tinca" are the names of a class

Source: MetaCLIP's metadata.json; ImageNet's class index and synset_words.txt; RFC 4180.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

OWN_LIST: Final = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),  # as it is written
        pa.field("count", pa.int64()),  # what the list counted; null: it does not say
        pa.field("place", pa.int64(), nullable=False),  # line of a text, item of a JSON file, from 1
        pa.field("source", pa.string(), nullable=False),  # the list and the place, for people
    ]
)

_QUERY_NAMES: Final = (
    *("query", "queries", "text", "word", "term", "name", "class", "class_name", "classname"),
    *("label", "entry", "title", "keyword"),
)
_COUNT_NAMES: Final = ("count", "counts", "freq", "frequency", "n", "num", "number", "occurrences", "views", "total")
_WORDNET_ID: Final = re.compile(r"[nvars]\d{8}")
_CLASS_LINE: Final = re.compile(r"[nvars]\d{8}\s+(?=\S)")
_NUMBER: Final = re.compile(r"\d+")
_OTHER_FORMATS: Final = (".parquet", ".jsonl", ".ndjson", ".npy", ".npz", ".xml", ".html", ".zip", ".pkl", ".toml")
_MOST_COUNT: Final = (1 << 63) - 1


class BadList(ValueError):
    """A file is no list of queries, or one of its lines is not as the others."""


class OwnColumns(NamedTuple):
    """Which columns of a TSV or CSV are read: by name, or by number from 0 without a header; empty: recognised."""

    query: str = ""
    counts: str = ""


class _Found(NamedTuple):
    text: str
    counted: int | None
    place: int


def read_own_list(name: str, content: bytes, columns: OwnColumns = OwnColumns()) -> pa.Table:  # noqa: B008 (immutable)
    r"""Reads a list of queries.

    Args:
        name: Of the file; its suffix says how it is written.
        content: Of the file.
        columns: Of a TSV or CSV.

    Returns:
        `OWN_LIST`, in the order of the list.

    Raises:
        BadList: When it is none; the message names the file and the line.

    >>> read_own_list("a.json", b'["red panda", "cat"]')["source"].to_pylist()
    ['a.json, item 1', 'a.json, item 2']
    >>> read_own_list("a.tsv", b"cat\t7\nNew York\t9\n")["count"].to_pylist()
    [7, 9]
    """
    plain = name.lower().removesuffix(".gz")
    if plain.endswith(_OTHER_FORMATS):
        raise BadList(f"{name}: not a list of queries (.json, .txt, .tsv, .csv)")
    text = _decode(name, _unpack(name, content))
    if columns != OwnColumns() and not plain.endswith((".tsv", ".csv")) and "\t" not in text.partition("\n")[0]:
        raise BadList(f"{name}: has no columns, but query-column or count-column names one")
    unit = "item" if plain.endswith(".json") or _holds_json(text) else "line"
    rows = list(_read_json(name, text) if unit == "item" else _read_text(name, plain, text, columns))
    if not rows:
        raise BadList(f"{name}: no query in it")
    texts, counts, places = zip(*rows, strict=True)
    try:
        strings = pa.array(texts, pa.string())
    except UnicodeEncodeError as error:
        place = next(row.place for row in rows if row.text == error.object)
        raise BadList(f"{name}, {unit} {place}: half a surrogate pair, which is no character") from None
    sources = [f"{name}, {unit} {place}" for place in places]
    return pa.table([strings, pa.array(counts, pa.int64()), places, sources], schema=OWN_LIST)


def _unpack(name: str, content: bytes) -> bytes:
    if not name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise BadList(f"{name}: not a whole gzip file: {error}") from None


def _decode(name: str, content: bytes) -> str:
    if b"\0" in content:
        raise BadList(f"{name}, line {content[: content.index(0)].count(10) + 1}: a NUL byte; is it a text file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadList(f"{name}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x})") from None


def _holds_json(text: str) -> bool:
    """Whether a text with another suffix is a JSON list or object all the same."""
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _read_json(name: str, text: str) -> Iterator[_Found]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadList(f"{name}, line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise BadList(f"{name}: JSON nested too deeply") from None
    if isinstance(content, dict):
        return _read_object(name, content)
    if isinstance(content, list):
        return _read_items(name, content)
    raise BadList(f"{name}: neither a JSON list nor an object")


def _read_items(name: str, items: Sequence[Any]) -> Iterator[_Found]:
    for place, item in enumerate(items, 1):
        if not isinstance(item, str):
            raise BadList(f"{name}, item {place}: not a string: {_show(item)}")
        yield _Found(item, None, place)


def _read_object(name: str, content: Mapping[str, Any]) -> Iterator[_Found]:
    """Names by number or id, or numbers, ids or counts by name."""
    values = list(content.values())
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        are_numbers = sorted(values) in (list(range(len(values))), list(range(1, len(values) + 1)))
        for place, (text, count) in enumerate(content.items(), 1):
            yield _Found(text, None if are_numbers else _check_count(count, f"{name}, item {place}"), place)
        return
    if values and all(isinstance(value, str) and _is_id(value) for value in values):
        yield from (_Found(text, None, place) for place, text in enumerate(content, 1))
        return
    for place, (key, value) in enumerate(content.items(), 1):
        where = f"{name}, item {place}"
        if not _is_id(key):
            raise BadList(
                f"{where}: neither {_show(key)} nor {_show(value)} is a class number, a WordNet id or a count"
            )
        yield from (_Found(text, None, place) for text in _class_names(value, where))


def _is_id(text: str) -> bool:
    return bool(_WORDNET_ID.fullmatch(text) or _NUMBER.fullmatch(text))


def _class_names(value: Any, where: str) -> list[str]:
    """The names of a class: a text with commas between them, or a list of names and ids."""
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in names):
        raise BadList(f"{where}: not the name of a class: {_show(value)}")
    split = [part for one in names if not _WORDNET_ID.fullmatch(one) for part in _split_names(one)]
    if not split:
        raise BadList(f"{where}: a class without a name: {_show(value)}")
    return split


def _split_names(text: str) -> list[str]:
    """Names of one class, as WordNet and ImageNet write them.

    >>> _split_names("great_white_shark, white shark")
    ['great white shark', 'white shark']
    """
    return [name for part in text.split(",") if (name := part.replace("_", " ").strip())]


def _read_text(name: str, plain: str, text: str, columns: OwnColumns) -> Iterator[_Found]:
    lines = text.splitlines(keepends=True) if plain.endswith(".csv") else text.split("\n")
    if plain.endswith(".csv"):
        return _read_rows(name, lambda: csv.reader(lines, strict=True), columns)
    first = next((line for line in lines if line.strip()), "")
    if plain.endswith(".tsv") or "\t" in first.strip():
        stripped = [line.rstrip("\r") for line in lines]
        return _read_rows(name, lambda: csv.reader(stripped, delimiter="\t", quoting=csv.QUOTE_NONE), columns)
    return _read_lines(lines)


def _read_lines(lines: Sequence[str]) -> Iterator[_Found]:
    for place, line in enumerate(lines, 1):
        if _CLASS_LINE.match(line):
            yield from (_Found(text, None, place) for text in _split_names(line.split(None, 1)[1]))
        elif stripped := line.strip():
            yield _Found(stripped, None, place)


def _read_rows(name: str, open_reader: Callable[[], Any], columns: OwnColumns) -> Iterator[_Found]:
    numbered = _number_rows(name, open_reader())
    first = next(numbered, None)
    if first is None:
        return
    has_header, query, count = _find_columns(name, first[1], columns)
    width = len(first[1])
    for line, row in _number_rows(name, open_reader()):
        if len(row) != width:
            raise BadList(f"{name}, line {line}: {len(row)} fields, but the first row has {width}")
        if has_header and line == first[0]:
            continue
        value = row[count].strip() if count is not None else ""
        yield _Found(row[query].strip(), _check_count(value, f"{name}, line {line}") if value else None, line)


def _number_rows(name: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the lines they end at."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadList(f"{name}, line {reader.line_num}: {error}") from None
        if any(field.strip() for field in row):
            yield reader.line_num, row


def _find_columns(name: str, first: Sequence[str], columns: OwnColumns) -> tuple[bool, int, int | None]:
    """Whether the first row is a header, the column of queries, and that of counts."""
    cells = [cell.strip() for cell in first]
    folded = [cell.lower() for cell in cells]
    numbers = [place for place, cell in enumerate(cells) if _NUMBER.fullmatch(cell)]
    named = [wanted for wanted in columns if wanted and not _NUMBER.fullmatch(wanted)]
    is_numbered = any(columns) and not named
    has_header = bool(named) or (not is_numbered and not numbers and any(cell in _QUERY_NAMES for cell in folded))

    def place_of(role: str, wanted: str, known: Sequence[str]) -> int | None:
        if wanted:
            places = [str(place) for place in range(len(cells))] if _NUMBER.fullmatch(wanted) else cells
            if wanted not in places:
                raise BadList(f"{name}: {role}-column: no column {wanted!r} among {', '.join(cells)}")
            return places.index(wanted)
        return next((folded.index(one) for one in known if one in folded), None) if has_header else None

    query, count = place_of("query", columns.query, _QUERY_NAMES), place_of("count", columns.counts, _COUNT_NAMES)
    if not has_header and count is None and len(cells) > 1:
        others = [place for place in numbers if place != (0 if query is None else query) or len(numbers) == 1]
        count = others[0] if len(others) == 1 else None
    if query is None:
        left = [place for place in range(len(cells)) if place != count]
        if len(left) != 1:
            raise BadList(f"{name}: cannot tell which of {len(cells)} columns holds queries; name it with query-column")
        query = left[0]
    if query == count:
        raise BadList(f"{name}: query-column and count-column are the same, {columns.query!r}")
    return has_header, query, count


def _check_count(value: Any, where: str) -> int:
    text = str(value)
    if not _NUMBER.fullmatch(text) or int(text) > _MOST_COUNT:
        raise BadList(f"{where}: a count must be a whole number from 0, not {_show(value)}")
    return int(text)


def _show(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."
