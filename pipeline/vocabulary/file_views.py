"""Page-view files ► the views of every title in each: the transforms of the stage build-vocab that read page views.

In: page-view files, the titles of the dumps' units. Out: `VIEWS` of every file. Of the tens of millions of titles that
people ask a large wiki for in a month, only those that the dump has are kept, so that memory goes with the dump.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, CountUnits, DropReason, UnitReport, drop_counts, report_unit
from pipeline.base.tables import read_table, write_table
from pipeline.vocabulary.unit_counts import CountTask, write_once
from vocab.known_titles import hash_titles, join_hashes
from vocab.pageviews import VIEWS, Access, count_views

KNOWN_TITLES = pa.schema([pa.field("hash", pa.uint64(), nullable=False)])


@dataclass(frozen=True, kw_only=True)
class ViewsTask:
    """A page-view file and where its sums go."""

    source: str
    path: str


@dataclass(kw_only=True, eq=False)
class HashTitles(beam.PTransform):
    """Writes the hashes of all titles of the dumps, redirects as well.

    Attributes:
        tasks: The counted units.
        output: The table to write, `KNOWN_TITLES`.
    """

    tasks: Sequence[CountTask]
    output: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        paths = [task.paths.titles for task in self.tasks]
        return (
            root
            | "Output" >> beam.Create([self.output])
            | "HashUnitTitles" >> beam.Map(_hash_titles, paths).with_output_types(UnitReport)
        )


@dataclass(kw_only=True, eq=False)
class CountViews(beam.PTransform):
    """Writes the views of every title in each page-view file.

    Attributes:
        stage_name: Namespace of the counts.
        tasks: The files.
        project: The wiki whose rows count.
        access: Which of its sites count.
        known_titles: Table of the titles to keep, `KNOWN_TITLES`; empty: all.
    """

    stage_name: str
    tasks: Sequence[ViewsTask]
    project: str
    access: Access = "all"
    known_titles: str = ""

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "ViewFiles" >> beam.Create(list(self.tasks))
            | "CountFileViews"
            >> beam.Map(_count_views, self.project, self.access, self.known_titles).with_output_types(UnitReport)
            | CountUnits(self.stage_name)
        )


def _hash_titles(output: str, paths: Sequence[str]) -> UnitReport:
    if not files.exists(output):
        hashes = join_hashes(hash_titles(read_table(path, ["title"])["title"]) for path in paths)
        write_table(output, pa.table([pa.array(hashes)], schema=KNOWN_TITLES), KNOWN_TITLES)
    return report_unit(files.basename(output), {})


def _count_views(task: ViewsTask, project: str, access: Access, known_titles: str) -> UnitReport:
    def write() -> Counts:
        known = read_table(known_titles)["hash"].to_numpy() if known_titles else None
        with files.open_for_read(task.source) as file:
            try:
                found = count_views(file, project=project, access=access, known=known)
            except OSError as error:
                raise OSError(f"{task.source}: {error}") from error
        counts = drop_counts("view_rows", found.num_rows - found.num_bad_rows, {DropReason.BAD_ROW: found.num_bad_rows})
        write_table(task.path, found.views, VIEWS, counts)
        return counts

    return write_once(task.path, write)
