"""What a balanced folder was made by, for those that continue from it: ``rule.json``."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.balancing.lots import LARGEST, hash_queries, same_lots
from pipeline.balancing.pool import DrawingFile
from pipeline.base import files
from pipeline.base.arrays import write_array
from pipeline.base.ids import Words
from pipeline.base.tables import read_table

CUTS_NAME: Final = "cuts.parquet"
_RULE_NAME: Final = "rule.json"


class Rule(NamedTuple):
    """How pairs were selected.

    Attributes:
        cap: Pairs that a query may keep in the end.
        fetch_cap: Pairs that it selects to be fetched; the same unless links are expected to be dead.
        seed: Of the lots.
        hashes: ``independent`` or ``coordinated``.
    """

    cap: int
    fetch_cap: int
    seed: int
    hashes: str

    @property
    def coordinated(self) -> bool:
        """Whether all queries draw the same lot for a pair."""
        return self.hashes == "coordinated"

    def prepare_drawing(self, queries: pa.ChunkedArray, folder: str) -> DrawingFile:
        """Writes what lots are drawn by."""
        path = files.join(folder, "query_hashes.npy")
        write_array(path, same_lots(len(queries)) if self.coordinated else hash_queries(queries))
        return DrawingFile(self.seed, path)


def write_rule(folder: str, rule: Rule) -> None:
    """Writes ``rule.json``."""
    content: Mapping[str, Any] = rule._asdict()
    files.write_bytes_whole(files.join(folder, _RULE_NAME), (json.dumps(content, indent=1) + "\n").encode())


def read_rule(folder: str) -> Rule | None:
    """The rule of a folder; None where none is written."""
    path = files.join(folder, _RULE_NAME)
    return Rule(**json.loads(files.read_bytes(path))) if files.exists(path) else None


def finished_rule(folder: str) -> Rule:
    """The rule of a finished folder.

    Raises:
        FileNotFoundError: When there is none.
    """
    rule = read_rule(folder)
    if rule is None:
        raise FileNotFoundError(f"no {_RULE_NAME} in {folder}; is it a folder of balance-pairs?")
    return rule


def read_cuts(folder: str) -> pa.Table:
    """The cuts of a folder."""
    return read_table(files.join(folder, CUTS_NAME))


def cut_words(cuts: pa.ChunkedArray) -> Words:
    """A column of cuts as numbers; null is `LARGEST`."""
    return np.asarray(cuts.fill_null(int(LARGEST)).to_numpy())


def cut_column(cuts: Words) -> pa.Array:
    """The opposite of `cut_words`."""
    return pa.array(cuts, mask=cuts == LARGEST)
