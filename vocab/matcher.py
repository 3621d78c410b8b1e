"""Finds every query in every text of a column at once.

In: a list of queries, compiled once into a hash table; then columns of texts. Out: for each text the sorted ids of the
queries it contains, whole tokens only: `" query " in " text "` on the normalised strings (`vocab.normalize`).

The table (`vocab.matcher_table`) lies in .npy files that processes map into memory and share. Two ways of searching
give the same: compiled by numba (`vocab.matcher_compiled`), and in numpy alone (`vocab.matcher_numpy`) where compiling
does not work.
"""

import functools
import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vocab import matcher_numpy
from vocab.matcher_table import Matches, PrefixTable, build_table, text_buffers
from vocab.normalize import Normalization, join_rows

META_NAME, SLOTS_NAME, LONGER_NAME = "matcher.json", "slots.npy", "longer.npy"

Kernel = Literal["auto", "numba", "numpy"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)

_FORMAT = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Matcher:
    """A compiled list of queries; made by `compile_matcher` or `Matcher.load`.

    Attributes:
        normalization: What queries and texts go through before they are compared.
        num_queries: How many queries were compiled; ids are positions in their list.
        digest: Identifies the queries and the normalisation.
        table: The queries and their beginnings by hash.
        kernel: How texts are searched: "numba" and "numpy" find the same; "auto" is "numba" where that works.
    """

    normalization: Normalization
    num_queries: int
    digest: str
    table: PrefixTable
    kernel: Kernel = "auto"

    def match_column(self, texts: pa.Array) -> Matches:
        """Finds the queries of every text of a column of strings of any type; null counts as empty.

        Of several queries that are the same when normalised the first is found; a query without a token never is.
        """
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            texts = texts.cast(pa.large_string())
        text_buffers(texts)  # refuses offsets that would be followed out of the data
        if _is_compiled(self.kernel):
            from vocab import matcher_compiled  # late, because it loads numba and its machine code

            return matcher_compiled.match_column(texts, self.table, self.normalization)
        return matcher_numpy.match_column(texts, self.table, self.normalization.normalize_texts)

    def prepare(self) -> None:
        """Compiles what searches texts, so that processes started later find it in the cache of this machine.

        Raises:
            ValueError: When the kernel is "numba" and that does not work here.
        """
        self.match_column(pa.array([], pa.string()))

    def match_text(self, text: str) -> list[int]:
        """Finds the queries of one text."""
        ids: list[int] = self.match_column(pa.array([text], pa.large_string())).query_ids.tolist()
        return ids

    def save(self, folder: str, write_bytes: Callable[[str, bytes], None]) -> None:
        """Writes the files of the matcher into a folder; `write_bytes(path, data)` writes one."""
        for name, array in ((SLOTS_NAME, self.table.slots), (LONGER_NAME, self.table.longer)):
            buffer = io.BytesIO()
            np.save(buffer, array)
            write_bytes(f"{folder}/{name}", buffer.getvalue())
        meta = {
            "format": _FORMAT,
            "digest": self.digest,
            "normalization": asdict(self.normalization),
            "num_queries": self.num_queries,
            "multiplier": self.table.multiplier,
            "value_bits": self.table.value_bits,
        }
        write_bytes(f"{folder}/{META_NAME}", (json.dumps(meta, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str, local_path: Callable[[str], str] = str, *, kernel: Kernel = "auto") -> Self:
        """Maps a saved matcher into memory.

        Args:
            folder: Where it was saved.
            local_path: Gives the path on this machine of a file in the folder.
            kernel: How texts are searched.

        Raises:
            ValueError: When the files were written in another format.
        """
        with open(local_path(f"{folder}/{META_NAME}"), "rb") as file:
            meta = json.load(file)
        if meta["format"] != _FORMAT:
            raise ValueError(f"{folder}: matcher format {meta['format']}, not {_FORMAT}; compile the queries anew")
        slots, longer = (np.load(local_path(f"{folder}/{name}"), mmap_mode="r") for name in (SLOTS_NAME, LONGER_NAME))
        return cls(
            normalization=Normalization(**meta["normalization"]),
            num_queries=meta["num_queries"],
            digest=meta["digest"],
            table=PrefixTable(
                multiplier=meta["multiplier"],
                value_bits=meta["value_bits"],
                slots=np.asarray(slots),
                longer=np.asarray(longer),
            ),
            kernel=kernel,
        )


def compile_matcher(
    queries: Sequence[str] | pa.Array, *, normalization: Normalization | None = None, kernel: Kernel = "auto"
) -> Matcher:
    """Compiles a list of queries.

    >>> matcher = compile_matcher(["new york", "york", "new", "o"])
    >>> matcher.match_text("New York, New York")
    [0, 1, 2]
    """
    normalization = normalization or Normalization()
    normalized = normalization.normalize_queries(pa.array(queries, pa.large_string()))
    lengths = pc.binary_length(normalized).to_numpy()
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(normalization)]).encode())
    digest.update(lengths.tobytes() + join_rows(normalized, "\n"))
    ids = np.flatnonzero(lengths)
    return Matcher(
        normalization=normalization,
        num_queries=len(normalized),
        digest=digest.hexdigest(),
        table=build_table(normalized.take(pa.array(ids)), ids, len(normalized)),
        kernel=kernel,
    )


def load_kernel() -> None:
    """Loads what searches texts for all matchers of this process, and of those that are forked from it.

    One machine code serves all matchers: whether their arrays lie in files makes no difference to it.
    """
    compile_matcher(["a"]).prepare()


@functools.cache
def _is_compiled(kernel: Kernel) -> bool:
    """Whether texts are searched by compiled code; where they should be but are not, says why, once a process."""
    if kernel == "numpy":
        return False
    from vocab.kernels.compiled import find_obstacle  # late, because it loads numba

    obstacle = find_obstacle()
    if obstacle and kernel == "numba":
        raise ValueError(f"kernel numba does not work here: {obstacle}")
    if obstacle:
        logging.getLogger(__name__).warning("texts are matched by numpy, several times slower: %s", obstacle)
    return not obstacle
