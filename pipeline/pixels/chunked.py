"""Files of chunks or blocks: PNG, WebP and GIF; and BMP, which is a header and rows.

In: the bytes of a file. Out: `FileParts`, or None when the file is cut or its checksums say that it is damaged. Of what
is not the picture (texts, EXIF, XMP, times, unknown chunks, later frames, tails) the decoder sees nothing.
Source: W3C PNG (third edition) 5, 11; RFC 9649 2.6-2.7 (WebP); GIF89a 12, 15-27; BITMAPINFOHEADER, BITMAPV5HEADER.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.pixels.file_parts import UPRIGHT, FileParts, minimal_exif
from pipeline.pixels.jpeg import read_orientation

MAX_ICC_BYTES: Final = 4 << 20  # of a colour profile; those of printers have two

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_PNG_LOOKS: Final = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT", b"bKGD", b"pHYs", b"mDCV", b"cLLI"})
_PNG_MOTION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATED_BYTES: Final = 1 << 18  # at once
_WEBP_PICTURE: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_ICC, _WEBP_EXIF, _WEBP_XMP, _WEBP_ALPHA, _WEBP_MOTION = 0x20, 0x08, 0x04, 0x10, 0x02  # bits of VP8X
_HOLE: Final = bytes(256)  # what a piece of a file is that never came; a code of large flat pictures, too
_END_BYTES: Final = 64  # of a code, without which no picture can be made of it
_MAX_CHUNKS: Final = 200_000  # of a file that is looked at
_MAX_BLOCKS: Final = 1_000_000  # of a GIF file, of 255 bytes where they are full


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of the whole chunk
    data: int
    end: int  # of the data
    stop: int  # of the whole chunk


def read_png(source: bytes, *, keep_icc: bool, orientation_kept: bool) -> FileParts | None:
    """Reads the structure of a PNG file and checks the sums of what the picture is made of."""
    picture: list[bytes] = [_PNG_MAGIC]
    kept: list[bytes] = [_PNG_MAGIC]
    icc = exif = b""
    num_frames, kind = 1, b""
    view = memoryview(source)
    for chunk in _png_chunks(source):
        kind, whole = chunk.kind, source[chunk.start : chunk.stop]
        if kind in _PNG_PICTURE or not kind[0] & 0x20:  # critical ones too that nobody knows
            if not _sum_is_right(view, chunk):
                return None
            picture.append(whole)
            kept.append(whole)
            if kind == b"IHDR" and orientation_kept:
                kept.append(b"")  # place of an orientation
            if kind == b"IEND":
                break
        elif not _sum_is_right(view, chunk):
            continue
        elif kind == b"iCCP":
            icc = icc or _inflate_profile(source[chunk.data : chunk.end])
            if keep_icc:
                kept.append(whole)
        elif kind == b"eXIf":
            exif = exif or source[chunk.data : chunk.end]
        elif kind in _PNG_LOOKS or kind in _PNG_MOTION:
            kept.append(whole)
            if kind == b"acTL" and int.from_bytes(source[chunk.data : chunk.data + 4], "big") > 1:
                num_frames = 2
    if kind != b"IEND":
        return None
    if orientation_kept and len(kept) > 2 and (turn := read_orientation(exif)) != UPRIGHT:
        kept[2] = _png_chunk(b"eXIf", minimal_exif(turn))
    return FileParts(b"".join(picture), b"".join(kept), icc, exif, num_frames)


def read_webp(source: bytes, *, keep_icc: bool, orientation_kept: bool) -> FileParts | None:
    """Reads the structure of a WebP file."""
    end = 8 + int.from_bytes(source[4:8], "little")
    if end > len(source):
        return None
    first: list[bytes] = []
    kept: list[bytes] = []
    icc = exif = b""
    num_frames = 0
    for chunk in _webp_chunks(source, end):
        if chunk.end > end:
            return None
        whole = source[chunk.start : chunk.end] + bytes(chunk.end & 1 and 1)
        if chunk.kind == b"ICCP":
            icc = source[chunk.data : chunk.end][:MAX_ICC_BYTES]
            kept += [whole] if keep_icc else []
        elif chunk.kind == b"EXIF":
            exif = source[chunk.data : chunk.end].removeprefix(b"Exif\0\0")
        elif chunk.kind in _WEBP_PICTURE:
            kept.append(whole)
            num_frames += chunk.kind in (b"ANMF", b"VP8 ", b"VP8L")
            if chunk.kind != b"ANMF" or num_frames == 1:
                first.append(whole)
    if not num_frames:
        return None
    turn = read_orientation(exif) if orientation_kept else UPRIGHT
    has_flags = kept[0].startswith(b"VP8X")
    if turn != UPRIGHT and has_flags:
        kept.append(_webp_chunk(b"EXIF", minimal_exif(turn)))
    flags = _WEBP_ALPHA | _WEBP_MOTION | (_WEBP_ICC if keep_icc and icc else 0) | (_WEBP_EXIF if turn != UPRIGHT else 0)
    return FileParts(
        _webp_file(first, _WEBP_ALPHA | _WEBP_MOTION), _webp_file(kept, flags), icc, exif, min(num_frames, 2)
    )


def webp_without_end(picture: bytes) -> bytes | None:
    """A WebP file whose picture lacks its end, so that decoding it must fail; None where there is no doubt of the file.

    A decoder that comes to a hole goes on with other numbers than were meant, and either lacks some in the end, which
    is an error, or has some left, which is none to it. It is for those who doubt to try.

    Args:
        picture: A file of one picture (`FileParts.picture`); of one frame of an animation nothing is known.
    """
    chunks = list(_webp_chunks(picture, len(picture)))
    coded = [chunk for chunk in chunks if chunk.kind in (b"VP8 ", b"VP8L")]
    if len(coded) != 1 or picture.find(_HOLE, coded[0].data, coded[0].end) < 0:
        return None
    cut = _webp_chunk(coded[0].kind, picture[coded[0].data : coded[0].end - _END_BYTES])
    pieces = [cut if chunk is coded[0] else picture[chunk.start : chunk.end + (chunk.end & 1)] for chunk in chunks]
    return _webp_file(pieces, 0xFF)


def read_gif(source: bytes, *, all_frames: bool) -> FileParts | None:
    """Reads the structure of a GIF file; its first frame must be whole.

    Args:
        source: The file.
        all_frames: Whether the frames after the first are looked for, and kept.
    """
    start = place = 13 + _gif_palette_bytes(source[10])
    head, pieces, picture, num_frames, extent = source[:place], [], b"", 0, (0, 0)
    for _ in range(_MAX_BLOCKS):
        label = source[place : place + 1]
        if label == b"!":
            data, keep = place + 2, source[place + 1] == 0xF9 or source[place + 3 : place + 14] == b"NETSCAPE2.0"
        elif label == b",":
            data, keep = place + 11 + _gif_palette_bytes(source[place + 9]), True
        else:
            break  # the trailer, or nothing more that can be read
        end = _skip_blocks(source, data)
        if end is None:
            break
        if keep:
            pieces.append(source[place:end])
        place = end
        if label == b",":
            num_frames += 1
            if not picture:
                left, top, width, height = struct.unpack_from("<HHHH", pieces[-1], 1)
                extent = (left + width, top + height)
            picture = picture or head + b"".join(pieces) + b";"
            if not all_frames:
                break
    if not picture or start > len(source):
        return None
    return FileParts(picture, head + b"".join(pieces) + b";", num_frames=min(num_frames, 2), extent=extent)


def read_bmp(source: bytes) -> FileParts | None:
    """Reads where the rows of a BMP file end; what follows them is cut."""
    (offset, head, width, height) = struct.unpack_from("<IIii", source, 10)
    if head < 40:
        return FileParts(source, source)
    bits, compression, num_bytes = struct.unpack_from("<HII", source, 28)
    if compression not in (1, 2):
        num_bytes = (width * bits + 31) // 32 * 4 * abs(height)
    end = offset + num_bytes
    if width < 1 or offset < 14 + head or end > len(source):
        return None
    return FileParts(source[:end], source[:end]) if num_bytes else FileParts(source, source)


def has_all_rows(source: bytes) -> bool:
    """Whether the data of a PNG file unfold to all rows of its picture, with a right sum; what follows does not matter.

    Pillow takes what there is, and heeds no sum.
    """
    width, height, depth, colours, interlaced = struct.unpack_from(">IIBB2xB", source, 16)
    left = _png_data_bytes(width, height, depth * _PNG_CHANNELS.get(colours, 1), interlaced=bool(interlaced))
    inflator = zlib.decompressobj()
    try:
        for chunk in _png_chunks(source):
            rest = source[chunk.data : chunk.end] if chunk.kind == b"IDAT" else b""
            while rest and left > -_INFLATED_BYTES and not inflator.eof:
                left -= len(inflator.decompress(rest, _INFLATED_BYTES))
                rest = inflator.unconsumed_tail
    except zlib.error:
        return False
    return left <= 0


def is_run_length_coded(source: bytes) -> bool:
    """Whether a BMP file is of runs, which are decoded slowly."""
    return int.from_bytes(source[14:18], "little") >= 40 and source[30:34] in (b"\1\0\0\0", b"\2\0\0\0")


def _png_chunks(source: bytes) -> Iterator[_Chunk]:
    place = len(_PNG_MAGIC)
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(source[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(source):
            return
        yield _Chunk(source[place + 4 : place + 8], place, place + 8, end, end + 4)
        place = end + 4


def _sum_is_right(view: memoryview, chunk: _Chunk) -> bool:
    return zlib.crc32(view[chunk.start + 4 : chunk.end]) == int.from_bytes(view[chunk.end : chunk.stop], "big")


def _png_data_bytes(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * ((columns * bits + 7) // 8 + 1) if columns > 0 else 0
    return total


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _inflate_profile(content: bytes) -> bytes:
    """The profile of an iCCP chunk: a name, a zero, a method, zlib data; empty when it is broken or too long."""
    _, _, rest = content.partition(b"\0")
    inflator = zlib.decompressobj()
    try:
        profile = inflator.decompress(rest[1:], MAX_ICC_BYTES)
    except zlib.error:
        return b""
    return b"" if inflator.unconsumed_tail else profile


def _webp_chunks(source: bytes, end: int) -> Iterator[_Chunk]:
    place = 12
    for _ in range(_MAX_CHUNKS):
        if place + 8 > end:
            return
        stop = place + 8 + int.from_bytes(source[place + 4 : place + 8], "little")
        yield _Chunk(source[place : place + 4], place, place + 8, stop, stop)
        place = stop + (stop & 1)


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + bytes(len(content) & 1)


def _webp_file(chunks: list[bytes], flags: int) -> bytes:
    if chunks[0].startswith(b"VP8X"):
        chunks = [chunks[0][:8] + bytes((chunks[0][8] & flags | flags & (_WEBP_EXIF),)) + chunks[0][9:], *chunks[1:]]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _gif_palette_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _skip_blocks(source: bytes, place: int) -> int | None:
    """Where a run of blocks ends that starts at a place; None when it does not end."""
    for _ in range(_MAX_BLOCKS):
        if place >= len(source):
            return None
        length = source[place]
        place += length + 1
        if length == 0:
            return place
    return None
