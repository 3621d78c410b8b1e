"""What a balanced folder was made by, for those that continue from it: ``rule.json``, and the cuts."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.balancing.lots import LARGEST, Drawing, hash_queries, same_lots
from pipeline.base import files
from pipeline.base.arrays import read_array, write_array
from pipeline.base.folders import BalancedFolder, By
from pipeline.base.ids import Words
from pipeline.base.on_worker import OnWorker
from pipeline.base.tables import read_table


class Rule(NamedTuple):
    """How pairs were selected.

    Attributes:
        cap: Pairs that a query may keep in the end.
        fetch_cap: Pairs that it selects to be fetched; the same unless links are expected to be dead.
        seed: Of the lots.
        hashes: ``independent`` or ``coordinated``.
        by: What is kept (`By`): pairs, or images with their texts.
    """

    cap: int
    fetch_cap: int
    seed: int
    hashes: str
    by: str = By.PAIR

    @property
    def coordinated(self) -> bool:
        """Whether all queries draw the same lot for a pair."""
        return self.hashes == "coordinated"

    def prepare_drawing(
        self, queries: pa.ChunkedArray, folder: str, drawing: npt.NDArray[np.bool_] | None = None
    ) -> OnWorker[Drawing]:
        """Writes what lots are drawn by, for workers to open.

        Args:
            queries: All of them.
            folder: For a working file.
            drawing: [queries], whether lots are drawn for each; the others select all their pairs. None: for all.
        """
        path = files.join(folder, "query_hashes.npy")
        hashes = same_lots(len(queries))
        if not self.coordinated:
            drawing = np.ones(len(queries), np.bool_) if drawing is None else drawing
            hashes[drawing] = hash_queries(queries.filter(pa.array(drawing)))
        write_array(path, hashes)
        return OnWorker(open_drawing, self.seed, path)


def open_drawing(seed: int, query_hashes: str) -> Drawing:
    """A `Drawing` whose query hashes lie in a file."""
    return Drawing(seed=seed, query_hashes=read_array(query_hashes))


def write_rule(folder: str, rule: Rule) -> None:
    """Writes ``rule.json``."""
    content = rule._asdict()
    if rule.by == By.PAIR:
        del content["by"]  # as it was when there was nothing else
    files.write_json(BalancedFolder(folder).rule, content, sort_keys=False)


def read_rule(folder: str) -> Rule | None:
    """The rule of a folder; None where none is written."""
    path = BalancedFolder(folder).rule
    return Rule(**files.read_json(path)) if files.exists(path) else None


def finished_rule(folder: str) -> Rule:
    """The rule of a finished folder.

    Raises:
        FileNotFoundError: When there is none.
    """
    rule = read_rule(folder)
    if rule is None:
        name = files.basename(BalancedFolder(folder).rule)
        raise FileNotFoundError(f"no {name} in {folder}; is it a folder of balance-pairs?")
    return rule


def read_cuts(folder: str) -> pa.Table:
    """The cuts of a folder."""
    return read_table(BalancedFolder(folder).cuts)


def cut_words(cuts: pa.ChunkedArray) -> Words:
    """A column of cuts as numbers; null is `LARGEST`."""
    return np.asarray(cuts.fill_null(int(LARGEST)).to_numpy())


def cut_column(cuts: Words) -> pa.Array:
    """The opposite of `cut_words`."""
    return pa.array(cuts, mask=cuts == LARGEST)
