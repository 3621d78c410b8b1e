"""Messages by group, through files: what a shuffle does, on all workers, in the memory of one source or one group.

In: the messages of a *source*, each for a group. Out: one file a source, of which each group reads its own range, one
request a source. Messages are zstd frames (`pipeline.base.row_messages`), so that several one after another are
read as if they were one.

A file begins with the places where the groups' messages begin, `int64[groups + 1]`, little-endian, in bytes from its
start; the last is its length. Then come the messages, group by group, and in a group in the order they came.
"""

import os
import tempfile
from collections.abc import Iterable
from typing import Final

import numpy as np

from pipeline.base import files
from pipeline.base.arrays import Ints

_PLACE: Final = np.dtype("<i8")


def write_routed(path: str, messages: Iterable[tuple[int, bytes]], *, num_groups: int) -> None:
    """Writes the messages of a source, in whatever order they come, by group; none of them is held in memory.

    Args:
        path: Of the file.
        messages: Numbers of groups, each with bytes.
        num_groups: Of all groups.
    """
    numbers: list[int] = []
    sizes: list[int] = []
    with tempfile.TemporaryFile(prefix="wit400m-") as arrived:
        for group, message in messages:
            arrived.write(message)
            numbers.append(group)
            sizes.append(len(message))
        arrived.flush()
        groups, lengths = np.array(numbers, np.int64), np.array(sizes, np.int64)
        starts = np.cumsum(lengths) - lengths
        with files.write_whole(path) as file:
            file.write(_group_places(groups, lengths, num_groups).astype(_PLACE).tobytes())
            for place in np.argsort(groups, kind="stable"):
                file.write(os.pread(arrived.fileno(), int(lengths[place]), int(starts[place])))


class RoutedFiles:
    """The files of all sources. A process opens them once; it keeps 8 bytes a source and group.

    Args:
        paths: Of the files.
        num_groups: As they were written with.
    """

    def __init__(self, paths: Iterable[str], *, num_groups: int) -> None:
        self._paths = list(paths)
        self._places = np.array(files.each(lambda path: _read_places(path, num_groups), self._paths))

    def read(self, group: int) -> list[bytes]:
        """The messages of a group, those of each source in one piece, in the order of the sources."""
        ranges = [
            (path, int(places[group]), int(places[group + 1] - places[group]))
            for path, places in zip(self._paths, self._places, strict=True)
            if places[group + 1] > places[group]
        ]
        return files.each(_read_range, ranges)


def _group_places(groups: Ints, lengths: Ints, num_groups: int) -> Ints:
    sizes = np.zeros(num_groups + 1, np.int64)
    np.add.at(sizes[1:], groups, lengths)
    return _PLACE.itemsize * (num_groups + 1) + np.cumsum(sizes)


def _read_places(path: str, num_groups: int) -> Ints:
    return np.frombuffer(_read_range((path, 0, _PLACE.itemsize * (num_groups + 1))), _PLACE)


def _read_range(place: tuple[str, int, int]) -> bytes:
    path, start, length = place
    data = files.read_range(path, start, length)
    if len(data) < length:
        raise OSError(f"{path} ends before byte {start + length}, where its index says there is more")
    return data
