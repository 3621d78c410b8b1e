"""Raw tars ► final shards, their indexes, sizes, manifest and data card: the stage write-shards.

In: raw tars with indexes (fetch-images), the final selection among them if one was made (balance-final), a model's
scores of the samples if they are to be filtered, and the cap's cuts (balance-pairs). Out, in one folder:
``00000.tar`` with ``00000.parquet`` (`SHARD_INDEX`, in the order of the shard), ``sizes.json``, ``manifest.json`` (read
nothing that it does not name) and ``card/``. Samples are copied as byte ranges: no image is decoded, no image byte is
shuffled.
Source of the names: `pipeline.base.shard_format`.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pipeline.base import files
from pipeline.base.folders import (
    BalancedFolder,
    RawFolder,
    ShardsFolder,
    StageFolder,
    raw_units,
    table_name,
)
from pipeline.base.lineage import Kinship
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.stage_folder import history_of
from pipeline.base.tables import read_column, read_table, sum_counts
from pipeline.sharding.card import write_card
from pipeline.sharding.packing import pack_unit, write_manifest
from pipeline.sharding.scores import closing_file, find_cut, find_scores, pack_keys, score_tables, write_scores
from pipeline.sharding.selecting import (
    Duplicates,
    find_losing_rows,
    pack_samples,
    spec_shards,
    write_plan,
    write_survivors,
)
from pipeline.sharding.stored_samples import RawTar
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps


@dataclass(kw_only=True)
class WriteShards(Stage):
    """Writes WebDataset shards of equal size from raw tars, with a manifest and a data card."""

    name: ClassVar[str] = "write-shards"

    raw: tuple[str, ...] = option(
        (), "Folders of raw tars (fetch-images), of all rounds.", under_data="raw", made_by=("fetch-images",)
    )
    final: str = option(
        "",
        "Folder of the final selection (balance-final); without one all images are taken.",
        identity=False,
        made_by=("balance-final",),
    )
    balanced: str = option(
        "",
        "Folder of balanced pairs, for the data card.",
        under_data="balanced",
        made_by=("balance-pairs", "top-up-pairs"),
    )
    output: str = option("", "Folder to write.", under_data="shards")
    max_samples: int = option(10_000, "Samples a shard may hold; shards come out equal.", minimum=1)
    duplicates: Duplicates = option(
        "pair", "Of samples with the same image bytes keep one a text (pair), one at all (image), or all (keep)."
    )
    scores: str = option(
        "",
        "Folder of scores (python -m clip_train score) of the raw tars or of shards made of them before, to filter by.",
        identity=False,
    )
    min_score: float | None = option(None, "With --scores: keep what has this cosine or more.", minimum=-1, maximum=1)
    top_score_share: float | None = option(
        None, "With --scores: keep the best of all scored samples, as large a share (DataComp: 0.3).", maximum=1
    )
    group_size: int = option(128, "Raw tars whose samples are mixed in a shard.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        cuts = [self.min_score is not None, self.top_score_share is not None]
        if self.scores and sum(cuts) != 1:
            raise ValueError(f"write-shards: scores {self.scores!r} wants either min-score or top-score-share")
        if any(cuts) and not self.scores:
            raise ValueError("write-shards: min-score and top-score-share want scores, not ''")
        if self.top_score_share is not None and self.top_score_share <= 0:
            raise ValueError(f"write-shards: top-score-share must be above 0, not {self.top_score_share}")

    def inputs(self) -> list[str]:
        """The raw folders, the final selection or the balanced folder, and the scores."""
        scores = [closing_file(self.scores)] if self.scores else []
        return [*self.raw, self.final or self.balanced, *scores]

    def kin(self) -> list[Kinship]:
        """The images come from the balanced pairs, and the final selection was made among them."""
        return [Kinship(raw, self.final or self.balanced) for raw in self.raw]

    def steps(self) -> Steps:
        """Join scores, if any; select, plan, pack; then sizes, manifest and card."""
        shards = ShardsFolder(self.output)
        chosen, planned = StageFolder(shards.working("selected")), StageFolder(shards.working("plan"))
        raws, min_score = self._raw_tars(shards), self.min_score
        if self.scores:
            tables = score_tables(self.scores)
            if self.top_score_share is not None:
                min_score = find_cut(tables, self.top_score_share)
            sources: list[RawTar | str] = [*raws, *tables]
            join = GroupPacked(
                sources=sources,
                pack=pack_keys,
                find=find_scores,
                units=raws,
                output_of=lambda raw: raw.scores,
                work=write_scores,
            )
            yield Step("JoinScores", join)
        select = GroupPacked(
            sources=raws,
            pack=partial(pack_samples, duplicates=self.duplicates),
            find=find_losing_rows,
            units=raws,
            output_of=lambda raw: chosen.table(raw.name),
            work=partial(write_survivors, duplicates=self.duplicates, min_score=min_score),
        )
        yield Step("SelectSamples", select)
        selected = sorted(select.outputs)
        plan = MapUnits(
            units=spec_shards(selected, group_size=self.group_size, max_samples=self.max_samples),
            output_of=lambda spec: planned.table(f"{spec.shard_index:05d}"),
            work=write_plan,
        )
        yield Step("PlanShards", plan)
        cuts = BalancedFolder(self.final or self.balanced).cuts
        pack = MapUnits(
            units=plan.outputs,
            output_of=lambda path: shards.working("packed", f"{table_name(path)}.json"),
            work=partial(
                pack_unit,
                shards=shards,
                tars={raw.name: raw.tar for raw in raws},
                queries=OnWorker(read_column, cuts, "query") if self.final else None,
            ),
        )
        yield Step("PackShards", pack)
        yield {"shards": len(pack.units)}
        write_manifest(shards, [files.read_json(path) for path in pack.outputs])
        write_card(
            shards.card,
            indexes=[shards.table(table_name(path)) for path in plan.outputs],
            cuts=read_table(cuts),
            history=[*history_of(self), {"stage": self.name, "counts": sum_counts(selected)}],
        )

    def _raw_tars(self, shards: ShardsFolder) -> list[RawTar]:
        final = RawFolder(self.final)
        return [
            RawTar(
                number=number,
                name=unit.name,
                tar=unit.tar,
                index_file=final.index(unit.name) if self.final else unit.index_file,
                scores=shards.working("scores", f"{unit.name}.npy"),
            )
            for number, unit in enumerate(raw_units(self.raw))
        ]
