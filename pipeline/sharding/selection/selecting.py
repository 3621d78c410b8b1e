"""Raw indexes ► survivors: the samples that go into shards.

In: the index of every raw tar, and scores of samples if there are any. Out, per group of raw tars, the first verdicts
on its rows, by what each row alone says; and, when all rules have spoken, a table of its survivors in key order
(`SURVIVORS`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import Ints, load_array
from pipeline.base.carried_columns import Carried, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.folders import StageFolder
from pipeline.base.ids import id_words, sorted_order
from pipeline.base.on_worker import OnWorker
from pipeline.base.row_conditions import parse_condition
from pipeline.base.schemas import PROVENANCE, RAW_INDEX
from pipeline.base.shard_format import BOXES, UID
from pipeline.base.tables import write_table
from pipeline.sharding.packing.face_boxes import BOXES_FIELD, read_boxes
from pipeline.sharding.selection.scores import JoinedScores, read_joined
from pipeline.sharding.selection.verdicts import STAYS, Mask, count_verdicts, verdicts_of, write_verdicts
from pipeline.sharding.stored_samples import RawGroup, read_group
from pipeline.web.blocklists import Blocklists

_SHOWN: Final = (
    "key",
    "image_url",
    "text",
    *PROVENANCE,
    "query_ids",
    "kept_for",
    "keep_probability",
    "sha256",
    "phash",
)
_SIZES: Final = ("width", "height", "original_width", "original_height", "mime", "bytes")
_SHOWN_NAMES: Final = {"image_url": "url", "text": "caption"}  # as the JSON of samples has them
_OUR_NAMES: Final = {shown: ours for ours, shown in _SHOWN_NAMES.items()}
_ROW: Final = "row of the group"
_ASPECT: Final = pa.field("aspect", pa.float64())  # long over short side of the image as fetched; of conditions alone
_ASPECT_OF: Final = ("original_width", "original_height")
SURVIVORS = pa.schema(
    [
        *(RAW_INDEX.field(name) for name in (*_SHOWN, "looks", *_SIZES)),
        pa.field("raw", pa.int32(), nullable=False),  # number of the raw tar
        pa.field("offset", pa.int64(), nullable=False),  # of the sample's first tar header in it
        pa.field("length", pa.int64(), nullable=False),  # bytes of all its members, headers and padding
    ]
)


class Wanted(NamedTuple):
    """Which samples may go into shards at all, told from a row alone.

    Attributes:
        blocked: What is left out.
        where: A condition on the columns of samples, under the names of their JSON, and on scores; empty: none.
        carried: Columns that samples carry.
        scores: Of all groups.
        min_score: The lowest of the only scores that is good enough; None: `where` says what is.
    """

    blocked: OnWorker[Blocklists]
    where: str = ""
    carried: Carried = ()
    scores: tuple[JoinedScores, ...] = ()
    min_score: float | None = None

    @property
    def _score_names(self) -> list[str]:
        return [name for joined in self.scores for name in joined.names]

    @property
    def _named(self) -> tuple[str, ...]:
        return parse_condition(self.where).columns if self.where else ()

    @property
    def _carried_names(self) -> list[str]:
        return [field.name for field in self.carried]

    @property
    def columns(self) -> list[str]:
        """Of raw indexes, what must be known of a row; nothing where all are wanted."""
        named = [name for name in self._named if name not in self._score_names]
        if _ASPECT.name in named and _ASPECT.name not in self._carried_names:
            named = [*(name for name in named if name != _ASPECT.name), *_ASPECT_OF]
        asked = [_OUR_NAMES.get(name, name) for name in named]
        if self.blocked.get():
            asked += ["key", "image_url", "sha256", "phash"] + [UID] * (UID in self._carried_names)
        return list(dict.fromkeys(asked))

    def refusals(self, table: pa.Table) -> dict[DropReason, Mask]:
        """Which rows are not wanted, by reason; of several for a row the first counts.

        Args:
            table: With `columns`, and all scores, null where there is none.
        """
        found: dict[DropReason, Mask] = {}
        if self.blocked.get():
            found[DropReason.BLOCKED] = self.blocked.get().rows(table)
        if self.min_score is not None:
            [name] = self._score_names
            found[DropReason.NO_SCORE] = ~_is_known(table[name])
            found[DropReason.LOW_SCORE] = table[name].fill_null(np.inf).to_numpy() < np.float32(self.min_score)
        if self.where:
            condition = parse_condition(self.where)
            refused = ~_holds(condition.bind(condition_schema(self.carried, self._score_names)), table)
            for name in condition.columns:
                if name in self._score_names:
                    without = found.get(DropReason.NO_SCORE, np.zeros_like(refused))
                    found[DropReason.NO_SCORE] = without | refused & ~_is_known(table[name])
            found[DropReason.REFUSED_ROW] = refused
        return found


def condition_schema(carried: Carried, scores: Sequence[str] = ()) -> pa.Schema:
    """The columns that a condition on samples may name; ``aspect`` is computed, unless such a column is carried.

    Args:
        carried: Columns that samples carry.
        scores: Names of scores.
    """
    ours = [SURVIVORS.field(name) for name in (*_SHOWN, *_SIZES)]
    shown = [field.with_name(_SHOWN_NAMES.get(field.name, field.name)) for field in ours]
    shown += [_ASPECT] if _ASPECT.name not in {field.name for field in carried} else []
    return pa.schema([*shown, *carried, *(pa.field(name, pa.float32()) for name in scores)])


def judge_rows(group: RawGroup, output: str, *, wanted: Wanted) -> Counts:
    """Writes the first verdicts on a group, by what each row alone says.

    Args:
        group: Of raw tars.
        output: Where to write.
        wanted: Which samples may stay.
    """
    table = read_group(group, wanted.columns)
    for joined in wanted.scores:
        for name, column in read_joined(joined, group).items():
            table = table.append_column(name, column)
    write_verdicts(output, table.num_rows, wanted.refusals(table))
    return {}


def survivors_schema(carried: Carried, *, with_boxes: bool = False) -> pa.Schema:
    """The schema of `SURVIVORS` with what samples carry, and boxes of their faces if these are blurred."""
    return with_carried(SURVIVORS, (*carried, *([BOXES_FIELD] if with_boxes else [])))


def write_survivors(
    group: RawGroup, output: str, *, verdicts: StageFolder, carried: Carried, boxes: StageFolder | None = None
) -> Counts:
    """Writes the samples of a group that stay (`SURVIVORS`), in key order.

    Args:
        group: Of raw tars.
        output: Where to write.
        verdicts: Of all rules.
        carried: Columns that samples carry.
        boxes: Where the boxes of faces of all groups lie, if these are blurred.
    """
    schema = survivors_schema(carried, with_boxes=boxes is not None)
    found = load_array(verdicts_of(group, folder=verdicts))
    stored = [name for name in schema.names if name not in ("raw", BOXES)]
    survivors = read_group(group, stored).filter(pa.array(found == STAYS))
    if boxes is not None:
        survivors = survivors.append_column(BOXES_FIELD, read_boxes(group, folder=boxes))
    counts = drop_counts("samples", survivors.num_rows, count_verdicts(found))
    write_table(output, survivors.take(sorted_order(id_words(survivors["pair_id"]))), schema, counts)
    return counts


def _holds(condition: pc.Expression, table: pa.Table) -> Mask:
    """For which rows a condition holds, on columns under the names of samples' JSON."""
    shown = table.rename_columns([_SHOWN_NAMES.get(name, name) for name in table.column_names])
    if _ASPECT.name not in shown.column_names and all(name in shown.column_names for name in _ASPECT_OF):
        shown = shown.append_column(_ASPECT, pa.array(_aspects(*(shown[name].to_numpy() for name in _ASPECT_OF))))
    numbered = shown.append_column(_ROW, pa.array(np.arange(table.num_rows)))
    rows = np.zeros(table.num_rows, bool)
    rows[numbered.filter(condition)[_ROW].to_numpy()] = True
    return rows


def _is_known(scores: pa.ChunkedArray) -> Mask:
    return np.asarray(scores.is_valid().to_numpy(zero_copy_only=False))


def _aspects(widths: Ints, heights: Ints) -> npt.NDArray[np.float64]:
    """The long over the short side of pictures.

    >>> _aspects(np.array([300, 100]), np.array([100, 300])).tolist()
    [3.0, 3.0]
    """
    ratios: npt.NDArray[np.float64] = np.maximum(widths, heights) / np.minimum(widths, heights)
    return ratios
