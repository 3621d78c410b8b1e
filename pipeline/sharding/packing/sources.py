"""Where the samples of a pack unit come from: local files that are read at random, and checked as they are read.

Raw tars on this machine's disks are read where they lie. Those of a store are copied first, in few requests, each byte
once, to a local temporary file, the *spool*, which holds the samples in the order in which they are packed.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.shard_format import member_name
from pipeline.base.tar import are_members, list_members
from pipeline.sharding.packing.ranges import cut_pieces, read_pieces

_MOST_OPEN: Final = 256  # files of a source: a process may have 1,024

Bytes = npt.NDArray[np.uint8]


class Source:
    """Samples of a plan, by row; use `open_source`.

    Attributes:
        plan: Rows of `SHARD_PLAN`.
        lengths: [rows], bytes of each sample.
    """

    def __init__(self, plan: pa.Table, tars: list[str], *, spool: int | None) -> None:
        """Takes them from raw tars, or from a spool.

        Args:
            plan: Rows of `SHARD_PLAN`.
            tars: Paths of the raw tars, by number.
            spool: Descriptor of a file that holds the samples, one after another; None: raw tars are local.
        """
        self._tars = tars
        self.plan = plan
        self.lengths = plan["length"].to_numpy()
        self._raws = plan["raw"].to_numpy().tolist()
        offsets = plan["offset"].to_numpy() if spool is None else np.cumsum(self.lengths) - self.lengths
        self._offsets = offsets.tolist()
        self._spool = spool
        self._open: OrderedDict[int, int] = OrderedDict()

    def read(self, first: int, last: int, buffer: Bytes) -> Ints:
        """Reads the samples of some rows, one after another.

        Args:
            first: The first row.
            last: The row behind the last.
            buffer: Where to: as long as the samples are.

        Returns:
            [rows + 1], where each begins, and where the last ends.

        Raises:
            OSError: When a raw tar does not hold what its index says.
        """
        starts = np.zeros(last - first + 1, np.int64)
        np.cumsum(self.lengths[first:last], out=starts[1:])
        places, view = starts.tolist(), buffer.data
        if self._spool is not None:
            os.preadv(self._spool, [view], self._offsets[first])
        else:
            for row, start, end in zip(range(first, last), places[:-1], places[1:], strict=True):
                raw, offset = self._raws[row], self._offsets[row]
                if os.preadv(self._descriptor(raw), [view[start:end]], offset) < end - start:
                    raise OSError(f"{self._tars[raw]} ends before byte {offset + end - start}; its index says more")
        self._check(first, starts, buffer)
        return starts

    def expect(self, first: int, last: int) -> None:
        """Has the system read the samples of some rows ahead, all at once."""
        if self._spool is None:
            for raw, offset, length in zip(
                self._raws[first:last], self._offsets[first:last], self.lengths[first:last].tolist(), strict=True
            ):
                os.posix_fadvise(self._descriptor(raw), offset, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, raw: int) -> int:
        if raw in self._open:
            self._open.move_to_end(raw)
            return self._open[raw]
        if len(self._open) == _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        descriptor = self._open[raw] = os.open(files.local_path(self._tars[raw]), os.O_RDONLY)
        return descriptor

    def _check(self, first: int, starts: Ints, buffer: Bytes) -> None:
        """Checks that the samples that were read are those that should be there: by the headers of their members."""
        rows = self.plan.slice(first, len(starts) - 1)
        prefixes = np.array([member_name(key, "") for key in rows["key"].to_pylist()], bytes)
        for row in np.flatnonzero(~are_members(buffer, starts, prefixes)).tolist():
            sample, key = buffer[starts[row] : starts[row + 1]].tobytes(), rows["key"][row].as_py()
            check_sample(sample, key, tar=self._tars[rows["raw"][row].as_py()], offset=rows["offset"][row].as_py())


def check_sample(sample: bytes, key: str, *, tar: str, offset: int) -> None:
    """Checks that some bytes of a raw tar are the members of the sample that should be there.

    Raises:
        OSError: When they are not.
    """
    try:
        names = [member.name for member in list_members(sample)]
        found = next((repr(name) for name in names if not name.startswith(member_name(key, ""))), "")
    except ValueError as error:
        found = str(error)
    if found:
        raise OSError(f"{tar}: sample {key} should be at byte {offset}, but there is {found}; is this tar another one?")


@contextmanager
def open_source(plan: pa.Table, tars: list[str]) -> Iterator[Source]:
    """Opens the samples of a plan.

    Args:
        plan: Rows of `SHARD_PLAN`.
        tars: Paths of the raw tars, by number.

    Raises:
        OSError: When a raw tar ends before a sample does.
    """
    if all(files.is_local(tars[raw]) for raw in plan["raw"].unique().to_pylist()):
        source = Source(plan, tars, spool=None)
        try:
            yield source
        finally:
            source.close()
        return
    with tempfile.TemporaryFile(prefix="wit400m-") as spool:
        spool_samples(plan, tars, spool.fileno())
        yield Source(plan, tars, spool=spool.fileno())


def spool_samples(plan: pa.Table, tars: list[str], spool: int) -> None:
    """Copies all samples of a plan, in its order, from raw tars into a file.

    Args:
        plan: Rows of `SHARD_PLAN`.
        tars: Paths of the raw tars, by number.
        spool: Descriptor of an empty file.

    Raises:
        OSError: When a raw tar ends before a sample does.
    """
    raws, offsets, lengths = (plan[name].to_numpy().astype(np.int64) for name in ("raw", "offset", "length"))
    places = np.cumsum(lengths) - lengths
    order = np.lexsort((offsets, raws))
    starts, sizes, targets = (column[order].tolist() for column in (offsets, lengths, places))
    for piece, data in read_pieces(cut_pieces(raws[order], offsets[order], lengths[order]), tars):
        view = memoryview(data)
        for row in range(piece.first, piece.last):
            start = starts[row] - piece.start
            os.pwrite(spool, view[start : start + sizes[row]], targets[row])
