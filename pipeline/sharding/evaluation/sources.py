"""Evaluation sets as they lie about ► their files, in units of work.

In: of each set a folder, at any depth, or one file: images, tars (WebDataset's or others, also compressed), zip files,
Parquet of images, or hashes. What else lies in a folder (labels, JSON) is passed over, and counted; so are hashes
beside images, since they tell of these. Out: sources and units, and the stamp that a set is recognised by.
"""

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.lineage import Stamp
from pipeline.base.tables import count_row_groups, read_schema
from pipeline.pixels.image_headers import sniff_format
from pipeline.sharding.evaluation.columns import HASHES, HEAD_BYTES, hash_parser, holds_images, parse_hashes

OPTION: Final = "write-shards: decontaminate"  # what errors name
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_TAR_NAMES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
IMAGE_NAMES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".ppm")
HIDDEN: Final = "."  # files whose names begin with it; an underscore is how cameras begin theirs
_STAMP_BYTES: Final = 1 << 14  # read of each file to recognise it, beside its size
_IMAGES_A_UNIT: Final = 500
_BYTES_A_UNIT: Final = 256 << 20


class Form(StrEnum):
    """How images or hashes lie in a file."""

    IMAGE = "image"
    TAR = "tar"
    ZIP = "zip"
    TABLE = "table"
    HASH_TABLE = "table of hashes"
    HASH_LIST = "list of hashes"
    OTHER = "other"


_SMALL: Final = frozenset({Form.IMAGE, Form.OTHER})  # many of which are read together
_HOLDERS: Final = frozenset(Form) - {Form.OTHER}


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
            raise ValueError(f"{OPTION}: {one!r}: give NAME=PATH, NAME of letters, digits and ._+-")
        sets.append(EvaluationSet(name, path.removeprefix("file://")))
    for field in EvaluationSet._fields:
        values = [getattr(one, field) for one in sets]
        if twice := {value for value in values if values.count(value) > 1}:
            raise ValueError(f"{OPTION}: the {field} {min(twice)!r} is given twice")
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
        raise FileNotFoundError(f"{OPTION}: {one.name}: no such file or folder: {one.path}")
    paths = files.expand_inputs([one.path], hidden=HIDDEN) if is_folder else [one.path]
    start = one.path.rstrip("/") + "/"
    names = [path.removeprefix(start) if is_folder else files.basename(path) for path in paths]
    forms = files.each(partial(_form_of, is_folder=is_folder), paths)
    sources = [Source(number, *three) for three in zip(paths, names, forms, strict=True)]
    try:
        sources = files.each(partial(_look_into, is_folder=is_folder), sources)
    except (ValueError, pa.ArrowInvalid) as error:
        raise ValueError(f"{OPTION}: {one.name}: {error}") from error
    holders = [source for source in sources if source.form in _HOLDERS]
    if not holders:
        raise ValueError(f"{OPTION}: {one.name}: no image, tar or table of images or hashes is in {one.path}")
    if any(source.form is not Form.HASH_TABLE for source in holders):  # hashes beside images tell of these
        return [source._replace(form=Form.OTHER) if source.form is Form.HASH_TABLE else source for source in sources]
    return sources


def _form_of(path: str, *, is_folder: bool) -> Form:
    name = files.basename(path).lower()
    if name.endswith(".parquet"):
        return Form.TABLE
    if name.endswith(_TAR_NAMES):
        return Form.TAR
    if name.endswith(".zip"):
        return Form.ZIP
    if name.endswith(IMAGE_NAMES) or sniff_format(files.read_range(path, 0, HEAD_BYTES)):
        return Form.IMAGE
    return Form.OTHER if is_folder else Form.HASH_LIST


def _look_into(source: Source, *, is_folder: bool) -> Source:
    """A source with what has to be known of its content; raises ValueError when that is wrong."""
    if source.form is Form.TABLE:
        return _look_into_table(source, is_folder=is_folder)
    if source.form is Form.HASH_LIST:
        list(parse_hashes(source.path))
    is_stream = source.form is Form.TAR and not source.name.lower().endswith(".tar")
    # Each part of an archive is looked for from its beginning, which of one in a store is a download.
    if source.form in (Form.TAR, Form.ZIP) and not is_stream and files.is_local(source.path):
        return source._replace(parts=_num_parts(source.path))
    return source


def _look_into_table(source: Source, *, is_folder: bool) -> Source:
    schema = read_schema(source.path)
    images = tuple(field.name for field in schema if holds_images(source.path, field))
    if images:
        return source._replace(parts=min(_num_parts(source.path), count_row_groups(source.path)), columns=images)
    hashes = tuple(name for name in HASHES if name in schema.names and hash_parser(name, schema.field(name).type))
    if hashes:
        return source._replace(form=Form.HASH_TABLE, columns=hashes)
    if is_folder:
        return source._replace(form=Form.OTHER)
    raise ValueError(
        f"{source.path}: no column of image bytes, nor sha256, phash or looks, among {', '.join(schema.names)}"
    )


def _num_parts(path: str) -> int:
    return max(1, -(-files.file_size(path) // _BYTES_A_UNIT))


def cut_units(sources: Sequence[Source]) -> list[SourceUnit]:
    """Units of some files: many images of a set, or a part of one other file.

    Args:
        sources: In the order of sets.
    """
    spans: list[tuple[int, int, int]] = []
    first = 0
    while first < len(sources):
        last = first + 1
        if (one := sources[first]).form in _SMALL:
            while last < min(first + _IMAGES_A_UNIT, len(sources)) and _are_alike(one, sources[last]):
                last += 1
        spans += [(first, last, part) for part in range(one.parts)]
        first = last
    return [SourceUnit(number, *span) for number, span in enumerate(spans)]


def _are_alike(one: Source, other: Source) -> bool:
    return one.number == other.number and other.form in _SMALL


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
    paths = files.expand_inputs([one.path], hidden=HIDDEN)
    digest, num_bytes = hashlib.sha256(), 0
    for path, (size, begin) in zip(paths, files.each(_begin_of, paths), strict=True):
        name = path.removeprefix(folder.rstrip("/") + "/") if folder else files.basename(path)
        digest.update(f"{name}\0{size}\0{begin}\n".encode())
        num_bytes += size
    return {"name": f"evaluation set {one.name}", "bytes": num_bytes, "digest": digest.hexdigest()}


def _begin_of(path: str) -> tuple[int, str]:
    size = files.file_size(path)
    if size <= _BYTES_A_UNIT and files.basename(path).lower().endswith(IMAGE_NAMES):
        begin = files.read_range(path, 0, min(size, _STAMP_BYTES))
        return size, hashlib.sha256(begin).hexdigest()
    return size, str(files.file_stamp(path)["digest"])
