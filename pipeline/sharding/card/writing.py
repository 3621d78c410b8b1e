"""The data card beside the shards: made when they are packed, and made anew when samples were taken out of them.

Out: the page ``card.html``, ``README.md`` and ``croissant.json``; in ``card/`` what they are made of: ``funnel.json``
(counts and options of every stage, in order), ``query_counts.parquet`` (`CARD_QUERIES`), ``values.parquet``
(`VALUE_COUNTS`), ``scores.parquet`` (`SCORE_COUNTS`) and ``about.json`` (what people say of the set, and versions). A
card follows from the indexes and tars of the shards and from these: what was removed is in none of them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.carried_columns import Carried
from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.tables import read_table, write_table
from pipeline.sharding.card.counting import SCORE_COUNTS, VALUE_COUNTS
from pipeline.sharding.card.croissant import describe_set
from pipeline.sharding.card.facts import CardFacts
from pipeline.sharding.card.options import Said
from pipeline.sharding.card.page import render_page
from pipeline.sharding.card.picking import choose_queries
from pipeline.sharding.card.pictures import cut_sheets, draw_sheet
from pipeline.sharding.card.queries import CARD_QUERIES, with_fewer
from pipeline.sharding.card.readme import render_readme
from pipeline.sharding.card.survey import Each, survey_in


def remake_card(
    shards: ShardsFolder,
    *,
    before: ShardsFolder,
    manifest: Mapping[str, Any],
    carried: Carried,
    fewer: Ints,
    counts: Counts,
    each: Each,
) -> None:
    """Makes the card anew when samples were taken out.

    Args:
        shards: The folder of the shards as they are now.
        before: Where what was told of all shards lies as it was.
        manifest: Of the shards that are left.
        carried: Columns that samples carry.
        fewer: [num_queries], by how many samples each query has fewer.
        counts: What was counted when they were taken out.
        each: `map`, or one in several processes.
    """
    queries = with_fewer(read_table(before.query_counts), fewer)
    about = files.read_json(before.about)
    names = [entry["name"] for entry in manifest["shards"]]
    survey = survey_in(each, names, shards=shards, queries=choose_queries(queries))
    sheets = each(partial(draw_sheet, folder=shards.path), cut_sheets(survey.picks))
    facts = CardFacts(
        manifest=manifest,
        carried=carried,
        queries=queries,
        history=[*files.read_json(before.funnel), {"stage": "remove", "counts": counts}],
        survey=survey,
        scores=read_table(before.score_counts),
        pictures={key: url for sheet in sheets for key, url in sheet.items()},
        said=Said(**about["said"]),
        versions=about["versions"],
        decontamination=read_decontamination(shards),
    )
    write_files(shards, facts)


def write_files(shards: ShardsFolder, facts: CardFacts) -> None:
    """Writes all files of a card."""
    write_table(shards.query_counts, facts.queries, CARD_QUERIES)
    write_table(shards.value_counts, facts.survey.values, VALUE_COUNTS)
    write_table(shards.score_counts, facts.scores, SCORE_COUNTS)
    files.write_json(shards.funnel, list(facts.history))
    files.write_json(shards.about, {"said": facts.said._asdict(), "versions": list(facts.versions)})
    croissant = describe_set(
        facts.manifest,
        carried=facts.carried,
        title=facts.title,
        license=facts.said.license,
        citation=facts.said.citation,
    )
    files.write_json(shards.croissant, croissant, sort_keys=False)
    files.write_bytes_whole(shards.readme, render_readme(facts).encode())
    files.write_bytes_whole(shards.page, render_page(facts).encode())


def read_decontamination(shards: ShardsFolder) -> list[dict[str, Any]]:
    """What became of evaluation sets; nothing where there were none."""
    return list(files.read_json(shards.decontamination)) if files.exists(shards.decontamination) else []
