"""Cuts ► the pairs they select, table by table.

In: tables of pairs; the cut of every query and the share of its pairs that it selects. Out: for each table the selected
pairs, with the queries that selected them (`kept_for`) and how likely they were to be kept (`keep_probability`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.balancing.caps import Floats, keep_probabilities, sum_products
from pipeline.balancing.lots import Drawing, select_lots
from pipeline.balancing.pool import PoolTable, pair_weights
from pipeline.base.arrays import Ints, list_column, read_array
from pipeline.base.carried_columns import Carried, with_carried
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.ids import Words
from pipeline.base.on_worker import OnWorker
from pipeline.base.schemas import BALANCED, MATCHED, PAIRS
from pipeline.base.table_groups import read_rows
from pipeline.base.tables import count_rows, open_table_writer

# Columns of few values: as numbers of these they are read, and pairs left out of them, in a fraction of the time.
_REPEATING = ("text_source", "language", "source_file")
_MIN_ROWS = 65_536  # written at a time: batches shrink, row groups need not


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What selects pairs.

    Attributes:
        drawing: What draws lots.
        cuts: [num_queries], the largest lot that each query selects.
        shares: [num_queries], the share of its pairs that each query selects.
        coordinated: Whether all queries draw the same lot for a pair.
        fetched: Cuts of an earlier round, whose pairs are passed over; None: there was none.
    """

    drawing: Drawing
    cuts: Words
    shares: Floats
    coordinated: bool
    fetched: Words | None = None


def open_selection(
    drawing: OnWorker[Drawing], *, cuts: str, shares: str, coordinated: bool, fetched: str = ""
) -> Selection:
    """A `Selection` whose arrays lie in files; an empty name: there is none."""
    return Selection(
        drawing=drawing.get(),
        cuts=read_array(cuts),
        shares=read_array(shares),
        coordinated=coordinated,
        fetched=read_array(fetched) if fetched else None,
    )


class Kept(NamedTuple):
    """What a batch of pairs comes to.

    Attributes:
        pairs: The selected ones.
        num_fetched: How many others an earlier round had selected.
        chances: How likely each pair of the batch was to be kept.
    """

    pairs: pa.RecordBatch
    num_fetched: int
    chances: Floats


def keep_selected(
    matched: pa.RecordBatch, selection: Selection, companions: npt.NDArray[np.bool_] | None = None
) -> Kept:
    """The pairs that a query selects, with the ids of those that do and the pairs' keep probabilities.

    Args:
        matched: The pairs.
        selection: What selects them.
        companions: [rows], which ones stay although no query selects them; None: none do.
    """
    rows, query_ids = select_lots(matched, selection.cuts, selection.drawing)
    lengths = np.bincount(rows, minlength=matched.num_rows)
    num_fetched = 0
    if selection.fetched is not None:
        before = np.zeros(matched.num_rows, np.bool_)
        before[select_lots(matched, selection.fetched, selection.drawing)[0]] = True
        num_fetched = int(np.count_nonzero(lengths[before]))
        query_ids = query_ids[~before[rows]]
        lengths[before] = 0
    stays = lengths > 0 if companions is None else (lengths > 0) | companions
    pairs = matched.take(pa.array(np.flatnonzero(stays)))  # cheaper than a filter where few are kept
    chances = keep_probabilities(matched["query_ids"], selection.shares, coordinated=selection.coordinated)
    columns = {
        "kept_for": list_column(lengths[stays], query_ids),
        "keep_probability": pa.array(chances[stays]).cast(pa.float32()),
    }
    return Kept(with_columns(pairs, columns), num_fetched, chances)


def with_columns(batch: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch with some columns put in, or in place of those of the same name."""
    return pa.RecordBatch.from_pydict({name: batch[name] for name in batch.schema.names} | columns)


def keep_table(table: PoolTable, target: str, *, selection: OnWorker[Selection], carried: Carried = ()) -> Counts:
    """Writes the balanced pairs of one table of matched pairs.

    Args:
        table: The pairs.
        target: Where to.
        selection: What selects pairs.
        carried: Columns that the pairs carry.

    Returns:
        Pairs with a query in, kept and dropped; how many selections keep them, and how many pairs the keep
        probabilities promise.
    """
    num_rows = num_pairs = num_fetched = num_selections = num_selected = 0
    companions = read_rows(table.companions, table.place).astype(np.int64) if table.companions else None
    expected = 0.0
    waiting: list[pa.RecordBatch] = []
    with open_table_writer(target, with_carried(BALANCED, carried)) as writer:
        for batch in table.read(
            [*PAIRS.names, *MATCHED.names, *(field.name for field in carried)], dictionaries=_REPEATING
        ):
            kept = keep_selected(batch, selection.get(), _mark_rows(companions, num_rows, batch.num_rows))
            num_selected += int(np.count_nonzero(kept.pairs["kept_for"].value_lengths()))
            waiting.append(kept.pairs)
            if sum(part.num_rows for part in waiting) >= _MIN_ROWS:
                writer.write(pa.Table.from_batches(waiting))
                waiting.clear()
            num_rows += batch.num_rows
            num_pairs += int(np.count_nonzero(batch["query_ids"].value_lengths()))
            num_fetched += kept.num_fetched
            num_selections += len(kept.pairs["kept_for"].flatten())
            expected += sum_products(kept.chances, pair_weights(batch))
        if waiting:
            writer.write(pa.Table.from_batches(waiting))
        drops = {
            DropReason.KNOWN_PAIR.value: count_rows(table.path) - num_rows,
            DropReason.FETCHED_BEFORE.value: num_fetched,
            DropReason.OVER_CAP.value: num_pairs - num_fetched - writer.num_rows,
        }
        counts = drop_counts("pairs", writer.num_rows, drops)
        writer.counts = counts | {"selections": num_selections, "expected_pairs": round(expected)}
        if companions is not None:
            writer.counts |= {"companions": writer.num_rows - num_selected}
        return writer.counts


def _mark_rows(rows: Ints | None, first: int, number: int) -> npt.NDArray[np.bool_] | None:
    """Which of so many rows of a table, from its `first`, are among some: [number]."""
    if rows is None:
        return None
    marks = np.zeros(number, np.bool_)
    marks[rows[(rows >= first) & (rows < first + number)] - first] = True
    return marks
