"""bz2 by compiled code and by the library: the same content, every sound block, and nothing of a damaged one."""

import bz2
import functools
import io
import os
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.kernels.bz2_blocks import BlockReader
from vocab.kernels.bz2_streams import _read_by_library, read_bz2
from vocab.kernels.compressed import read_chunks
from vocab.kernels.windows import Window


def read(data, start=0, reader="compiled"):
    """The content from an offset on, block by block; and where streams ended, and whether by damage."""
    pieces = read_all(data, start, reader)
    return [piece.data for piece in pieces if piece.data], [(p.offset, p.damaged) for p in pieces if p.ended]


def read_all(data, start, reader):
    with pytest.MonkeyPatch.context() as patch:
        if reader == "library":
            patch.setattr("vocab.kernels.compiled.find_obstacle", lambda: "nothing is compiled here")
        return list(read_bz2(Window(io.BytesIO(data)), start))


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


@pytest.mark.parametrize("reader", ["compiled", "library"])
@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize("name", CASES)
def test_content_and_end_are_those_of_what_was_compressed(name, level, reader):
    stream = bz2.compress(CASES[name], level)
    blocks, ends = read(stream + b"\0" * 9 + bz2.compress(b"behind"), reader=reader)
    assert b"".join(blocks) == CASES[name] + b"behind"
    assert [damaged for _, damaged in ends] == [False, False]
    assert ends[1][0] == len(stream) + 9


@settings(max_examples=150)
@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(1, 400)), max_size=30), st.integers(1, 9))
def test_any_content_comes_back(runs, level):
    content = b"".join(data * times for data, times in runs)
    blocks, ends = read(bz2.compress(content, level))
    assert b"".join(blocks) == content
    assert ends == [(0, False)]


@functools.cache
def stream_and_blocks():
    """A stream of three blocks, and the content of each."""
    stream = bz2.compress(TEXT[:250_000], 1)
    blocks = read(stream)[0]
    assert b"".join(blocks) == TEXT[:250_000]
    assert len(blocks) == 3
    return stream, blocks


@pytest.mark.parametrize("reader", ["compiled", "library"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_of_a_damaged_stream_come_the_sound_blocks_and_no_others(reader, data):
    stream, blocks = stream_and_blocks()
    damaged = bytearray(stream)
    damaged[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    found, ends = read(bytes(damaged), reader=reader)
    assert found == [block for block in blocks if block in found]
    lost = len(blocks) - len(found)
    assert lost <= 2  # blocks end within a byte
    assert not lost or any(is_damaged for _, is_damaged in ends)


@pytest.mark.parametrize("reader", ["compiled", "library"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_block_whose_sum_is_wrong_costs_nothing_else(number, reader):
    stream, blocks = stream_and_blocks()
    bits = int.from_bytes(stream)
    mark = [found.start() for found in re.finditer(f"{0x314159265359:048b}", f"{bits:0{8 * len(stream)}b}")][number]
    damaged = (bits ^ 1 << 8 * len(stream) - mark - 50).to_bytes(len(stream))  # a bit of its sum
    found, ends = read(damaged, reader=reader)
    assert found == blocks[:number] + blocks[number + 1 :]
    assert (mark >> 3 if number else 0, True) in ends


@pytest.mark.parametrize("reader", ["compiled", "library"])
@settings(max_examples=50, deadline=None)
@given(cut=st.integers(0, 1 << 30))
def test_of_a_stream_cut_short_come_the_whole_blocks(reader, cut):
    stream, blocks = stream_and_blocks()
    found, ends = read(stream[: cut % len(stream)], reader=reader)
    assert found == blocks[: len(found)]
    assert ends[-1][1]


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_what_follows_a_block_mark_may_be_anything(rest):
    blocks, ends = read(b"BZh91AY&SY" + rest)
    assert blocks == []
    assert ends[0] == (0, True)


FUZZ = r"""
import bz2, io, random
from vocab.kernels import bz2_blocks
from vocab.kernels.windows import Window
rng = random.Random(0)
cases = [rng.randbytes(rng.randrange(300)) for _ in range(60)]
whole = bz2.compress(b"some text, some more text, some runs of aaaaaaaaaaaaaa")[10:]
for _ in range(150):
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.choice([0, 255, rng.randrange(256)])
    cases.append(bytes(data[: rng.randrange(len(data) + 1)]))
cases.append(whole[:4] + b"\x7f\xff\xff" + whole[7:])  # the row to begin with is beyond the last

def bits(*parts):  # of a block that ends there, behind its sum
    text = "0" * 32 + "0" * 25 + "".join(parts)
    return int(text + "0" * (-len(text) % 8), 2).to_bytes(len(text) + 7 >> 3)

one_byte, all_bytes = "1" + "0" * 15 + "1" + "0" * 15, "1" * 16 + "1" * 256
cases.append(bits(one_byte, "010", "1" * 15))  # 32,767 choices, none of them there
# a symbol of one bit, as the zeros behind the end are, many times
table = "10100" + "00" + "11" * 19 + "0" + "10" * 19 + "0" * 255
cases.append(bits(all_bytes, "010", f"{99:015b}", "0" * 99, table, table))
for data in cases:
    bz2_blocks.BlockReader(Window(io.BytesIO(b"1AY&SY" + data))).read_block(0)
bz2_blocks._BLOCK_READ_BYTES = 60  # what is behind may be anything
for data in (
    bits(one_byte, "010", f"{1:015b}", "0", "00101", "1011" * 500),  # a length goes up and down without end
    bits(all_bytes, "110", f"{1:015b}", "0", *["00101" + "0" * 258] * 6),  # six tables
):
    bz2_blocks.BlockReader(Window(io.BytesIO(b"1AY&SY" + data))).read_block(0)
print("read", len(cases))
"""


def test_no_bytes_lead_out_of_the_arrays(checkout):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"}  # then numpy checks every index
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("read")


@pytest.mark.parametrize("reader", ["compiled", "library"])
def test_reading_may_begin_anywhere_and_finds_the_same(reader):
    contents = [TEXT[:250_000], b"", b"one", TEXT[:120_000]]
    data = b"".join(bz2.compress(content, 1) for content in contents)
    middle = len(data) // 3
    data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] + b"no bz2"
    whole = read_all(data, 0, reader)
    assert [piece.damaged for piece in whole if piece.ended].count(True) == 2
    starts = {piece.offset + shift for piece in whole for shift in (-1, 0, 1, 3, 4, 5, 9)}
    for start in sorted((starts | {middle, len(data), len(data) + 9}) - {-1}):
        assert read_all(data, start, reader) == [piece for piece in whole if piece.offset >= start]


def test_the_library_reads_what_was_compiled():
    stream, blocks = stream_and_blocks()
    window = Window(io.BytesIO(stream))
    first = _read_by_library(window, 32)
    assert first == BlockReader(window).read_block(32)
    assert first.content == blocks[0]
    assert b"".join(read_chunks(io.BytesIO(stream))) == b"".join(blocks)
