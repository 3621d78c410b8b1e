"""A step that brings rows together, cut into slices of its keys, for one machine whose memory holds a slice only.

In: a `GroupPacked` whose `payload` is too large. Out: steps that make the same outputs. Each slice packs all sources
again and keeps the buckets of its own, so a slice costs one more reading of the sources. What was found in the buckets
of a slice, a few bytes a row that is found, waits in a file until all slices are done.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import pyarrow as pa

from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.packed import straight_to, unit_straight
from pipeline.base.tables import read_batches, write_table
from pipeline.steps import GroupPacked, Packed, Step

_MEMORY_A_BYTE: Final = 6.0  # of payload: what Beam's local engine takes, measured (benchmarks/README.md, fetch plans)
_UNIT_BYTES: Final = 8  # of a unit's number before what was found for it
_FOUND = pa.schema([pa.field("unit", pa.int64(), nullable=False), pa.field("found", pa.binary(), nullable=False)])
_FOUND_ROWS: Final = 1024  # of that table in a batch


def num_slices(step: Step, memory: int) -> int:
    """Into how many slices a step is cut for some bytes of memory; 1: it fits, or cannot be cut."""
    transform = step.transform
    if not isinstance(transform, GroupPacked):
        return 1
    return max(1, math.ceil(transform.payload * _MEMORY_A_BYTE / memory))


def slice_step(step: Step, number: int, folder: StageFolder) -> Iterator[Step]:
    """The steps that do what a step does, one after another, each in a share of the memory.

    Args:
        step: Of a `GroupPacked`, if there is more than one slice.
        number: Of slices.
        folder: Of the stage.
    """
    transform = step.transform
    if number == 1 or not isinstance(transform, GroupPacked):
        yield step
        return
    if transform.find is None:
        for index in range(number):
            yield Step(f"{step.label}{index + 1}of{number}", _slice_of_units(transform, index, number))
        return
    name = step.label.lower()
    spills = [folder.working("slices", f"{name}-{index + 1}of{number}.parquet") for index in range(number)]
    for index, spill in enumerate(spills):
        found = GroupPacked(
            sources=transform.sources,
            pack=partial(pack_slice, pack=transform.pack, index=index, number=number),
            find=partial(find_in_slice, find=transform.find),
            units=[spill],
            output_of=str,
            work=write_found,
            payload=transform.payload // number,
        )
        yield Step(f"{step.label}{index + 1}of{number}", found)
    join = GroupPacked(
        sources=spills, pack=read_found, units=transform.units, output_of=transform.output_of, work=transform.work
    )
    yield Step(step.label, join)


def pack_slice(source: Any, *, pack: Any, index: int, number: int) -> Packed:
    """What a source packs for the buckets of a slice; a unit that something goes straight to counts as a bucket."""
    for bucket, part in pack(source):
        if bucket % number == index:
            unit = unit_straight(bucket)
            yield (bucket, part) if unit is None else (straight_to(0), _pack_found(unit, part))


def find_in_slice(parts: Iterable[bytes], *, find: Any) -> Packed:
    """What a bucket means for units, all of it for the one file of the slice."""
    return ((0, _pack_found(unit, part)) for unit, part in find(parts))


def write_found(_: str, output: str, parts: Iterable[bytes]) -> Counts:
    """Writes what was found in a slice, by unit."""
    rows = sorted((int.from_bytes(part[:_UNIT_BYTES], signed=True), part[_UNIT_BYTES:]) for part in parts)
    units, found = zip(*rows, strict=True) if rows else ((), ())
    write_table(output, pa.table([pa.array(units, pa.int64()), pa.array(found, pa.binary())], schema=_FOUND), _FOUND)
    return {}


def read_found(path: str) -> Packed:
    """What was found in a slice, by unit."""
    for batch in read_batches(path, _FOUND.names, _FOUND_ROWS):
        yield from zip(batch["unit"].to_pylist(), batch["found"].to_pylist(), strict=True)


def pack_units(source: Any, *, pack: Any, index: int, number: int) -> Packed:
    """What a source packs for the units of a slice, by their numbers in it."""
    return ((unit // number, part) for unit, part in pack(source) if unit % number == index)


def _slice_of_units(transform: GroupPacked[Any, Any], index: int, number: int) -> GroupPacked[Any, Any]:
    return GroupPacked(
        sources=transform.sources,
        pack=partial(pack_units, pack=transform.pack, index=index, number=number),
        units=transform.units[index::number],
        output_of=transform.output_of,
        work=transform.work,
        payload=transform.payload // number,
    )


def _pack_found(unit: int, part: bytes) -> bytes:
    return unit.to_bytes(_UNIT_BYTES, signed=True) + part
