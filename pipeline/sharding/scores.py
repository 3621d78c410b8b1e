"""A model's scores of samples ► the score of each row of the raw indexes, and the lowest score that is good enough.

In: the tables that ``python -m clip_train score`` wrote (`pipeline.base.shard_format`), of raw tars or of finished
shards: samples are joined by their key. Out: for each raw tar, rows and their scores; the cut of a share.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from pipeline.base import files
from pipeline.base.ids import id_words
from pipeline.base.shard_format import SCORE_COLUMNS, SCORES_NAME
from pipeline.base.tables import read_table
from pipeline.sharding.stored_samples import read_stored

_NUM_BUCKETS = 64
_READERS = 16  # tables read at once where only a few numbers of each are kept
_SIGN, _HALF, _LOW = np.uint32(1 << 31), np.uint32(16), np.uint32(0xFFFF)
_SAMPLE = np.dtype([("key", ">u8", 2), ("raw", "i4"), ("row", "i4")])
_SCORE = np.dtype([("key", ">u8", 2), ("score", "f4")])
_ROW_SCORE = np.dtype([("row", "i4"), ("score", "f4")])

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
    return [
        files.join(folder, f"{name}.parquet") for name in json.loads(files.read_bytes(closing_file(folder)))["rows"]
    ]


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


@dataclass(kw_only=True, eq=False)
class JoinScores(beam.PTransform):
    """Brings the scores of samples to the raw tars; at most 24 bytes a sample are shuffled.

    Attributes:
        indexes: The raw indexes; a raw tar is called by its place among them.
        tables: Tables of scores.
    """

    indexes: Sequence[str]
    tables: Sequence[str]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[(raw tar, packed rows and scores)]."""
        raws = beam.Create(list(enumerate(self.indexes))).with_output_types(tuple[int, str])
        samples = root | "ScoredIndexes" >> raws | "HashKeys" >> beam.FlatMap(_hash_keys)
        tables = beam.Create(list(self.tables)).with_output_types(str)
        scores = root | "ScoreTables" >> tables | "HashScores" >> beam.FlatMap(_hash_scores)
        return (
            {"samples": samples, "scores": scores}
            | "GroupByKeys" >> beam.CoGroupByKey()
            | "MatchScores" >> beam.FlatMap(_match_scores)
        )


def unpack_scores(packed: Iterable[bytes], num_rows: int) -> npt.NDArray[np.float32]:
    """What `JoinScores` found for a raw tar: [rows], nan where a row has no score."""
    found = np.frombuffer(b"".join(packed), _ROW_SCORE)
    scores = np.full(num_rows, np.nan, np.float32)
    scores[found["row"]] = found["score"]
    return scores


def rank_scores(scores: npt.NDArray[np.float32]) -> Ranks:
    """Whole numbers in the order of scores.

    >>> rank_scores(np.array([-1, -0.5, 0, 0.5], np.float32)).tolist()
    [1082130431, 1090519039, 2147483648, 3204448256]
    """
    bits = np.ascontiguousarray(scores).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _count_ranks(tables: Sequence[str], half: Callable[[Ranks], Ranks]) -> npt.NDArray[np.int64]:
    """How often each half rank comes: [2 ** 16]."""

    def count(table: str) -> npt.NDArray[np.int64]:
        scores = read_table(table, SCORE_COLUMNS[1:])[SCORE_COLUMNS[1]].to_numpy()
        return np.bincount(half(rank_scores(scores[~np.isnan(scores)])), minlength=1 << 16)

    with ThreadPoolExecutor(_READERS) as pool:
        return sum(pool.map(count, tables), np.zeros(1 << 16, np.int64))


def _find_bin(counts: npt.NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The highest bin with which `wanted` are reached, counted from the top, and how many lie above it."""
    from_top = counts[::-1].cumsum()
    place = int(np.searchsorted(from_top, wanted))
    return len(counts) - 1 - place, int(from_top[place] - counts[::-1][place])


def _hash_keys(raw: tuple[int, str]) -> Iterator[tuple[int, bytes]]:
    raw_index, path = raw
    keys = id_words(read_stored(path)["pair_id"])
    records = np.empty(len(keys), _SAMPLE)
    records["key"], records["raw"], records["row"] = keys, raw_index, np.arange(len(keys))
    yield from _by_bucket(records)


def _hash_scores(path: str) -> Iterator[tuple[int, bytes]]:
    key_column, score_column = SCORE_COLUMNS
    table = read_table(path, SCORE_COLUMNS)
    keys = table[key_column].to_pylist()
    if any(len(key) != 32 for key in keys):
        raise ValueError(f"{path}: scores of samples that write-shards did not write (keys of 32 digits)")
    records = np.empty(len(keys), _SCORE)
    records["key"] = np.frombuffer(bytes.fromhex("".join(keys)), ">u8").reshape(-1, 2)
    records["score"] = table[score_column].to_numpy()
    yield from _by_bucket(records)


def _by_bucket(records: npt.NDArray[np.void]) -> Iterator[tuple[int, bytes]]:
    buckets = records["key"][:, 0] % np.uint64(_NUM_BUCKETS)
    for bucket in np.unique(buckets):
        yield int(bucket), records[buckets == bucket].tobytes()


def _match_scores(bucket: tuple[int, dict[str, Any]]) -> Iterator[tuple[int, bytes]]:
    _, parts = bucket
    samples = np.frombuffer(b"".join(parts["samples"]), _SAMPLE)
    scores = np.frombuffer(b"".join(parts["scores"]), _SCORE)
    scores = scores[np.lexsort((scores["score"], scores["key"][:, 1], scores["key"][:, 0]))]
    wanted, known = (np.ascontiguousarray(records["key"]).view("S16").ravel() for records in (samples, scores))
    places = np.searchsorted(known, wanted, side="right") - 1  # of several scores of a sample, the highest
    matches = places >= 0
    matches[matches] = known[places[matches]] == wanted[matches]
    found = np.empty(int(matches.sum()), _ROW_SCORE)
    found["row"], found["score"] = samples["row"][matches], scores["score"][places[matches]]
    for raw_index in np.unique(samples["raw"][matches]):
        yield int(raw_index), found[samples["raw"][matches] == raw_index].tobytes()
