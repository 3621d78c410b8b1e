"""Evaluation sets as they lie about ► the images and hashes in them, file by file, in units of work.

In: of each set a folder, at any depth, or one file: images, tars (WebDataset's or others, also compressed), zip files,
Parquet, or a text of hashes. Of Parquet all columns of image bytes count, plain ones and Hugging Face's structs of
``bytes`` and ``path``; where there is none, the columns ``sha256``, ``phash`` and ``looks``. Out: names with the bytes
of images, and hashes. What is none of that (labels, JSON) is passed over, and counted.
Source: Hugging Face datasets, "Image" feature.
"""

import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
import pyarrow.types as pt

from pipeline.base import files
from pipeline.base.lineage import Stamp
from pipeline.base.tables import count_row_groups, read_batches, read_schema
from pipeline.pixels.image_headers import sniff_format
from pipeline.pixels.looks import LOOKS_BYTES

_STAGE: Final = "write-shards: decontaminate"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_TAR_NAMES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_IMAGE_NAMES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".ppm")
_HIDDEN: Final = "."  # files whose names begin with it; an underscore is how cameras begin theirs
_STAMP_BYTES: Final = 1 << 14  # read of each file to recognise it, beside its size
_HEAD_BYTES: Final = 64
_BLOCK_BYTES: Final = 512
_IMAGES_A_UNIT: Final = 500
_BYTES_A_UNIT: Final = 256 << 20
_ROWS_AT_ONCE: Final = 32  # of images in memory
_DIGITS: Final = {"sha256": 64, "phash": 16, "looks": 2 * LOOKS_BYTES}  # hexadecimal

HASHES: Final = tuple(_DIGITS)


class Form(StrEnum):
    """How images or hashes lie in a file."""

    IMAGE = "image"
    TAR = "tar"
    ZIP = "zip"
    TABLE = "table"
    HASH_TABLE = "table of hashes"
    HASH_LIST = "list of hashes"


class EvaluationSet(NamedTuple):
    """A set whose images are to be in no shard.

    Attributes:
        name: What reports call it.
        path: A folder or a file.
    """

    name: str
    path: str


class Source(NamedTuple):
    """A file of a set.

    Attributes:
        number: Of the set, in the order of names.
        path: Where it lies.
        name: Its place in the set's folder.
        form: What it is.
        parts: Into how many units it is cut.
        columns: Of a table, those that count.
    """

    number: int
    path: str
    name: str
    form: Form
    parts: int = 1
    columns: tuple[str, ...] = ()


class SourceUnit(NamedTuple):
    """Files, or a part of one, that a worker reads.

    Attributes:
        number: Its place among all units.
        first: The first of its sources in the list of all.
        last: The one behind its last.
        part: Which of the parts of a source.
    """

    number: int
    first: int
    last: int
    part: int

    @property
    def name(self) -> str:
        """Of the files that are made of it."""
        return f"{self.number:05d}"


class Found(NamedTuple):
    """Something in a set: an image, hashes without one, or (with neither) a file that is nothing of the kind.

    Attributes:
        name: Its place in the set.
        image: The bytes of a file that is an image, or should be one.
        hashes: Of `HASHES`, what is told of an image: bytes, of ``phash`` 64 bits as a signed number.
    """

    name: str
    image: bytes | None = None
    hashes: Mapping[str, Any] = {}


def parse_sets(asked: Sequence[str]) -> list[EvaluationSet]:
    """The sets that are asked for, in the order of their names.

    Args:
        asked: ``NAME=PATH`` each.

    Raises:
        ValueError: For anything else, and for a name or path that comes twice.

    >>> parse_sets(["flickr=data/flickr8k/test"])
    [EvaluationSet(name='flickr', path='data/flickr8k/test')]
    """
    sets = []
    for one in asked:
        name, is_pair, path = one.partition("=")
        if not is_pair or not path or not _NAME.fullmatch(name):
            raise ValueError(f"{_STAGE}: {one!r}: give NAME=PATH, NAME of letters, digits and ._+-")
        sets.append(EvaluationSet(name, path))
    for field in EvaluationSet._fields:
        values = [getattr(one, field) for one in sets]
        if twice := {value for value in values if values.count(value) > 1}:
            raise ValueError(f"{_STAGE}: the {field} {min(twice)!r} is given twice")
    return sorted(sets)


def list_sources(sets: Sequence[EvaluationSet]) -> list[Source]:
    """The files of some sets.

    Raises:
        FileNotFoundError: For a path where nothing lies.
        ValueError: For a set that holds neither images nor hashes, a table without them, and a text with other lines.
    """
    return [source for number, one in enumerate(sets) for source in _list_set(number, one)]


def _list_set(number: int, one: EvaluationSet) -> list[Source]:
    is_folder = files.is_folder(one.path)
    if not is_folder and not files.exists(one.path):
        raise FileNotFoundError(f"{_STAGE}: {one.name}: no such file or folder: {one.path}")
    paths = files.expand_inputs([one.path], hidden=_HIDDEN) if is_folder else [one.path]
    start = one.path.rstrip("/") + "/"
    sources = [Source(number, path, path.removeprefix(start), _form_of(path, is_folder=is_folder)) for path in paths]
    sources = [source._replace(name=files.basename(source.name)) for source in sources] if not is_folder else sources
    try:
        sources = files.each(_look_into, sources)
    except (ValueError, pa.ArrowInvalid, tarfile.TarError) as error:
        raise ValueError(f"{_STAGE}: {one.name}: {error}") from error
    if not any(_may_hold(source) for source in sources):
        raise ValueError(f"{_STAGE}: {one.name}: no image, tar or table is in {one.path}")
    return sources


def _form_of(path: str, *, is_folder: bool) -> Form:
    name = files.basename(path).lower()
    if name.endswith(".parquet"):
        return Form.TABLE
    if name.endswith(_TAR_NAMES):
        return Form.TAR
    if name.endswith(".zip"):
        return Form.ZIP
    if is_folder or name.endswith(_IMAGE_NAMES) or sniff_format(files.read_range(path, 0, _HEAD_BYTES)):
        return Form.IMAGE
    return Form.HASH_LIST


def _may_hold(source: Source) -> bool:
    """Whether there may be an image in a file, without opening it but where its name does not tell."""
    if source.form is not Form.IMAGE or source.name.lower().endswith(_IMAGE_NAMES):
        return True
    return sniff_format(files.read_range(source.path, 0, _HEAD_BYTES)) is not None


def _look_into(source: Source) -> Source:
    """A source with what has to be known of its content; raises ValueError when that is wrong."""
    if source.form is Form.TABLE:
        return _look_into_table(source)
    if source.form is Form.HASH_LIST:
        list(_parse_hashes(source.path))
    is_stream = source.form is Form.TAR and not source.name.lower().endswith(".tar")
    if source.form in (Form.TAR, Form.ZIP) and not is_stream:
        return source._replace(parts=_num_parts(source.path))
    return source


def _look_into_table(source: Source) -> Source:
    schema = read_schema(source.path)
    images = tuple(field.name for field in schema if _holds_images(source.path, field))
    if images:
        return source._replace(parts=min(_num_parts(source.path), count_row_groups(source.path)), columns=images)
    hashes = tuple(name for name in HASHES if name in schema.names and _parser(name, schema.field(name).type))
    if hashes:
        return source._replace(form=Form.HASH_TABLE, columns=hashes)
    raise ValueError(
        f"{source.path}: no column of image bytes, nor sha256, phash or looks, among {', '.join(schema.names)}"
    )


def _num_parts(path: str) -> int:
    return max(1, -(-files.file_size(path) // _BYTES_A_UNIT))


def _holds_images(path: str, field: pa.Field) -> bool:
    """Whether a column holds files of images: by its type, and where that leaves it open by its first value."""
    type_ = field.type.value_type if _is_list(field.type) else field.type
    if pt.is_struct(type_):
        return "bytes" in [one.name for one in type_] and _is_bytes(type_.field("bytes").type)
    if not _is_bytes(type_) or field.name in HASHES:
        return False
    for batch in read_batches(path, [field.name], _ROWS_AT_ONCE):
        if firsts := [data for data in _files_of(batch[field.name]) if data]:
            return sniff_format(firsts[0][:_HEAD_BYTES]) is not None
    return False


def _is_list(type_: pa.DataType) -> bool:
    return pt.is_list(type_) or pt.is_large_list(type_) or pt.is_fixed_size_list(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    return pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_)


def _files_of(column: pa.Array) -> list[bytes | None]:
    """The files in a column of image bytes, lists among its values one after another."""
    values = column.flatten() if _is_list(column.type) else column
    found: list[bytes | None] = (values.field("bytes") if pt.is_struct(values.type) else values).to_pylist()
    return found


def cut_units(sources: Sequence[Source]) -> list[SourceUnit]:
    """Units of some files: many images of a set, or a part of one other file.

    Args:
        sources: In the order of sets.
    """
    spans: list[tuple[int, int, int]] = []
    first = 0
    while first < len(sources):
        last = first + 1
        if (one := sources[first]).form is Form.IMAGE:
            while last < min(first + _IMAGES_A_UNIT, len(sources)) and _are_alike(one, sources[last]):
                last += 1
        spans += [(first, last, part) for part in range(one.parts)]
        first = last
    return [SourceUnit(number, *span) for number, span in enumerate(spans)]


def _are_alike(one: Source, other: Source) -> bool:
    return (one.number, one.form) == (other.number, other.form)


def write_sources(path: str, sources: Sequence[Source]) -> None:
    """Writes the list of all files, for workers."""
    files.write_json(path, sources)


def read_sources(path: str) -> list[Source]:
    """Reads what `write_sources` wrote."""
    return [
        Source(number, place, name, Form(form), parts, tuple(columns))
        for number, place, name, form, parts, columns in files.read_json(path)
    ]


def stamp_set(one: EvaluationSet) -> Stamp:
    """What a set is recognised by: the names in its folder, and of each file the size and how it begins."""
    folder = one.path if files.is_folder(one.path) else ""
    paths = files.expand_inputs([one.path], hidden=_HIDDEN)
    digest, num_bytes = hashlib.sha256(), 0
    for path, (size, begin) in zip(paths, files.each(_begin_of, paths), strict=True):
        name = path.removeprefix(folder.rstrip("/") + "/") if folder else files.basename(path)
        digest.update(f"{name}\0{size}\0{begin}\n".encode())
        num_bytes += size
    return {"name": f"evaluation set {one.name}", "bytes": num_bytes, "digest": digest.hexdigest()}


def _begin_of(path: str) -> tuple[int, str]:
    size = files.file_size(path)
    if size <= _BYTES_A_UNIT and files.basename(path).lower().endswith(_IMAGE_NAMES):
        begin = files.read_range(path, 0, min(size, _STAMP_BYTES))
        return size, hashlib.sha256(begin).hexdigest()
    return size, str(files.file_stamp(path)["digest"])


def read_unit(unit: SourceUnit, sources: Sequence[Source]) -> Iterator[tuple[Source, Found]]:
    """What is in the files of a unit, with the file.

    Raises:
        ValueError: For a file that is damaged, with its path.
    """
    for source in sources[unit.first : unit.last]:
        try:
            yield from ((source, found) for found in _READERS[source.form](source, unit.part))
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid, EOFError) as error:
            raise ValueError(f"{_STAGE}: {source.path} is damaged: {error}") from error


def _find(name: str, data: bytes) -> Found:
    is_image = name.lower().endswith(_IMAGE_NAMES) or sniff_format(data[:_HEAD_BYTES])
    return Found(name, image=data) if is_image else Found(name)


def _read_image(source: Source, _: int) -> Iterator[Found]:
    yield _find(source.name, files.read_bytes(source.path))


def _read_tar(source: Source, part: int) -> Iterator[Found]:
    mode = "r:" if source.name.lower().endswith(".tar") else "r|*"
    with files.open_for_read(source.path) as file, tarfile.open(fileobj=file, mode=cast(Any, mode)) as tar:
        number = 0
        for member in tar:
            if not member.isfile() or _is_hidden(member.name):
                continue
            if number % source.parts == part:
                content = tar.extractfile(member)
                assert content is not None
                yield _find(f"{source.name}/{member.name}", content.read())
            number += 1
        if mode == "r:":
            _check_end(file, tar.offset)


def _check_end(file: BinaryIO, offset: int) -> None:
    """What follows the last member must be empty blocks: where a header is damaged, tarfile ends without a word."""
    file.seek(offset)
    if file.read(_BLOCK_BYTES).strip(b"\0"):
        raise tarfile.ReadError(f"no tar member begins at byte {offset}")


def _read_zip(source: Source, part: int) -> Iterator[Found]:
    with files.open_for_read(source.path) as file, zipfile.ZipFile(file) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]
        for member in members[part :: source.parts]:
            yield _find(f"{source.name}/{member.filename}", archive.read(member))


def _is_hidden(name: str) -> bool:
    return files.basename(name).startswith(_HIDDEN)


def _read_table(source: Source, part: int) -> Iterator[Found]:
    groups = range(count_row_groups(source.path))[part :: source.parts]
    for group in groups:
        row = 0
        for batch in read_batches(source.path, source.columns, _ROWS_AT_ONCE, groups=[group]):
            for column in source.columns:
                for place, data in enumerate(_files_of(batch[column])):
                    if data is not None:
                        yield Found(f"{source.name}/{group}/{column}/{row + place}", image=data)
            row += batch.num_rows


def _read_hash_table(source: Source, _: int) -> Iterator[Found]:
    row = 0
    for batch in read_batches(source.path, source.columns):
        parsers = {name: _parser(name, batch.schema.field(name).type) for name in source.columns}
        for values in batch.to_pylist():
            name = f"{source.name}/{row}"
            try:
                told = {key: parsers[key](value) for key, value in values.items() if value is not None}  # type: ignore[misc]
            except ValueError as error:
                raise ValueError(f"{_STAGE}: {source.path}: row {row}: {error}") from None
            if told:
                yield Found(name, hashes=told)
            row += 1


def _read_hash_list(source: Source, _: int) -> Iterator[Found]:
    for number, kind, value in _parse_hashes(source.path):
        yield Found(f"{source.name}/{number}", hashes={kind: value})


_READERS: Final[Mapping[Form, Callable[[Source, int], Iterator[Found]]]] = {
    Form.IMAGE: _read_image,
    Form.TAR: _read_tar,
    Form.ZIP: _read_zip,
    Form.TABLE: _read_table,
    Form.HASH_TABLE: _read_hash_table,
    Form.HASH_LIST: _read_hash_list,
}


def _parser(name: str, type_: pa.DataType) -> Callable[[Any], Any] | None:
    """What makes a hash of a value of a column; None where its type holds none."""
    if pt.is_string(type_) or pt.is_large_string(type_):
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


def _parse_hashes(path: str) -> Iterator[tuple[int, str, Any]]:
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
