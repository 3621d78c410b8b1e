"""The readers of bz2, compiled and by the library, give the same content, and nothing of a damaged block."""

import bz2
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.kernels.bz2_blocks import StreamReader
from vocab.kernels.compressed import _read_by_library, read_chunks, read_pieces

READERS = {"compiled": lambda file, offset: StreamReader(file).read_stream(offset), "library": _read_by_library}


def read(data, offset=0, reader="compiled"):
    """The blocks of a stream, and the offset behind it."""
    blocks = []
    stream = READERS[reader](io.BytesIO(data), offset)
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


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("name", CASES)
def test_content_and_length_are_those_that_were_compressed(name, level, reader):
    stream = bz2.compress(CASES[name], level)
    blocks, end = read(b"before" + stream + b"behind", offset=6, reader=reader)
    assert b"".join(blocks) == CASES[name]
    assert end == 6 + len(stream)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(1, 400)), max_size=30), st.integers(1, 9))
def test_any_content_comes_back(runs, level):
    content = b"".join(data * times for data, times in runs)
    blocks, end = read(bz2.compress(content, level))
    assert b"".join(blocks) == content
    assert end is not None


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_gives_wrong_content(reader, data):
    stream = bytearray(bz2.compress(TEXT[:250_000], 1))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    blocks, end = read(bytes(stream), reader=reader)
    whole = b"".join(blocks)
    assert TEXT[:250_000].startswith(whole)
    assert end is None or whole == TEXT[:250_000]  # the last bits of a stream mean nothing


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=50)
@given(cut=st.integers(0, 1 << 30))
def test_a_stream_cut_short_is_damaged(reader, cut):
    stream = bz2.compress(TEXT, 9)
    blocks, end = read(stream[: cut % len(stream)], reader=reader)
    assert end is None
    assert TEXT.startswith(b"".join(blocks))


@settings(max_examples=100)
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


@pytest.mark.parametrize("step", [1, 256])
@pytest.mark.parametrize("reader", READERS)
def test_of_a_block_whose_sum_is_wrong_nothing_comes(monkeypatch, reader, step):
    monkeypatch.setattr("vocab.kernels.compressed._BZ2_STEP_BYTES", step)  # with 1, a step ends where a block does
    stream = bytearray(bz2.compress(TEXT[:50_000]))
    stream[10] ^= 1
    assert read(bytes(stream), reader=reader) == ([], None)
