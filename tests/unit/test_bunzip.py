"""The compiled bz2 reader gives what the C library gives, and nothing of a damaged block."""

import bz2
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.kernels.bz2_blocks import StreamReader
from vocab.kernels.compressed import read_chunks, read_pieces


def read(data, offset=0):
    """The blocks of a stream, and the offset behind it."""
    blocks = []
    stream = StreamReader(io.BytesIO(data)).read_stream(offset)
    while True:
        try:
            blocks.append(next(stream))
        except StopIteration as end:
            return blocks, end.value


def noise(size, num_values, seed=0):
    return bytes(random.Random(seed).choices(range(num_values), k=size))


TEXT = b"".join(b"line %d of some text\n" % number for number in range(60_000))
CASES = {
    "empty": b"",
    "one-byte": b"x",
    "text": TEXT,
    "every-byte": bytes(range(256)) * 40,
    "noise": noise(300_000, 256),
    "two-values": noise(200_000, 2),
    "one-run": b"a" * 3_000_000,
    "runs-of-4-to-300": b"".join(bytes([65 + size % 7]) * size for size in range(4, 300)),
    "runs-at-the-end": b"abcaaaa",
    "period": b"ab" * 200_000,
}


@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("name", CASES)
def test_content_and_length_are_those_of_the_library(name, level):
    stream = bz2.compress(CASES[name], level)
    blocks, end = read(b"before" + stream + b"behind", offset=6)
    assert b"".join(blocks) == CASES[name]
    assert end == 6 + len(stream)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(1, 400)), max_size=30), st.integers(1, 9))
def test_any_content_comes_back(runs, level):
    content = b"".join(data * times for data, times in runs)
    blocks, end = read(bz2.compress(content, level))
    assert b"".join(blocks) == content
    assert end is not None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_gives_wrong_content(data):
    stream = bytearray(bz2.compress(TEXT[:250_000], 1))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    blocks, end = read(bytes(stream))
    whole = b"".join(blocks)
    assert TEXT[:250_000].startswith(whole)
    assert end is None or whole == TEXT[:250_000]  # the last bits of a stream mean nothing


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 30))
def test_a_stream_cut_short_is_damaged(cut):
    stream = bz2.compress(TEXT, 9)
    blocks, end = read(stream[: cut % len(stream)])
    assert end is None
    assert TEXT.startswith(b"".join(blocks))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_what_follows_a_block_mark_may_be_anything(rest):
    blocks, end = read(b"BZh91AY&SY" + rest)
    assert (blocks, end) == ([], None)


@pytest.mark.parametrize("obstacle", ["", "nothing is compiled here"], ids=["compiled", "library"])
def test_streams_are_read_alike_with_the_library(monkeypatch, obstacle):
    monkeypatch.setattr("vocab.kernels.compiled.find_obstacle", lambda: obstacle)
    streams = [bz2.compress(text) for text in (b"one", TEXT, b"", TEXT[::-1])]
    file = io.BytesIO(b"".join(streams))
    assert b"".join(read_chunks(file)) == b"one" + TEXT + TEXT[::-1]
    starts = [sum(map(len, streams[:number])) for number in range(len(streams))]
    pieces = list(read_pieces(file, "bz2"))
    assert [piece.offset for piece in pieces if piece.ended] == starts
    corrupt = bytearray(file.getvalue())
    corrupt[starts[1] + 50] ^= 0xFF
    ends = [(piece.offset, piece.damaged) for piece in read_pieces(io.BytesIO(corrupt), "bz2") if piece.ended]
    assert ends == [(start, start == starts[1]) for start in starts]
