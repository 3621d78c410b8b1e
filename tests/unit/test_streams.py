"""Compressed files in runs of bytes: every format, any offset, damage."""

import bz2
import gzip
import io

import pytest
import zstandard

from vocab.kernels.compressed import Compression, detect_compression, read_chunks, read_pieces

TEXT = b"".join(b"line %d of some text\n" % number for number in range(20_000))
COMPRESS = {"none": bytes, "bz2": bz2.compress, "gzip": gzip.compress, "zstd": zstandard.compress}


def bz2_streams(*texts):
    return [bz2.compress(text) for text in texts]


@pytest.mark.parametrize("kind", COMPRESS)
def test_every_compression_is_detected_and_read(kind):
    file = io.BytesIO(COMPRESS[kind](TEXT))
    assert detect_compression(file) == kind
    assert b"".join(read_chunks(file)) == TEXT


@pytest.mark.parametrize("kind", ["bz2", "gzip", "zstd"])
def test_streams_one_behind_another_are_one_file(kind):
    file = io.BytesIO(COMPRESS[kind](TEXT) + COMPRESS[kind](b"more"))
    assert b"".join(read_chunks(file)) == TEXT + b"more"


@pytest.mark.parametrize("kind", ["bz2", "gzip", "zstd"])
def test_a_file_cut_short_is_an_error(kind):
    data = COMPRESS[kind](TEXT)
    with pytest.raises(OSError, match="cut short or corrupt"):
        list(read_chunks(io.BytesIO(data[: len(data) - 5])))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
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


def test_a_stream_whose_start_is_destroyed_counts_as_damage_behind_the_one_before():
    streams = bz2_streams(b"one", b"two", b"three")
    lost = b"XYZ" + streams[1][3:]
    pieces = list(read_pieces(io.BytesIO(streams[0] + lost + streams[2]), Compression.BZ2))
    ends = [(piece.offset, piece.damaged) for piece in pieces if piece.ended]
    assert ends == [(0, False), (0, True), (len(streams[0] + lost), False)]


def test_a_mark_is_found_across_the_borders_of_reads(monkeypatch):
    monkeypatch.setattr("vocab.kernels.compressed._READ_BYTES", 13)
    streams = bz2_streams(b"one", b"two")
    pieces = read_pieces(io.BytesIO(b"".join(streams)), Compression.BZ2, start=1)
    assert b"".join(piece.data for piece in pieces) == b"two"
