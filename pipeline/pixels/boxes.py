"""AVIF files: boxes of which some hold metadata.

In: the bytes of a file. Out: `FileParts`. Places in an AVIF file are counted from its start, so what must not be kept
is overwritten with nothing where it lies: EXIF and XMP items, and boxes that no picture needs. A tail is cut. A picture
with a hole - a piece of the file that never came, and is zeros - is refused here: decoders make something of it.
Source: ISO/IEC 14496-12 8.11 (meta, iloc, iinf), 4.2 (boxes); ISO/IEC 23008-12 A.2 (Exif item).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.pixels.file_parts import FileParts

_FILE_BOXES: Final = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"idat", b"sidx", b"styp", b"ssix"}
)
_EMPTY_BOXES: Final = frozenset({b"free", b"skip", b"uuid", b"udta", b"pdin", b"prft", b"emsg", b"wide"})
_EMPTY_EXIF: Final = b"\0\0\0\0MM\0*\0\0\0\x08"  # and zeros: what a decoder takes for EXIF data without a field
_MAX_BOXES: Final = 10_000
_MAX_EXTENTS: Final = 1_000  # of all items together; a photograph has some ten
_PICTURE_ITEM: Final = b"av01"
_HOLE: Final = bytes(512)  # the code words of AV1 have no such run: flat pictures of any size have none of eight
_METADATA_ITEMS: Final = frozenset({b"Exif", b"mime", b"uri "})


class _Box(NamedTuple):
    kind: bytes
    data: int
    end: int


class _Reader:
    """Whole numbers out of bytes, one after another."""

    def __init__(self, source: bytes, place: int) -> None:
        self._source = source
        self.place = place

    def number(self, num_bytes: int) -> int:
        if self.place + num_bytes > len(self._source):
            raise IndexError("the file ends inside a box")
        self.place += num_bytes
        return int.from_bytes(self._source[self.place - num_bytes : self.place], "big")


def read_avif(source: bytes) -> FileParts | None:
    """Reads the structure of an AVIF file."""
    kept = bytearray(source)
    end, num_frames = 0, 1
    try:
        for box in _boxes(source, 0, len(source)):
            if box.kind not in _FILE_BOXES | _EMPTY_BOXES:
                break
            if box.kind in _EMPTY_BOXES:
                kept[box.data : box.end] = bytes(box.end - box.data)
            elif box.kind == b"meta":
                for item in _items(source, box):
                    if item.end > len(source):
                        return None
                    if item.kind in _METADATA_ITEMS:
                        num_bytes = item.end - item.data
                        kept[item.data : item.end] = _EMPTY_EXIF[:num_bytes].ljust(num_bytes, b"\0")
                    elif source.find(_HOLE, item.data, item.end) >= 0:
                        return None
            elif box.kind == b"moov":
                num_frames = 2
                for inner in _boxes(source, box.data, box.end):
                    if inner.kind in _EMPTY_BOXES | {b"meta"}:
                        kept[inner.data : inner.end] = bytes(inner.end - inner.data)
            end = box.end
    except IndexError:
        return None
    return FileParts(bytes(source[:end]), bytes(kept[:end]), num_frames=num_frames) if end else None


def _boxes(source: bytes, start: int, end: int) -> Iterator[_Box]:
    place = start
    for _ in range(_MAX_BOXES):
        if place + 8 > end:
            return
        length, kind = int.from_bytes(source[place : place + 4], "big"), source[place + 4 : place + 8]
        data = place + 8
        if length == 1:
            length, data = int.from_bytes(source[place + 8 : place + 16], "big"), place + 16
        stop = end if length == 0 else place + length
        if stop < data or stop > end:
            if kind in _FILE_BOXES:
                raise IndexError("a box is cut")
            return
        yield _Box(kind, data, stop)
        place = stop


def _items(source: bytes, meta: _Box) -> list[_Box]:
    """Where in the file the items lie that tell about the picture, or are one; each piece of them."""
    inner = {box.kind: box for box in _boxes(source, meta.data + 4, meta.end)}
    if b"iinf" not in inner or b"iloc" not in inner:
        return []
    kinds = _item_kinds(source, inner[b"iinf"])
    idat = inner[b"idat"].data if b"idat" in inner else 0
    return [
        _Box(kind, *place)
        for item, places in _item_places(source, inner[b"iloc"], idat).items()
        if (kind := kinds.get(item, b"")) in _METADATA_ITEMS or kind == _PICTURE_ITEM
        for place in places
    ]


def _item_kinds(source: bytes, iinf: _Box) -> dict[int, bytes]:
    version = source[iinf.data]
    kinds = {}
    for entry in _boxes(source, iinf.data + (6 if version == 0 else 8), iinf.end):
        if entry.kind == b"infe" and source[entry.data] >= 2:
            width = 2 if source[entry.data] == 2 else 4
            reader = _Reader(source, entry.data + 4)
            item = reader.number(width)
            kinds[item] = source[reader.place + 2 : reader.place + 6]
    return kinds


def _item_places(source: bytes, iloc: _Box, idat: int) -> dict[int, list[tuple[int, int]]]:
    reader = _Reader(source, iloc.data)
    version = reader.number(1)
    reader.number(3)
    sizes = reader.number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    places: dict[int, list[tuple[int, int]]] = {}
    left = _MAX_EXTENTS
    for _ in range(min(reader.number(2 if version < 2 else 4), _MAX_BOXES)):
        item = reader.number(2 if version < 2 else 4)
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)
        base = reader.number(base_bytes) + (idat if method == 1 else 0)
        num_extents = reader.number(2)
        left -= num_extents
        if left < 0:
            raise IndexError("more places than a picture needs")
        for _ in range(num_extents):
            if version in (1, 2):
                reader.number(index_bytes)
            start = base + reader.number(offset_bytes)
            places.setdefault(item, []).append((start, start + reader.number(length_bytes)))
    return places
