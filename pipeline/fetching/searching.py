"""The steps that find the images of all fetch units in web archives (`pipeline.fetching.lookup` does the work).

archives ► their images ► best answers by hash of the URL ◄ rounds of asking ◄ plans
                                    └► records of every fetch unit
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pipeline.base.folders import RawFolder, StageFolder
from pipeline.fetching.answers import MAX_REDIRECTS
from pipeline.fetching.grouped_rows import join_tables
from pipeline.fetching.lookup import (
    PACKED_ANSWER_BYTES,
    PACKED_ASKED_BYTES,
    ask_elsewhere,
    ask_for_plans,
    bucket_table,
    find_answers,
    index_archive,
    num_buckets,
    route_answers,
    route_found,
    write_answers,
    write_records,
)
from pipeline.fetching.planning import UnitGroup
from pipeline.steps import GroupPacked, MapUnits, Packed, Step


class Planned(NamedTuple):
    """Plans that are there.

    Attributes:
        plans: Folder of the plans.
        groups: Their units.
        group_size: Units a group.
        num_pairs: In all plans, about.
    """

    plans: StageFolder
    groups: list[UnitGroup]
    group_size: int
    num_pairs: int


def search_archives(archives: Mapping[str, str], planned: Planned, raw: RawFolder) -> Generator[Step, Any, StageFolder]:
    """Finds the records of every fetch unit.

    Args:
        archives: Path of each archive, by its name.
        planned: What is to be found.
        raw: Where working files go.

    Returns:
        The folder with a table of `RECORDS` for every unit.
    """
    indexes, records = StageFolder(raw.working("archives")), StageFolder(raw.working("records"))
    index = MapUnits(units=list(archives.items()), output_of=partial(_index_table, indexes), work=index_archive)
    made = yield Step("IndexArchives", index)
    num_answers = sum(counts["archived_answers"] for counts in made.values())
    buckets = num_buckets(max(num_answers, planned.num_pairs))
    answers = StageFolder(raw.working("answers"))
    sort = GroupPacked(
        sources=join_tables(index.outputs, num_rows=num_answers),
        pack=partial(route_answers, buckets=buckets),
        units=range(buckets),
        output_of=partial(bucket_table, answers),
        work=write_answers,
        payload=num_answers * PACKED_ANSWER_BYTES,
    )
    yield Step("SortAnswers", sort)
    found = yield from _ask(answers, planned, raw, buckets=buckets)
    route = GroupPacked(
        sources=found,
        pack=partial(route_found, group_size=planned.group_size),
        units=planned.groups,
        output_of=partial(group_table, records),
        work=partial(write_records, records=records),
        payload=planned.num_pairs * PACKED_ANSWER_BYTES,
    )
    yield Step("RouteRecords", route)
    return records


def _ask(answers: StageFolder, planned: Planned, raw: RawFolder, *, buckets: int) -> Generator[Step, Any, list[str]]:
    """Asks for all URLs, and where they are redirected again; gives the tables of what was found."""
    found: list[str] = []
    sources: Sequence[Any] = planned.groups
    pack: Callable[[Any], Packed] = partial(ask_for_plans, plans=planned.plans, buckets=buckets)
    num_asked = planned.num_pairs
    for number in range(MAX_REDIRECTS + 1):
        find = GroupPacked(
            sources=sources,
            pack=pack,
            units=range(buckets),
            output_of=partial(bucket_table, StageFolder(raw.working(f"found-{number}"))),
            work=partial(find_answers, answers=answers),
            payload=num_asked * PACKED_ASKED_BYTES,
        )
        made = yield Step(f"FindAnswers{number}", find)
        found += find.outputs
        num_asked = sum(counts["archived_redirects"] for counts in made.values())
        if not num_asked:
            break
        sources, pack = find.outputs, partial(ask_elsewhere, buckets=buckets)
    return found


def group_table(folder: StageFolder, group: UnitGroup) -> str:
    """The table of a group of units (`GROUP`)."""
    return folder.table(f"group-{group.number:05d}")


def _index_table(folder: StageFolder, archive: tuple[str, str]) -> str:
    name, _ = archive
    return folder.table(name)
