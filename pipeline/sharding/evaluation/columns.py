"""Values that evaluation sets are given by: files of images in columns, and hashes in columns and texts.

In: columns of Parquet, plain ones and Hugging Face's structs of ``bytes`` and ``path``; texts, a hash a line. Out:
files of images; hashes under the names of columns of ours, ``sha256``, ``phash`` and ``looks``.
Source: Hugging Face datasets, "Image" feature.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt

from pipeline.base import files
from pipeline.base.tables import read_batches
from pipeline.pixels.image_headers import sniff_format
from pipeline.pixels.looks import LOOKS_BYTES

ROWS_AT_ONCE: Final = 32  # of images in memory
HEAD_BYTES: Final = 64  # of a file that tell its format
_DIGITS: Final = {"sha256": 64, "phash": 16, "looks": 2 * LOOKS_BYTES}  # hexadecimal
HASHES: Final = tuple(_DIGITS)  # by which images may be given


def holds_images(path: str, field: pa.Field) -> bool:
    """Whether a column holds files of images: by its type, and where that leaves it open by its first value."""
    type_ = field.type.value_type if _is_list(field.type) else field.type
    if pt.is_struct(type_):
        return "bytes" in [one.name for one in type_] and _is_bytes(type_.field("bytes").type)
    if not _is_bytes(type_) or field.name in HASHES:
        return False
    for batch in read_batches(path, [field.name], ROWS_AT_ONCE):
        if firsts := [data for data in files_of(batch[field.name]) if data]:
            return sniff_format(firsts[0][:HEAD_BYTES]) is not None
    return False


def _is_list(type_: pa.DataType) -> bool:
    return pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    return pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_)


def files_of(column: pa.Array) -> list[bytes | None]:
    """The files in a column of image bytes, lists among its values one after another."""
    values = column.flatten() if _is_list(column.type) else column
    found: list[bytes | None] = (values.field("bytes") if pt.is_struct(values.type) else values).to_pylist()
    return found


def hash_parser(name: str, type_: pa.DataType) -> Callable[[Any], Any] | None:
    """What makes a hash of a value of a column; None where its type holds none."""
    type_ = type_.value_type if pt.is_dictionary(type_) else type_
    if pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_):
        return partial(_parse_digits, name)
    if name == "phash":
        return _signed if pt.is_int64(type_) or pt.is_uint64(type_) else None
    return partial(_check_length, name) if _is_bytes(type_) or pt.is_fixed_size_binary(type_) else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _check_length(name: str, value: bytes) -> bytes:
    if len(value) != _DIGITS[name] // 2:
        raise ValueError(f"{name} of {len(value)} bytes, not {_DIGITS[name] // 2}")
    return value


def _parse_digits(name: str, text: str) -> Any:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{_DIGITS[name]}}}", text):
        raise ValueError(f"{text[:40]!r} is no {name}: {_DIGITS[name]} hexadecimal digits")
    return _signed(int(text, 16)) if name == "phash" else bytes.fromhex(text)


def parse_hashes(path: str) -> Iterator[tuple[int, str, Any]]:
    """The line, the kind and the value of each hash of a text; behind a hash there may be a file's name."""
    kinds = {digits: kind for kind, digits in _DIGITS.items()}
    try:
        lines = files.read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: neither an image, a tar, a zip file, Parquet nor a text of hashes") from None
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words[0]) not in kinds or not re.fullmatch("[0-9a-fA-F]+", words[0]):
            wanted = ", ".join(f"{kind} ({digits} digits)" for kind, digits in _DIGITS.items())
            raise ValueError(f"{path}: line {number}: {words[0][:40]!r} is none of {wanted}, hexadecimal")
        kind = kinds[len(words[0])]
        yield number, kind, _parse_digits(kind, words[0])
