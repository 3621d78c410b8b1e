"""Samples that are images of evaluation sets: they are left out, and counted for each set. A rule of selection.

In: evaluation sets (`pipeline.sharding.evaluation.sources`), and the samples of groups that stay so far. Evaluation
sets are small beside what is selected: they are read once, in units, and each worker compares its groups with an index
of them; nothing is shuffled. Out: verdicts, the hits of each group, and of all of them the report
``card/decontamination.json``: of each set a `SetReport`.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import Ints, read_array, write_array
from pipeline.base.drops import Counts, DropReason, add_counts
from pipeline.base.folders import StageFolder
from pipeline.base.lineage import Stamp
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.tables import read_table
from pipeline.pixels.images import prepare_pixels
from pipeline.sharding.evaluation.index import EvaluationIndex, open_index, write_index
from pipeline.sharding.evaluation.sets import counts_key, describe_unit, framings
from pipeline.sharding.evaluation.sources import (
    EvaluationSet,
    cut_units,
    list_sources,
    parse_sets,
    read_sources,
    stamp_set,
    write_sources,
)
from pipeline.sharding.selection.verdicts import read_candidates, verdicts_of, write_losses
from pipeline.sharding.stored_samples import RawGroup
from pipeline.steps import MapUnits, Step, SumUnits

_MOST_NAMED: Final = 10  # images of a set that the report names


@dataclass(kw_only=True)
class DecontaminationOptions:
    """What no sample may be an image of; options of a stage."""

    name: ClassVar[str] = ""  # of the stage
    decontaminate: tuple[str, ...] = option(
        (),
        "Evaluation sets, NAME=PATH: samples that are one of their images, exactly or nearly, are left out and "
        "counted. PATH is a folder of images, a tar, zip or Parquet file of them, or a table or text of hashes.",
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks names and paths; does no I/O."""
        super().__post_init__()  # type: ignore[misc]
        parse_sets(self.decontaminate)

    def evaluation_inputs(self) -> list[str]:
        """The paths of all sets; raises as `list_sources` does where there is nothing to compare with."""
        sets = parse_sets(self.decontaminate)
        list_sources(sets)
        return [one.path for one in sets]

    def evaluation_stamp(self, path: str) -> Stamp | None:
        """What the set at a path is recognised by; None where there is none."""
        return next((stamp_set(one) for one in parse_sets(self.decontaminate) if one.path == path), None)


class EvaluationSets(NamedTuple):
    """All sets, when they were read.

    Attributes:
        sets: In the order of their numbers.
        read: What was counted when they were read.
        known: Index of their images.
        images: Table of these (`EVALUATION_IMAGES`), by number.
        phash_distance: Bits by which pictures may differ from a perceptual hash that was given.
        hits: Where the sums of `count_hits` go.
    """

    sets: list[EvaluationSet]
    read: Counts
    known: OnWorker[EvaluationIndex]
    images: str
    phash_distance: int
    hits: str

    def steps(self, groups: Sequence[RawGroup], *, before: StageFolder, after: StageFolder) -> tuple[Step, Step]:
        """Judges all groups, and counts what was found.

        Args:
            groups: Of raw tars.
            before: Where the verdicts lie by the rules before.
            after: Where they go.
        """
        judge = MapUnits(
            units=groups,
            output_of=partial(verdicts_of, folder=after),
            work=partial(judge_group, before=before, index=self.known, phash_distance=self.phash_distance),
        )
        count = SumUnits(
            units=[hits_of(path) for path in judge.outputs],
            array_of=partial(count_hits, index=self.known, num_sets=len(self.sets)),
            size=2 * len(self.known.get().sets) + 2 * len(self.sets),
            output=self.hits,
        )
        return Step("FindContaminated", judge), Step("CountContaminated", count)

    def report(self) -> list["SetReport"]:
        """What became of all sets, when the steps are done."""
        images = read_table(self.images)
        return report_sets(self.sets, read=self.read, hits=read_array(self.hits), images=images)


def read_evaluation_sets(
    asked: Sequence[str],
    *,
    history: Sequence[Mapping[str, Any]],
    working: StageFolder,
    phash_distance: int,
    mirrored: bool,
) -> Generator[Any, Any, EvaluationSets]:
    """Reads evaluation sets, each image once.

    Args:
        asked: ``NAME=PATH`` each.
        history: What the stages before counted, with their options: evaluation images are framed as theirs were.
        working: A folder for what is made of them.
        phash_distance: Bits by which pictures may differ from a perceptual hash that was given.
        mirrored: Whether pictures are alike that are so in a mirror.

    Raises:
        ValueError: For a set of which nothing could be read.
    """
    sets = parse_sets(asked)
    sources = list_sources(sets)
    listing, index = working.file("sources.json"), StageFolder(working.file("index"))
    write_sources(listing, sources)
    describe = MapUnits(
        units=cut_units(sources),
        output_of=lambda unit: working.table(unit.name),
        work=partial(describe_unit, sources=OnWorker(read_sources, listing), sets=sets, framed=framings(history)),
    )
    gather = MapUnits(
        units=[describe.outputs],
        output_of=lambda _: index.table("images"),
        work=partial(write_index, folder=index),
    )
    described, _ = yield (
        Step("ReadEvaluationSets", describe, prepare=prepare_pixels),
        Step("IndexEvaluationSets", gather),
    )
    read = add_counts(*described.values())
    check_read(sets, read)
    return EvaluationSets(
        sets,
        read,
        OnWorker(open_index, index, mirrored=mirrored),
        index.table("images"),
        phash_distance,
        index.file("hits.npy"),
    )


def judge_group(
    group: RawGroup, output: str, *, before: StageFolder, index: OnWorker[EvaluationIndex], phash_distance: int
) -> Counts:
    """Writes the verdicts on a group anew, with the samples that are evaluation images; and beside them its hits.

    Args:
        group: Of raw tars.
        output: Where the verdicts go, last.
        before: Where the verdicts lie by the rules before.
        index: Of all sets.
        phash_distance: See `EvaluationIndex.find_hits`.
    """
    table, rows = read_candidates(group, ["sha256", "phash", "looks"], verdicts=before)
    hits = index.get().find_hits(table, phash_distance=phash_distance)
    hits["row"] = rows[hits["row"]]
    write_array(hits_of(output), hits)
    parts = [np.unique(hits["row"]).astype(np.int32).tobytes()]
    return write_losses(group, output, parts, before=before, reason=DropReason.CONTAMINATED)


def hits_of(verdicts: str) -> str:
    """Where the hits of a group lie, beside its verdicts."""
    return verdicts.removesuffix(".npy") + ".hits.npy"


def count_hits(path: str, *, index: OnWorker[EvaluationIndex], num_sets: int) -> Ints:
    """Samples of a group that are evaluation images.

    A sample that is exactly one image of a set, and nearly another, is an exact one of that set.

    Args:
        path: Of its hits.
        index: Of all sets.
        num_sets: How many there are.

    Returns:
        [2 * images + 2 * sets]: exact ones of each image, near ones; exact ones of each set, near ones.
    """
    hits, sets = read_array(path), index.get().sets
    counts = np.zeros(2 * len(sets) + 2 * num_sets, np.int64)
    is_near = ~hits["is_exact"]
    np.add.at(counts, hits["image"] + len(sets) * is_near, 1)
    samples = hits["row"].astype(np.int64) * num_sets + sets[hits["image"]]
    order = np.lexsort((is_near, samples))
    firsts = order[np.unique(samples[order], return_index=True)[1]]
    np.add.at(counts, 2 * len(sets) + sets[hits["image"][firsts]] + num_sets * is_near[firsts], 1)
    return counts


_COUNTED_READING: Final = ("images", "unreadable", "hashes", "other_files")


class SetReport(NamedTuple):
    """What became of a set.

    Attributes:
        name: Of the set.
        images: Images that were read.
        unreadable: Images that were not; those are known by their digests alone.
        hashes: Images that were given by their hashes.
        other_files: Files that are neither.
        exact: Samples left out whose file is one of its images.
        near: Further samples left out that look like one.
        images_hit: Its images that some sample was.
        most_hit: Of these the ones that most samples were: ``{"name": …, "samples": …}``.
    """

    name: str
    images: int
    unreadable: int
    hashes: int
    other_files: int
    exact: int
    near: int
    images_hit: int
    most_hit: list[dict[str, Any]]


def report_sets(
    sets: Sequence[EvaluationSet], *, read: Mapping[str, int], hits: Ints, images: pa.Table
) -> list[SetReport]:
    """What became of all sets.

    Args:
        sets: In the order of their numbers.
        read: What was counted when they were read.
        hits: The sums of `count_hits`.
        images: `EVALUATION_IMAGES`, by number.
    """
    numbers = images["set"].to_numpy()
    by_image = hits[: len(numbers)] + hits[len(numbers) : 2 * len(numbers)]
    exact, near = hits[2 * len(numbers) :].reshape(2, len(sets)).tolist()
    reports = []
    for number, one in enumerate(sets):
        own = np.flatnonzero((numbers == number) & (by_image > 0))
        most = own[np.argsort(-by_image[own], kind="stable")][:_MOST_NAMED]
        names = images["name"].take(pa.array(most)).to_pylist()
        named = [{"name": name, "samples": int(by_image[image])} for name, image in zip(names, most, strict=True)]
        counted = {what: read.get(counts_key(one.name, what), 0) for what in _COUNTED_READING}
        reports.append(
            SetReport(
                name=one.name,
                **counted,
                exact=exact[number],
                near=near[number],
                images_hit=len(own),
                most_hit=named,
            )
        )
    return reports


def check_read(sets: Sequence[EvaluationSet], read: Mapping[str, int]) -> None:
    """Raises ValueError for a set of which no image could be read and no hash is known: it would take out nothing."""
    for one in sets:
        if not any(read.get(counts_key(one.name, what)) for what in ("images", "hashes")):
            raise ValueError(f"write-shards: decontaminate: {one.name}: no image in {one.path} could be read")


def count_report(reports: Sequence[SetReport]) -> Counts:
    """The counts of a stage from what became of all sets."""
    return {
        counts_key(report.name, what): getattr(report, what)
        for report in reports
        for what in ("exact", "near", "images_hit")
    }


def write_report(path: str, reports: Sequence[SetReport]) -> None:
    """Writes what became of all sets: a list of `SetReport`."""
    files.write_json(path, [report._asdict() for report in reports], sort_keys=False)
