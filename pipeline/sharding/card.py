"""The data card beside the shards: the funnel, the rules that were switched off, and how many pairs every query got.

Out: in ``card/``, ``query_counts.parquet`` (`CARD_QUERIES`: how many it had, was given and got) and ``funnel.json``
(counts and options of every stage, in order); beside the shards ``README.md``, filled in from ``card.md.j2``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base import files
from pipeline.base.arrays import Ints
from pipeline.base.carried_columns import Carried
from pipeline.base.drops import Counts
from pipeline.base.folders import ShardsFolder
from pipeline.base.funnel import funnel_lines
from pipeline.base.rendering import render_template
from pipeline.base.tables import read_table, write_table
from pipeline.sharding.forms import form_of, shard_patterns, splits_of
from pipeline.sharding.hugging_face import front_matter

CARD_QUERIES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("found", pa.int64(), nullable=False),  # pairs whose text holds the query
        pa.field("balanced", pa.int64(), nullable=False),  # of these selected under the cap
        pa.field("samples", pa.int64(), nullable=False),  # of these in the shards
    ]
)


class Manner(NamedTuple):
    """A rule that a stage keeps towards the sites it takes from, unless an option switches it off."""

    stage: str
    option: str
    off: bool | float  # the value that switches the rule off
    sentence: str  # what that means


MANNERS: Final = (
    Manner("extract-pairs", "noindex", False, "Pages that ask search engines to leave them out (noindex) were read."),
    Manner("fetch-images", "robots", False, "No robots.txt was read, and none obeyed."),
    Manner("fetch-images", "tdm_file", False, "No tdmrep.json was read, and none obeyed."),
    Manner("fetch-images", "respect_noindex", False, "Images whose answers say noindex or noimageindex were taken."),
    Manner("fetch-images", "allow_private", True, "Private and local addresses were asked too."),
    Manner("fetch-images", "high_ports", True, "Ports from 1024 on were asked too."),
    Manner("fetch-images", "verify_tls", False, "Certificates of servers were not verified."),
    Manner("fetch-images", "host_rate", 0, "Requests to one host were not held to a rate."),
    Manner("fetch-images", "shared_limit", 0, "Requests to the hosts of one site or address were not held to a rate."),
)


def query_table(cuts: pa.Table, samples: Ints) -> pa.Table:
    """The counts of every query, the most frequent first.

    Args:
        cuts: `CUTS`, a row for every query.
        samples: [num_queries], samples in the shards that each query keeps.
    """
    table = pa.table(
        {
            "query_id": cuts["query_id"],
            "query": cuts["query"],
            "found": cuts["count"],
            "balanced": cuts["kept"],
            "samples": samples[cuts["query_id"].to_numpy()],
        },
        CARD_QUERIES,
    )
    return table.sort_by([("found", "descending"), ("query_id", "ascending")])


def switched_off(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rules of `MANNERS` that were switched off, a sentence each, with the option and in how many runs.

    Args:
        history: What the stages before counted, with their options; of a run without options nothing is known, which is
            a sentence too.
    """
    sentences = []
    for manner in MANNERS:
        runs = [run for run in history if run["stage"] == manner.stage]
        off = [run for run in runs if _is_off(manner, run)]
        if off:
            where = f"{manner.stage}, {manner.option.replace('_', '-')}"
            sentences.append(f"{manner.sentence} ({where}; in {len(off):,} of {len(runs):,} runs)")
    unknown = sum(run["stage"] in {manner.stage for manner in MANNERS} and "options" not in run for run in history)
    return [*sentences, f"Of {unknown:,} runs of an older version it is not known."] if unknown else sentences


def _is_off(manner: Manner, run: Mapping[str, Any]) -> bool:
    """Whether a run switched a rule off; options that do not change an output are told by name."""
    value = run.get("options", {}).get(manner.option)
    return value == manner.off or manner.option in run.get("switched_off", [])


def card_text(
    queries: pa.Table, history: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], carried: Carried
) -> str:
    """The card as Markdown, with front matter for Hugging Face."""
    front = front_matter(
        suffixes=manifest["images"],
        carried=carried,
        extra=_extra_keys(history),
        samples=manifest["samples"],
        form=form_of(manifest),
        splits=splits_of(manifest),
    )
    return render_template(
        "pipeline.sharding",
        "card.md.j2",
        front=front,
        manifest=manifest,
        members=["jpg", *(["json"] if form_of(manifest).has_json else []), "txt"],
        patterns=shard_patterns(manifest),
        funnel=funnel_lines(history),
        switched_off=switched_off(history),
        queries=queries,
        with_samples=queries.filter(pc.greater(queries["samples"], 0)).num_rows,
        counts_name="card/query_counts.parquet",
        most=20,
    )


def _extra_keys(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the JSON of samples says besides what it always does, by the options that they were fetched with."""
    options = [run.get("options", {}) for run in history if run["stage"] == "fetch-images"]
    peer = any(one.get("img2dataset_names", False) for one in options)
    exif = peer or any(one.get("exif", "none") != "none" for one in options)
    return ["exif"] * exif + ["status", "error_message"] * peer


def rewrite_card(
    shards: ShardsFolder,
    *,
    before: ShardsFolder,
    manifest: Mapping[str, Any],
    carried: Carried,
    fewer: Ints,
    counts: Counts,
) -> None:
    """Writes the card anew when samples were taken out.

    Args:
        shards: Where it lies.
        before: Where it lies as it was.
        manifest: Of the shards that are left.
        carried: Columns that samples carry.
        fewer: [num_queries], by how many samples each query has fewer.
        counts: What was counted when they were taken out.
    """
    table = read_table(before.query_counts)
    history = [*files.read_json(before.funnel), {"stage": "remove", "counts": counts}]
    left = table["samples"].to_numpy() - fewer[table["query_id"].to_numpy()]
    queries = table.set_column(table.schema.get_field_index("samples"), CARD_QUERIES.field("samples"), pa.array(left))
    write_table(shards.query_counts, queries, CARD_QUERIES)
    files.write_json(shards.funnel, history)
    files.write_bytes_whole(shards.readme, card_text(queries, history, manifest, carried).encode())


def write_card(
    shards: ShardsFolder,
    *,
    manifest: Mapping[str, Any],
    carried: Carried,
    samples: Ints,
    cuts: pa.Table,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the card of a finished set of shards.

    Args:
        shards: Where to write.
        manifest: Of the shards.
        carried: Columns that samples carry.
        samples: [num_queries], samples in the shards that each query keeps.
        cuts: `CUTS`, a row for every query.
        history: What the stages before counted, in order.
    """
    queries = query_table(cuts, samples)
    write_table(shards.query_counts, queries, CARD_QUERIES)
    files.write_json(shards.funnel, list(history))
    files.write_bytes_whole(shards.readme, card_text(queries, history, manifest, carried).encode())
