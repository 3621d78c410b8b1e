"""Scores of samples, from any number of tables ► the scores of each row of the raw indexes; and the cut of a share.

In: folders of tables as ``python -m clip_train score`` and ``flag`` write them (`pipeline.base.shard_format`): a key
and any number of scores a row, of raw tars or of finished shards; samples are joined by their key. Out: for each group
of raw tars, the scores of its rows; the lowest score among a share of the best.
"""

import math
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import Ints, load_array, read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words
from pipeline.base.packed import split_by_bucket, split_by_unit
from pipeline.base.shard_format import SCORE_COLUMNS, SCORES_NAME
from pipeline.base.tables import read_schema, read_table
from pipeline.sharding.stored_samples import RawGroup, cut_groups, key_words, read_group
from pipeline.steps import Step, SumUnits

_NUM_HALVES: Final = 1 << 16  # values of half a rank
_SIGN, _HALF, _LOW = np.uint32(1 << 31), np.uint32(16), np.uint32(0xFFFF)
_NO_UNIT = -1  # of a score
_KEY, _ONLY = SCORE_COLUMNS
_NAMED: Final = re.compile(r"([^\W\d]\w*)=(.+)")

Ranks = npt.NDArray[np.uint32]


class ScoreFolder(NamedTuple):
    """A finished folder of scores.

    Attributes:
        path: Where it lies.
        columns: The columns of its tables that are scores.
        names: What they are called in conditions.
    """

    path: str
    columns: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def closing_file(self) -> str:
        """The file that closes it and says what is in it."""
        return files.join(self.path, SCORES_NAME)


class ScoreTables(NamedTuple):
    """Tables of scores that a worker takes together.

    Attributes:
        paths: Where they lie.
        columns: What is read of them.
    """

    paths: tuple[str, ...]
    columns: tuple[str, ...]


class JoinedScores(NamedTuple):
    """Scores beside the rows of raw indexes.

    Attributes:
        folder: Where those of all groups lie.
        names: What they are called.
    """

    folder: StageFolder
    names: tuple[str, ...]


def read_score_folder(given: str) -> ScoreFolder:
    """A finished folder of scores.

    Args:
        given: Its path, or ``NAME=PATH``, which gives its only score a name.

    Raises:
        FileNotFoundError: When it is not finished.
        ValueError: When a name is given and there are several scores, or there is none.
    """
    named = _NAMED.fullmatch(given)
    name, path = named.groups() if named else ("", given)
    path = path.rstrip("/")
    if not files.exists(files.join(path, SCORES_NAME)):
        raise FileNotFoundError(
            f"no finished scores in {path} (no {SCORES_NAME}); python -m clip_train score writes it, and flag"
        )
    tables = list_tables(path)
    columns = _score_columns(read_schema(tables[0])) if tables else (_ONLY,)
    if not columns:
        raise ValueError(f"scores: {given!r}: its tables hold no numbers")
    if name and len(columns) > 1:
        raise ValueError(f"scores: {given!r}: one name for several scores, {', '.join(columns)}; give the folder alone")
    return ScoreFolder(path, columns, (name,) if name else columns)


def score_tables(folder: ScoreFolder) -> list[ScoreTables]:
    """The tables of a folder of scores, some together."""
    return [ScoreTables(paths, folder.columns) for paths in cut_groups(list_tables(folder.path))]


def list_tables(path: str) -> list[str]:
    """The tables of a finished folder."""
    return [StageFolder(path).table(name) for name in files.read_json(files.join(path, SCORES_NAME))["rows"]]


def _score_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of a table that are numbers."""
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    return tuple(field.name for field in schema if any(is_kind(field.type) for is_kind in kinds))


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


def pack_keys(source: RawGroup | ScoreTables, *, number: int, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The samples of a group, or the scores in tables, as records by bucket of their keys.

    Args:
        source: One or the other.
        number: Of scores a sample.
        buckets: How many there are.
    """
    records = _sample_records(source, number) if isinstance(source, RawGroup) else _score_records(source)
    return split_by_bucket(records, records["key"][:, 0], buckets)


def find_scores(parts: Iterable[bytes], *, number: int) -> Iterator[tuple[int, bytes]]:
    """Of all records in a bucket, the samples with their scores, by group; of several of a sample the highest.

    Args:
        parts: The records.
        number: Of scores a sample.
    """
    records = np.frombuffer(b"".join(parts), score_record(number))
    is_score = records["unit"] == _NO_UNIT
    samples, scores = records[~is_score], records[is_score]
    scores = scores[np.lexsort((scores["key"][:, 1], scores["key"][:, 0]))]
    wanted, known = (np.ascontiguousarray(some["key"]).view("S16").ravel() for some in (samples, scores))
    firsts = np.flatnonzero(np.append(True, known[1:] != known[:-1])) if len(known) else np.empty(0, np.int64)
    highest = np.fmax.reduceat(scores["scores"], firsts, axis=0) if len(known) else scores["scores"]
    places = np.searchsorted(known[firsts], wanted, side="right") - 1
    matches = places >= 0
    matches[matches] = known[firsts][places[matches]] == wanted[matches]
    samples["scores"][matches] = highest[places[matches]]
    return split_by_unit(samples, samples)


def write_scores(_: RawGroup, output: str, parts: Iterable[bytes], *, number: int) -> Counts:
    """Writes the scores of the samples of a group: [rows, number] float32, nan where a row has none."""
    found = np.frombuffer(b"".join(parts), score_record(number))
    scores = np.empty((len(found), number), np.float32)
    scores[found["row"]] = found["scores"]
    write_array(output, scores)
    return {}


def joined_of(group: RawGroup, *, folder: StageFolder) -> str:
    """Where the scores of a group lie."""
    return folder.file(f"{group.name}.npy")


def read_joined(joined: JoinedScores, group: RawGroup) -> dict[str, pa.Array]:
    """The scores of the rows of a group, by name: float32, null where a row has none."""
    found = load_array(joined_of(group, folder=joined.folder))
    return {
        name: pa.array(column, pa.float32(), from_pandas=True)
        for name, column in zip(joined.names, found.T, strict=True)
    }


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
        [column] = tables.columns
        scores = _as_scores(read_table(path, [column])[column])
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


def score_record(number: int) -> np.dtype[Any]:
    """The record of a sample, or of what tables say of one.

    Args:
        number: Of scores a sample.
    """
    return np.dtype([("key", ">u8", 2), ("unit", "i4"), ("row", "i4"), ("scores", "f4", (number,))])


def _sample_records(group: RawGroup, number: int) -> npt.NDArray[Any]:
    keys = id_words(read_group(group, [])["pair_id"])
    records = np.empty(len(keys), score_record(number))
    records["key"], records["unit"], records["row"], records["scores"] = (
        keys,
        group.number,
        np.arange(len(keys)),
        np.nan,
    )
    return records


def _score_records(tables: ScoreTables) -> npt.NDArray[Any]:
    records = [_table_records(path, tables.columns) for path in tables.paths]
    return np.concatenate(records, dtype=score_record(len(tables.columns)))


def _table_records(path: str, columns: Sequence[str]) -> npt.NDArray[Any]:
    table = read_table(path, [_KEY, *columns])
    try:
        keys = key_words(table[_KEY])
    except ValueError as error:
        raise ValueError(f"{path}: scores of samples that write-shards did not write ({error})") from error
    records = np.empty(len(keys), score_record(len(columns)))
    records["key"], records["unit"], records["row"] = keys, _NO_UNIT, 0
    for place, column in enumerate(columns):
        records["scores"][:, place] = _as_scores(table[column])
    return records


def _as_scores(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Numbers of any kind as float32, nan where they are null."""
    number = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return number.cast(pa.float32(), safe=False).fill_null(math.nan).to_numpy()
