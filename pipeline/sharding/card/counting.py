"""The index of a shard ► how many of its samples have which value: hosts, languages, sizes, lengths, carried columns.

Texts are counted as they are, numbers in steps of a thousandth: a number is rounded towards 0 to the 11 leading bits of
its value, so whole numbers below 2,048 are exact. Counts of several shards are added up a *bucket* at a time, each
value in one of them; of texts those with the most samples are told, and how many others there are. So a set of any
size has a survey of bounded size, and no more is shuffled than the different values of a group of shards.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.carried_columns import carried_fields
from pipeline.base.schemas import SHARD_INDEX

# How many samples have which value; sorted by name, most samples first.
SCORE_COUNTS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # of the score
        pa.field("number", pa.float32(), nullable=False),  # the score, in steps of a thousandth (`counting`)
        pa.field("scored", pa.int64(), nullable=False),  # samples that have it
        pa.field("kept", pa.int64(), nullable=False),  # of these in the shards
    ]
)

VALUE_COUNTS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # `TEXTS`, `NUMBERS` or of a carried column
        pa.field("text", pa.string()),  # the value, if it is a text
        pa.field("number", pa.float32()),  # the value, if it is a number
        pa.field("values", pa.int64(), nullable=False),  # 1; without text and number: how many others there are
        pa.field("samples", pa.int64(), nullable=False),
    ]
)
IMAGE_HOST: Final = "image host"
PAGE_HOST: Final = "page host"
LANGUAGE: Final = "page language"
TEXT_SOURCE: Final = "text source"
SOURCE_FILE: Final = "source file"
FORMAT: Final = "image format"
SHORT_SIDE: Final = "short side"
ASPECT: Final = "long over short side"
BYTES: Final = "image bytes"
CHARACTERS: Final = "text characters"
WORDS: Final = "text words"
TEXTS: Final = {  # what is counted as a text ► the column that it is, or comes from
    IMAGE_HOST: "url",
    PAGE_HOST: "page_url",
    LANGUAGE: "language",
    TEXT_SOURCE: "text_source",
    SOURCE_FILE: "source_file",
    FORMAT: "mime",
}
NUMBERS: Final = (SHORT_SIDE, ASPECT, BYTES, CHARACTERS, WORDS)
LICENSE_NAMES: Final = frozenset({"license", "licence", "license_url", "licence_url", "license_name", "rights"})
_HOST: Final = r"^[a-z][a-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)"
_MOST_TOLD: Final = 1000  # texts of a name, those with the most samples
NUMBER_STEP: Final = 2.0**-10  # between numbers that are told apart, of the power of two below them
_KEPT_BITS: Final = np.uint32(0xFFFF_E000)  # of a float32: sign, exponent, and 10 bits behind the leading one
_VALUE: Final = ("name", "text", "number")


def count_values(index: pa.Table) -> pa.Table:
    """How many samples of a shard have which value (`VALUE_COUNTS`).

    Args:
        index: Of a shard (`SHARD_INDEX`, and what is carried).
    """
    texts, numbers = _text_columns(index), _number_columns(index)
    parts = [_count(name, text=_known(column)) for name, column in texts.items()]
    parts += [_count(name, number=round_numbers(values)) for name, values in numbers.items()]
    return pa.concat_tables(parts) if parts else VALUE_COUNTS.empty_table()


def split_values(counts: pa.Table, *, num_buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """Counts by bucket: those of a text in one that follows from it, all numbers of a name in one.

    Args:
        counts: Of `VALUE_COUNTS`.
        num_buckets: How many buckets there are; they are numbered from 0.
    """
    names, texts = counts["name"].to_pylist(), counts["text"].to_pylist()
    hashes = [zlib.crc32(f"{name}\0{text or ''}".encode()) for name, text in zip(names, texts, strict=True)]
    buckets = np.array(hashes, np.int64) % num_buckets
    for bucket in np.unique(buckets).tolist():
        yield bucket, counts.filter(pa.array(buckets == bucket))


def add_values(counts: Iterable[pa.Table]) -> pa.Table:
    """Adds up counts that tell of each value, not only of the most frequent: those of a bucket, or of a group."""
    table = pa.concat_tables([VALUE_COUNTS.empty_table(), *counts])
    added = table.group_by(list(_VALUE)).aggregate([("samples", "sum")])
    columns = [*(added[name] for name in _VALUE), pa.array(np.ones(added.num_rows, np.int64)), added["samples_sum"]]
    return pa.table(columns, VALUE_COUNTS)


def rank_values(counts: Iterable[pa.Table]) -> pa.Table:
    """The counts of several buckets together, the most frequent texts of each name, and all numbers.

    Args:
        counts: Of `VALUE_COUNTS`, no value in two of them; each may have been ranked before.
    """
    table = pa.concat_tables([VALUE_COUNTS.empty_table(), *counts])
    parts = []
    for name in sorted(pc.unique(table["name"]).to_pylist()):
        own = table.filter(pc.equal(table["name"], name))
        others = pc.and_(pc.is_null(own["text"]), pc.is_null(own["number"]))
        told = own.filter(pc.invert(others)).sort_by(
            [("samples", "descending"), ("text", "ascending"), ("number", "ascending")]
        )
        most = told.num_rows if told["text"].null_count else _MOST_TOLD
        rest = pa.concat_tables([told.slice(most), own.filter(others)])
        parts.append(told.slice(0, most))
        if rest.num_rows:
            sums = [pc.sum(rest[column]).as_py() for column in ("values", "samples")]
            parts.append(pa.table([[name], [None], [None], *([one] for one in sums)], VALUE_COUNTS))
    return pa.concat_tables(parts) if parts else VALUE_COUNTS.empty_table()


def round_numbers(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Numbers towards 0, in steps of less than a thousandth.

    >>> round_numbers(np.array([2047, 2049, -0.3], np.float32)).tolist()
    [2047.0, 2048.0, -0.2998046875]
    """
    return (values.astype(np.float32).view(np.uint32) & _KEPT_BITS).view(np.float32)


def _text_columns(index: pa.Table) -> dict[str, pa.ChunkedArray]:
    found = {name: index[column] for name, column in TEXTS.items()}
    for name in (IMAGE_HOST, PAGE_HOST):
        found[name] = pc.struct_field(pc.extract_regex(found[name], _HOST), "host")
    carried = [field.name for field in _carried(index) if pa.types.is_string(field.type)]
    return found | {name: index[name] for name in carried if name.lower() in LICENSE_NAMES}


def _number_columns(index: pa.Table) -> dict[str, npt.NDArray[np.float32]]:
    sides = [index[name].to_numpy() for name in ("original_width", "original_height")]
    found = {
        SHORT_SIDE: np.minimum(*sides),
        ASPECT: np.maximum(*sides) / np.minimum(*sides),
        BYTES: index["bytes"].to_numpy(),
        CHARACTERS: pc.utf8_length(index["caption"]).to_numpy(),
        WORDS: pc.count_substring_regex(index["caption"], r"\S+").to_numpy(),
    }
    for field in _carried(index):
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            found[field.name] = pc.drop_null(index[field.name]).to_numpy()
    as_floats = {name: values.astype(np.float32) for name, values in found.items()}
    return {name: values[np.isfinite(values)] for name, values in as_floats.items()}


def _carried(index: pa.Table) -> list[pa.Field]:
    """Columns of other people's tables that are called as nothing here is."""
    taken = {*SHARD_INDEX.names, *TEXTS, *NUMBERS}
    return [field for field in carried_fields(index.schema) if field.name not in taken]


def _known(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts, empty where they are not known."""
    return pc.fill_null(column.cast(pa.string()), "")


def _count(
    name: str, *, text: pa.ChunkedArray | None = None, number: npt.NDArray[np.float32] | None = None
) -> pa.Table:
    counted = pc.value_counts(pa.array(number, pa.float32()) if text is None else text.combine_chunks())
    values, samples = counted.field("values"), counted.field("counts")
    rows = len(values)
    nothing = pa.nulls(rows, pa.float32() if number is None else pa.string())
    texts, numbers = (values, nothing) if number is None else (nothing, values)
    return pa.table(
        [pa.array([name] * rows, pa.string()), texts, numbers, np.ones(rows, np.int64), samples], VALUE_COUNTS
    )


def names_of(counts: pa.Table) -> list[str]:
    """The scores that were counted."""
    return sorted(pc.unique(counts["name"]).to_pylist())
