"""A model's scores of samples ► the score of each row of the raw indexes, and the lowest score that is good enough.

In: the tables that ``python -m clip_train score`` wrote (`pipeline.base.shard_format`), of raw tars or of finished
shards: samples are joined by their key. Out: for each raw tar, the scores of its rows; the cut of a share.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.base import files
from pipeline.base.arrays import Ints, write_array
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.shard_format import SCORE_COLUMNS, SCORES_NAME
from pipeline.base.tables import read_table
from pipeline.sharding.stored_samples import NUM_BUCKETS, RawTar, read_stored

_READERS = 16  # tables read at once where only a few numbers of each are kept
_SIGN, _HALF, _LOW = np.uint32(1 << 31), np.uint32(16), np.uint32(0xFFFF)
_RECORD = np.dtype([("key", ">u8", 2), ("unit", "i4"), ("row", "i4"), ("score", "f4")])  # of a sample, or of a score
_NO_UNIT = -1  # of a score

Ranks = npt.NDArray[np.uint32]


def closing_file(folder: str) -> str:
    """The file that closes a folder of scores and says what is in it.

    Raises:
        FileNotFoundError: When the folder is not finished.
    """
    path = files.join(folder, SCORES_NAME)
    if not files.exists(path):
        raise FileNotFoundError(
            f"no finished scores in {folder} (no {SCORES_NAME}); python -m clip_train score writes it"
        )
    return path


def score_tables(folder: str) -> list[str]:
    """The tables of a finished folder of scores.

    Raises:
        FileNotFoundError: When the folder is not finished.
    """
    return [StageFolder(folder).table(name) for name in files.read_json(closing_file(folder))["rows"]]


def find_cut(tables: Sequence[str], share: float) -> float:
    """The score that a share of all scored samples reaches, exactly; memory does not grow with their number.

    Args:
        tables: Tables of scores.
        share: Above 0, at most 1. That many samples, rounded up, reach the cut, and more only where scores tie.

    Returns:
        A float32 number; infinity when there is no score.
    """
    high = _count_ranks(tables, lambda ranks: ranks >> _HALF)
    wanted = math.ceil(share * int(high.sum()))
    if not wanted:
        return math.inf
    top, above = _find_bin(high, wanted)
    low = _count_ranks(tables, lambda ranks: ranks[ranks >> _HALF == top] & _LOW)
    rank = np.uint32(top << 16 | _find_bin(low, wanted - above)[0])
    bits = rank ^ _SIGN if rank & _SIGN else ~rank
    return float(np.asarray(bits, np.uint32).view(np.float32))


def pack_keys(source: RawTar | str) -> Iterator[tuple[int, bytes]]:
    """The samples of a raw tar, or the scores in a table, as records by bucket of their keys."""
    records = _sample_records(source) if isinstance(source, RawTar) else _score_records(source)
    return split_by_bucket(records, records["key"][:, 0], NUM_BUCKETS)


def find_scores(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Of all records in a bucket, the samples with their scores, by raw tar; of several scores the highest."""
    records = np.frombuffer(b"".join(parts), _RECORD)
    is_score = records["unit"] == _NO_UNIT
    samples, scores = records[~is_score], records[is_score]
    scores = scores[np.lexsort((scores["score"], scores["key"][:, 1], scores["key"][:, 0]))]
    wanted, known = (np.ascontiguousarray(some["key"]).view("S16").ravel() for some in (samples, scores))
    places = np.searchsorted(known, wanted, side="right") - 1
    matches = places >= 0
    matches[matches] = known[places[matches]] == wanted[matches]
    samples["score"][matches] = scores["score"][places[matches]]
    return split_by_unit(samples, samples)


def write_scores(raw: RawTar, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes the scores of the samples of a raw tar: [rows] float32, nan where a row has none."""
    found = np.frombuffer(b"".join(parts), _RECORD)
    scores = np.empty(len(found), np.float32)
    scores[found["row"]] = found["score"]
    write_array(output, scores)
    return {}


def rank_scores(scores: npt.NDArray[np.float32]) -> Ranks:
    """Whole numbers in the order of scores.

    >>> rank_scores(np.array([-1, -0.5, 0, 0.5], np.float32)).tolist()
    [1082130431, 1090519039, 2147483648, 3204448256]
    """
    bits = np.ascontiguousarray(scores).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _count_ranks(tables: Sequence[str], half: Callable[[Ranks], Ranks]) -> Ints:
    """How often each half rank comes: [2 ** 16]."""

    def count(table: str) -> Ints:
        scores = read_table(table, SCORE_COLUMNS[1:])[SCORE_COLUMNS[1]].to_numpy()
        return np.bincount(half(rank_scores(scores[~np.isnan(scores)])), minlength=1 << 16)

    with ThreadPoolExecutor(_READERS) as pool:
        return sum(pool.map(count, tables), np.zeros(1 << 16, np.int64))


def _find_bin(counts: Ints, wanted: int) -> tuple[int, int]:
    """The highest bin with which `wanted` are reached, counted from the top, and how many lie above it."""
    from_top = counts[::-1].cumsum()
    place = int(np.searchsorted(from_top, wanted))
    return len(counts) - 1 - place, int(from_top[place] - counts[::-1][place])


def _sample_records(raw: RawTar) -> npt.NDArray[Any]:
    keys = id_words(read_stored(raw.index_file)["pair_id"])
    records = np.empty(len(keys), _RECORD)
    records["key"], records["unit"], records["row"], records["score"] = keys, raw.number, np.arange(len(keys)), np.nan
    return records


def _score_records(path: str) -> npt.NDArray[Any]:
    key_column, score_column = SCORE_COLUMNS
    table = read_table(path, SCORE_COLUMNS)
    keys = table[key_column].to_pylist()
    if any(len(key) != 32 for key in keys):
        raise ValueError(f"{path}: scores of samples that write-shards did not write (keys of 32 digits)")
    records = np.empty(len(keys), _RECORD)
    records["key"] = np.frombuffer(bytes.fromhex("".join(keys)), ">u8").reshape(-1, 2)
    records["unit"], records["row"], records["score"] = _NO_UNIT, 0, table[score_column].to_numpy()
    return records
