"""Compressed files in runs of bytes: every format, any offset, damage."""

import bz2
import gzip
import io
import lzma
import random
import struct
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.kernels.compressed import Compression, detect_compression, read_chunks, read_pieces

TEXT = b"".join(b"line %d of some text\n" % number for number in range(20_000))
NOISE = random.Random(0).randbytes(300_000)
COMPRESS = {
    "none": bytes,
    "bz2": bz2.compress,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
}
COMPRESSED = [kind for kind in COMPRESS if kind != "none"]


def bz2_streams(*texts):
    return [bz2.compress(text) for text in texts]


@pytest.mark.parametrize("kind", COMPRESS)
def test_every_compression_is_detected_and_read(kind):
    file = io.BytesIO(COMPRESS[kind](TEXT))
    assert detect_compression(file) == kind
    assert b"".join(read_chunks(file)) == TEXT


@pytest.mark.parametrize("kind", COMPRESSED)
def test_streams_one_behind_another_are_one_file(kind):
    file = io.BytesIO(COMPRESS[kind](TEXT) + COMPRESS[kind](b"more"))
    assert b"".join(read_chunks(file)) == TEXT + b"more"


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_file_cut_short_is_an_error(kind):
    data = COMPRESS[kind](TEXT)
    with pytest.raises(OSError, match="cut short or corrupt"):
        list(read_chunks(io.BytesIO(data[: len(data) - 5])))


@pytest.mark.parametrize("kind", COMPRESS)
def test_an_error_of_the_disk_is_no_damage_of_the_file(kind):
    class BadDisk(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(read_pieces(BadDisk(COMPRESS[kind](TEXT)), Compression(kind)))


def test_bz2_is_entered_at_the_first_stream_after_an_offset():
    streams = bz2_streams(b"one", b"two", b"three")
    file = io.BytesIO(b"".join(streams))
    second = len(streams[0])
    for start in (1, second - 1, second):
        pieces = list(read_pieces(file, Compression.BZ2, start=start))
        assert [piece.data for piece in pieces if piece.data] == [b"two", b"three"]
        assert {piece.offset for piece in pieces} == {second, second + len(streams[1])}


def test_a_corrupt_stream_is_passed_over():
    streams = bz2_streams(b"one", TEXT, b"three")
    corrupt = bytearray(streams[1])
    corrupt[len(corrupt) // 2] ^= 0xFF
    pieces = list(read_pieces(io.BytesIO(streams[0] + corrupt + streams[2]), Compression.BZ2))
    assert [(piece.offset, piece.damaged) for piece in pieces if piece.ended] == [
        (0, False),
        (len(streams[0]), True),
        (len(streams[0]) + len(corrupt), False),
    ]
    assert [piece.data for piece in pieces if piece.data] == [b"one", b"three"]


def test_a_stream_whose_start_is_destroyed_counts_as_damage_behind_the_one_before_and_its_blocks_are_read():
    streams = bz2_streams(b"one", b"two", b"three")
    file = io.BytesIO(streams[0] + b"XYZ" + streams[1][3:] + streams[2])
    pieces = list(read_pieces(file, Compression.BZ2))
    second, third = len(streams[0]), len(streams[0] + streams[1])
    ends = [(piece.offset, piece.damaged) for piece in pieces if piece.ended]
    assert ends == [(0, False), (0, True), (second + 4, False), (third, False)]
    assert [piece.data for piece in pieces if piece.data] == [b"one", b"two", b"three"]


def test_a_mark_is_found_across_the_borders_of_reads(monkeypatch):
    monkeypatch.setattr("vocab.kernels.pieces._SCAN_BYTES", 13)
    streams = bz2_streams(b"one", b"two")
    pieces = read_pieces(io.BytesIO(b"".join(streams)), Compression.BZ2, start=1)
    assert b"".join(piece.data for piece in pieces) == b"two"


def read_damaged(data):
    """The content of a file, and where there is damage in it."""
    file = io.BytesIO(data)
    pieces = list(read_pieces(file, detect_compression(file)))
    return b"".join(piece.data for piece in pieces), [piece.offset for piece in pieces if piece.damaged]


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("where", ["behind", "between"])
@pytest.mark.parametrize("size", [1, 512, 1 << 21])
def test_zero_bytes_beside_members_are_padding(kind, where, size):
    one, two = COMPRESS[kind](TEXT), COMPRESS[kind](b"more")
    data = one + two + bytes(size) if where == "behind" else one + bytes(size) + two
    assert read_damaged(data) == (TEXT + b"more", [])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
@pytest.mark.parametrize("between", [b"garbage", bytes(20) + b"\1", b"\x1f\x8b\x08", NOISE[:70_000]], ids=len)
def test_bytes_that_are_no_member_are_damage_and_cost_nothing(kind, between):
    one, two = COMPRESS[kind](TEXT), COMPRESS[kind](b"more")
    place = len(one) + len(between) - len(between.lstrip(b"\0"))
    assert read_damaged(one + between + two + between) == (
        TEXT + b"more",
        [place, place + len(between.lstrip(b"\0")) + len(two) + len(between) - len(between.lstrip(b"\0"))],
    )


@pytest.mark.parametrize("kind", COMPRESSED)
def test_empty_members_are_whole(kind):
    empty = COMPRESS[kind](b"")
    assert read_damaged(empty + COMPRESS[kind](TEXT) + empty) == (TEXT, [])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
@pytest.mark.parametrize("kept", [1, 3, 9, 11, 13])
def test_a_header_cut_short_is_damage(kind, kept):
    one, two = COMPRESS[kind](TEXT), COMPRESS[kind](NOISE)
    content, damages = read_damaged(one + two[:kept])
    assert (TEXT + NOISE).startswith(content)
    assert (content[: len(TEXT)], damages) == (TEXT, [len(one)])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
def test_a_damaged_member_costs_what_is_behind_the_damage_in_it(kind):
    members = [COMPRESS[kind](content) for content in (b"one", NOISE, b"three")]
    half = len(members[1]) // 2
    cut = members[1][:half]
    content, damages = read_damaged(members[0] + cut + b"\xff" * 2000 + members[2])
    assert content.startswith(b"one" + NOISE[:100_000])
    assert content.endswith(b"three")
    assert damages == [len(members[0])]


@pytest.mark.parametrize("behind", ["nothing", "garbage"])
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_of_a_cut_gzip_comes_all_that_can_be_decompressed(behind, share):
    data = gzip.compress(TEXT)
    cut = data[: 10 + int(share * (len(data) - 19))]
    expected = zlib.decompressobj(31).decompress(cut)
    content, damages = read_damaged(cut + (b"" if behind == "nothing" else b"\xff" * 9000))
    assert content[: len(expected)] == expected
    assert behind == "garbage" or content == expected
    assert damages == [0]


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_of_a_cut_zstd_frame_come_its_whole_blocks(share):
    data = zstandard.compress(NOISE)  # three blocks, stored
    cut = data[: 4 + int(share * (len(data) - 5))]
    content, damages = read_damaged(cut)
    assert content == NOISE[: len(cut) >> 17 << 17]
    assert damages == [0]


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_of_a_cut_xz_stream_comes_all_that_can_be_decompressed(share):
    data = lzma.compress(TEXT[:100_000])
    cut = data[: 6 + int(share * (len(data) - 7))]
    assert read_damaged(cut) == (lzma.LZMADecompressor().decompress(cut), [0])


def test_skippable_frames_of_zstd_are_passed_over():
    skippable = struct.pack("<II", 0x184D2A50, 5) + b"\x28\xb5\x2f\xfd\0"
    large = struct.pack("<II", 0x184D2A5F, 1 << 20) + bytes(1 << 20)
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
    assert read_damaged(skippable + frame + large + zstandard.compress(b"more") + skippable) == (TEXT + b"more", [])
    assert read_damaged(frame + large[:-1]) == (TEXT, [len(frame)])


def test_zstd_frames_of_every_shape_are_read():
    shapes = [
        {"write_checksum": checksum, "write_content_size": size, "level": level}
        for checksum in (False, True)
        for size in (False, True)
        for level in (1, 9)
    ]
    contents = [b"", b"x", b"y" * 300_000, TEXT, NOISE]
    frames = [zstandard.ZstdCompressor(**shape).compress(content) for shape in shapes for content in contents]
    streamed = zstandard.ZstdCompressor().compressobj()
    frames.append(streamed.compress(TEXT) + streamed.flush())
    assert read_damaged(b"".join(frames)) == (b"".join(contents) * len(shapes) + TEXT, [])


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
def test_a_wrong_checksum_is_damage(kind):
    compress = zstandard.ZstdCompressor(write_checksum=True).compress if kind == "zstd" else COMPRESS[kind]
    data = bytearray(compress(TEXT))
    data[{"gzip": -6, "zstd": -2, "xz": -20}[kind]] ^= 1
    content, damages = read_damaged(bytes(data) + COMPRESS[kind](b"more"))
    assert content.endswith(b"more")
    assert damages == [0]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz"])
def test_pieces_are_small_however_well_a_file_is_compressed(kind):
    file = io.BytesIO(COMPRESS[kind](bytes(20_000_000)))
    sizes = [len(piece.data) for piece in read_pieces(file, Compression(kind))]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize("kind", COMPRESSED)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_damage_crashes_a_reader_or_costs_a_member_it_does_not_touch(kind, data):
    contents = [TEXT[:2000], NOISE[:3000], TEXT[2000:5000]]
    members = [COMPRESS[kind](content) for content in contents]
    damaged = bytearray(members[1])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    content, _ = read_damaged(members[0] + damaged + members[2])
    assert content.startswith(contents[0])
    assert content.endswith(contents[2])
