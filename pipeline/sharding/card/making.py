"""The steps by which workers make the data card of shards that were just packed."""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.carried_columns import Carried
from pipeline.base.folders import ShardsFolder, StageFolder
from pipeline.base.tables import read_table
from pipeline.sharding.card.counting import SCORE_COUNTS
from pipeline.sharding.card.facts import CardFacts
from pipeline.sharding.card.options import Said
from pipeline.sharding.card.picking import choose_queries
from pipeline.sharding.card.pictures import cut_sheets, read_sheets, write_sheet
from pipeline.sharding.card.queries import query_table
from pipeline.sharding.card.scores import add_scores, write_group
from pipeline.sharding.card.survey import ShardGroup, group_shards, num_parts, pack_group, read_survey, write_bucket
from pipeline.sharding.card.writing import read_decontamination, write_files
from pipeline.sharding.selection.scores import JoinedScores
from pipeline.sharding.stored_samples import RawGroup
from pipeline.steps import GroupPacked, MapUnits, Step

_INDEX_BYTES_A_PACKED_BYTE: Final = 16  # of a shard's index those that its counts take, about

Versions = Sequence[tuple[str, Mapping[str, str]]]


def make_card(
    shards: ShardsFolder,
    *,
    manifest: Mapping[str, Any],
    carried: Carried,
    samples: Ints,
    cuts: pa.Table,
    history: Sequence[Mapping[str, Any]],
    scores: pa.Table,
    said: Said,
    versions: Versions,
) -> Generator[Step, Any, None]:
    """Steps that make the card of shards that were just packed.

    Args:
        shards: Their folder.
        manifest: Of the shards.
        carried: Columns that samples carry.
        samples: [num_queries], samples in the shards that each query keeps.
        cuts: `CUTS`, a row for every query.
        history: What the stages counted, in order, this one among them.
        scores: Of what samples were chosen by (`SCORE_COUNTS`).
        said: What people say of the set.
        versions: Of the software by which stages ran.
    """
    names = [entry["name"] for entry in manifest["shards"]]
    queries = query_table(cuts, samples)
    sizes = files.sizes(map(shards.index, names))
    survey = survey_step(names, shards=shards, queries=choose_queries(queries), payload=sum(sizes.values()))
    yield Step("SurveyShards", survey)
    surveyed = read_survey(survey.outputs)
    draw = MapUnits(
        units=cut_sheets(surveyed.picks),
        output_of=lambda sheet: shards.working("sheets", f"{sheet.number:05d}.json"),
        work=partial(write_sheet, folder=shards.path),
    )
    yield Step("DrawSamples", draw)
    facts = CardFacts(
        manifest=manifest,
        carried=carried,
        queries=queries,
        history=history,
        survey=surveyed,
        scores=scores,
        pictures=read_sheets(draw.outputs),
        said=said,
        versions=versions,
        decontamination=read_decontamination(shards),
    )
    write_files(shards, facts)


def survey_step(
    names: Sequence[str], *, shards: ShardsFolder, queries: Sequence[int], payload: int
) -> GroupPacked[ShardGroup, int]:
    """The survey as a step, whose outputs `read_survey` reads.

    Args:
        names: Of the shards.
        shards: Their folder.
        queries: Ids of the queries whose samples are shown.
        payload: Bytes of all indexes.
    """
    groups, found = group_shards(names), StageFolder(shards.working("survey"))
    return GroupPacked(
        sources=groups,
        pack=partial(pack_group, folder=shards.path, queries=queries, num_buckets=num_parts(len(groups)) - 1),
        units=range(num_parts(len(groups))),
        output_of=lambda bucket: found.table(f"{bucket:05d}"),
        work=write_bucket,
        payload=payload // _INDEX_BYTES_A_PACKED_BYTE,
    )


def survey_scores(
    groups: Sequence[RawGroup], scores: Sequence[JoinedScores], *, verdicts: StageFolder, found: StageFolder
) -> Generator[Step, Any, pa.Table]:
    """The step that counts scores, if there are any; returns their counts (`SCORE_COUNTS`).

    Args:
        groups: Of raw tars.
        scores: Of all groups.
        verdicts: Of all rules.
        found: Where the counts of groups go.
    """
    if not scores:
        return SCORE_COUNTS.empty_table()
    count = MapUnits(
        units=groups,
        output_of=lambda group: found.table(group.name),
        work=partial(write_group, scores=tuple(scores), verdicts=verdicts),
    )
    yield Step("SurveyScores", count)
    return add_scores(map(read_table, count.outputs))
