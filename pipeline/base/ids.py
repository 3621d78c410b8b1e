"""Pair ids as numbers, for numpy: the two halves of a 128-bit id sort and compare as the id does.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing).
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.uint64]


def pair_id(image_url: str, text: str) -> bytes:
    """The identity of a pair: 16 bytes that depend on its canonical image URL and its text alone.

    >>> pair_id("http://a.example/1.jpg", "a cat").hex()
    '97fbd513454384e547dd5266f10416a5'
    """
    return hashlib.blake2b(f"{image_url}\0{text}".encode(), digest_size=16).digest()


def id_words(column: pa.Array | pa.ChunkedArray) -> Words:
    """A fixed-size binary(16) column without nulls as numbers.

    Returns:
        [rows, 2] uint64, high half first: row order by (high, low) is byte order of the ids.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    data = np.frombuffer(array.buffers()[1] or b"", np.dtype(">u8"), count=2 * (array.offset + len(array)))
    return data.reshape(-1, 2)[array.offset :].astype(np.uint64)


def words_column(words: Words) -> pa.Array:
    """The opposite of `id_words`."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(words), [None, pa.py_buffer(words.astype(">u8").tobytes())]
    )


def sorted_order(words: Words) -> npt.NDArray[np.intp]:
    """The row numbers that put ids in byte order; equal ids stay as they were."""
    return np.lexsort((words[:, 1], words[:, 0]))


def id_strings(column: pa.Array) -> npt.NDArray[np.bytes_]:
    """The same column as [rows] numpy strings of 16 bytes, which sort and compare as the ids do."""
    data = np.frombuffer(column.buffers()[1] or b"", "S16", count=column.offset + len(column))
    return data[column.offset :]


def hash_texts(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """The first 64 bits of each text's blake2b: [rows]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    coded = array.dictionary_encode()
    words = [int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest()) for t in coded.dictionary.to_pylist()]
    return np.array(words, np.uint64)[coded.indices.to_numpy()]


def hash_ids(words: Words, *, seed: int) -> Words:
    """A lot for each id: 64 bits that depend on it and a seed alone.

    Args:
        words: [rows, 2], as of `id_words`.
        seed: Another one makes other lots.

    >>> hash_ids(np.array([[0, 1]], np.uint64), seed=7).tolist()
    [7091162075535606283]
    """
    return mix_words(mix_words(words[:, 0] + np.uint64(seed)) ^ words[:, 1])


def mix_words(words: Words) -> Words:
    """Scatters 64-bit words in place, and gives them; a bijection (the finalizer of SplitMix64)."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
