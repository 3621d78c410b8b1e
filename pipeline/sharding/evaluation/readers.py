"""Units of evaluation sets ► the images and hashes in them, file by file.

In: `pipeline.sharding.evaluation.sources`. Out: names with the bytes of images, and hashes; and what is neither.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa

from pipeline.base import files
from pipeline.base.tables import count_row_groups, read_batches
from pipeline.pixels.image_headers import sniff_format
from pipeline.sharding.evaluation.columns import HEAD_BYTES, ROWS_AT_ONCE, files_of, hash_parser, parse_hashes
from pipeline.sharding.evaluation.sources import HIDDEN, IMAGE_NAMES, OPTION, Form, Source, SourceUnit

_BLOCK_BYTES: Final = 512  # of a tar


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


def read_unit(unit: SourceUnit, sources: Sequence[Source]) -> Iterator[tuple[Source, Found]]:
    """What is in the files of a unit, with the file.

    Raises:
        ValueError: For a file that is damaged, with its path.
    """
    for source in sources[unit.first : unit.last]:
        try:
            yield from ((source, found) for found in _READERS[source.form](source, unit.part))
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid, EOFError) as error:
            raise ValueError(f"{OPTION}: {source.path} is damaged: {error}") from error


def _find(name: str, data: bytes) -> Found:
    is_image = name.lower().endswith(IMAGE_NAMES) or sniff_format(data[:HEAD_BYTES])
    return Found(name, image=data) if is_image else Found(name)


def _read_image(source: Source, _: int) -> Iterator[Found]:
    yield _find(source.name, files.read_bytes(source.path))


def _pass_over(source: Source, _: int) -> Iterator[Found]:
    yield Found(source.name)


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
    return files.basename(name).startswith(HIDDEN)


def _read_table(source: Source, part: int) -> Iterator[Found]:
    groups = range(count_row_groups(source.path))[part :: source.parts]
    for group in groups:
        row = 0
        for batch in read_batches(source.path, source.columns, ROWS_AT_ONCE, groups=[group]):
            for column in source.columns:
                for place, data in enumerate(files_of(batch[column])):
                    if data is not None:
                        yield Found(f"{source.name}/{group}/{column}/{row + place}", image=data)
            row += batch.num_rows


def _read_hash_table(source: Source, _: int) -> Iterator[Found]:
    row = 0
    for batch in read_batches(source.path, source.columns):
        parsers = {name: hash_parser(name, batch.schema.field(name).type) for name in source.columns}
        for values in batch.to_pylist():
            name = f"{source.name}/{row}"
            try:
                told = {key: parsers[key](value) for key, value in values.items() if value is not None}  # type: ignore[misc]
            except ValueError as error:
                raise ValueError(f"{OPTION}: {source.path}: row {row}: {error}") from None
            if told:
                yield Found(name, hashes=told)
            row += 1


def _read_hash_list(source: Source, _: int) -> Iterator[Found]:
    for number, kind, value in parse_hashes(source.path):
        yield Found(f"{source.name}/{number}", hashes={kind: value})


_READERS: Final[Mapping[Form, Callable[[Source, int], Iterator[Found]]]] = {
    Form.IMAGE: _read_image,
    Form.TAR: _read_tar,
    Form.ZIP: _read_zip,
    Form.TABLE: _read_table,
    Form.HASH_TABLE: _read_hash_table,
    Form.HASH_LIST: _read_hash_list,
    Form.OTHER: _pass_over,
}
