"""A model's scores of samples ► the score of each row of the raw indexes, and the lowest score that is good enough.

In: the tables that ``python -m clip_train score`` wrote (`pipeline.base.shard_format`), of raw tars or of finished
shards: samples are joined by their key. Out: for each raw tar, the scores of its rows; the cut of a share.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.base import files
from pipeline.base.arrays import Ints, read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.shard_format import SCORE_COLUMNS, SCORES_NAME
from pipeline.base.tables import read_table
from pipeline.sharding.stored_samples import RawGroup, cut_groups, key_words, read_group
from pipeline.steps import Step, SumUnits

_NUM_HALVES: Final = 1 << 16  # values of half a rank
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


class ScoreTables(NamedTuple):
    """Tables of scores that a worker takes together."""

    paths: tuple[str, ...]


def score_tables(folder: str) -> list[ScoreTables]:
    """The tables of a finished folder of scores.

    Raises:
        FileNotFoundError: When the folder is not finished.
    """
    names = files.read_json(closing_file(folder))["rows"]
    return [ScoreTables(paths) for paths in cut_groups([StageFolder(folder).table(name) for name in names])]


def find_cut(tables: Sequence[ScoreTables], share: float, *, working: StageFolder) -> Generator[Step, Any, float]:
    """The score that a share of all scored samples reaches, exactly; memory does not grow with their number.

    Args:
        tables: Tables of scores.
        share: Above 0, at most 1. That many samples, rounded up, reach the cut, and more only where scores tie.
        working: Where to put what is counted.

    Returns:
        A float32 number; infinity when there is no score.
    """
    high = yield from _count_ranks(tables, None, label="CountScores", output=working.file("high.npy"))
    wanted = math.ceil(share * int(high.sum()))
    if not wanted:
        return math.inf
    top, above = _find_bin(high, wanted)
    low = yield from _count_ranks(tables, top, label="CountScoresNearCut", output=working.file("low.npy"))
    rank = np.uint32(top << 16 | _find_bin(low, wanted - above)[0])
    bits = rank ^ _SIGN if rank & _SIGN else ~rank
    return float(np.asarray(bits, np.uint32).view(np.float32))


def pack_keys(source: RawGroup | ScoreTables, *, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The samples of a group, or the scores in tables, as records by bucket of their keys.

    Args:
        source: One or the other.
        buckets: How many there are.
    """
    records = _sample_records(source) if isinstance(source, RawGroup) else _score_records(source)
    return split_by_bucket(records, records["key"][:, 0], buckets)


def find_scores(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Of all records in a bucket, the samples with their scores, by group; of several scores the highest."""
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


def write_scores(_: RawGroup, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes the scores of the samples of a group: [rows] float32, nan where a row has none."""
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


def count_ranks(tables: ScoreTables, *, top: int | None) -> Ints:
    """How often each upper half of a rank comes, or each lower half below one upper half: [2 ** 16].

    Args:
        tables: Of scores.
        top: The upper half; None: upper halves are counted.
    """
    counts = np.zeros(_NUM_HALVES, np.int64)
    for path in tables.paths:
        scores = read_table(path, SCORE_COLUMNS[1:])[SCORE_COLUMNS[1]].to_numpy()
        ranks = rank_scores(scores[~np.isnan(scores)])
        halves = ranks >> _HALF if top is None else ranks[ranks >> _HALF == top] & _LOW
        counts += np.bincount(halves, minlength=_NUM_HALVES)
    return counts


def _count_ranks(
    tables: Sequence[ScoreTables], top: int | None, *, label: str, output: str
) -> Generator[Step, Any, Ints]:
    """The sums of `count_ranks` over all tables."""
    yield Step(label, SumUnits(units=tables, array_of=partial(count_ranks, top=top), size=_NUM_HALVES, output=output))
    return read_array(output)


def _find_bin(counts: Ints, wanted: int) -> tuple[int, int]:
    """The highest bin with which `wanted` are reached, counted from the top, and how many lie above it."""
    from_top = counts[::-1].cumsum()
    place = int(np.searchsorted(from_top, wanted))
    return len(counts) - 1 - place, int(from_top[place] - counts[::-1][place])


def _sample_records(group: RawGroup) -> npt.NDArray[Any]:
    keys = id_words(read_group(group, [])["pair_id"])
    records = np.empty(len(keys), _RECORD)
    records["key"], records["unit"], records["row"], records["score"] = keys, group.number, np.arange(len(keys)), np.nan
    return records


def _score_records(tables: ScoreTables) -> npt.NDArray[Any]:
    return np.concatenate([_table_records(path) for path in tables.paths], dtype=_RECORD)


def _table_records(path: str) -> npt.NDArray[Any]:
    key_column, score_column = SCORE_COLUMNS
    table = read_table(path, SCORE_COLUMNS)
    try:
        keys = key_words(table[key_column])
    except ValueError as error:
        raise ValueError(f"{path}: scores of samples that write-shards did not write ({error})") from error
    records = np.empty(len(keys), _RECORD)
    records["key"] = keys
    records["unit"], records["row"], records["score"] = _NO_UNIT, 0, table[score_column].to_numpy()
    return records
