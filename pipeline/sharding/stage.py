"""Raw tars ► final shards, their indexes, sizes, manifest and data card: the stage write-shards.

In: raw tars with indexes (fetch-images), the final selection among them if one was made (balance-final), a model's
scores of the samples if they are to be filtered, and the cap's cuts (balance-pairs). Out, in one folder:
``00000.tar`` with ``00000.parquet`` (`SHARD_INDEX`, in the order of the shard), ``sizes.json``, ``wids.json``, the card
(``README.md`` and ``card/``) and, last, ``manifest.json`` (read nothing that it does not name). Samples are copied as
byte ranges: no image is decoded, no image byte is shuffled.
Source of the names: `pipeline.base.shard_format`.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from pipeline.base import files
from pipeline.base.arrays import read_array
from pipeline.base.carried_columns import Carried, carried_by, with_carried
from pipeline.base.drops import add_counts
from pipeline.base.folders import BalancedFolder, RawFolder, ShardsFolder, StageFolder
from pipeline.base.lineage import Kinship
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.row_conditions import BadCondition, RowCondition, parse_condition
from pipeline.base.stage_folder import history_of
from pipeline.base.tables import read_column, read_table
from pipeline.sharding.card import write_card
from pipeline.sharding.layout import NUM_BINS, Layout, count_survivors, read_layout
from pipeline.sharding.packing import pack_unit, read_manifest, write_manifest
from pipeline.sharding.planning import route_rows, write_plan
from pipeline.sharding.scores import (
    ScoreTables,
    closing_file,
    find_cut,
    find_scores,
    pack_keys,
    score_tables,
    write_scores,
)
from pipeline.sharding.selecting import (
    SURVIVORS,
    Duplicates,
    Wanted,
    condition_schema,
    find_losing_rows,
    pack_samples,
    write_survivors,
)
from pipeline.sharding.stored_samples import RawGroup, RawTar, group_raw_tars, list_raw_tars, num_buckets
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps, SumUnits
from pipeline.web.blocklists import Blocklists, BlockOptions, list_files, load_blocklists

_INDEX_BYTES_A_RECORD_BYTE: Final = 4  # a row takes some 160 bytes of a raw index, and 40 as a record


@dataclass(kw_only=True)
class WriteShards(BlockOptions, Stage):
    """Writes WebDataset shards of equal size from raw tars, with a manifest and a data card."""

    name: ClassVar[str] = "write-shards"
    format: ClassVar[int] = Stage.format + 3

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
    max_samples: int = option(10_000, "Samples of a shard; the last may have fewer.", minimum=1)
    min_shards: int = option(
        16, "Shards to make at least, smaller ones where need be: readers want one a worker of every GPU.", minimum=1
    )
    where: str = option(
        "",
        "Only samples for which this holds, by their sizes, texts and addresses and what they carry, e.g. "
        "'original_width >= 200 and similarity >= 0.28'.",
        sparse=True,
    )
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
    shards_at_once: int = option(
        32,
        "Shards that a worker packs at once: more are fewer requests; it needs temporary disk (TMPDIR) for so many.",
        minimum=1,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        self._condition()
        cuts = [self.min_score is not None, self.top_score_share is not None]
        if self.scores and sum(cuts) != 1:
            raise ValueError(f"write-shards: scores {self.scores!r} wants either min-score or top-score-share")
        if any(cuts) and not self.scores:
            raise ValueError("write-shards: min-score and top-score-share want scores, not ''")
        if self.top_score_share is not None and self.top_score_share <= 0:
            raise ValueError(f"write-shards: top-score-share must be above 0, not {self.top_score_share}")

    def inputs(self) -> list[str]:
        """The raw folders, which must carry the same columns; the final selection or balanced folder; the scores."""
        self._check_where()
        scores = [closing_file(self.scores)] if self.scores else []
        lists = [path for _, path in list_files(self.block)]
        return [*self.raw, self.final or self.balanced, *scores, *lists]

    def kin(self) -> list[Kinship]:
        """The images come from the balanced pairs, and the final selection was made among them."""
        return [Kinship(raw, self.final or self.balanced) for raw in self.raw]

    def steps(self) -> Steps:
        """Join scores, if any; select, count, plan, pack; then sizes, manifest and card."""
        shards = ShardsFolder(self.output)
        raws = list_raw_tars(self.raw, final=self.final)
        groups = group_raw_tars(raws, scores=StageFolder(shards.working("scores")))
        min_score = (yield from self._join_scores(groups, len(raws))) if self.scores else None
        chosen = StageFolder(shards.working("selected"))
        wanted = Wanted(self._pin_lists(shards.working("lists.json")), self.where, self._carried())
        select = GroupPacked(
            sources=groups,
            pack=partial(pack_samples, duplicates=self.duplicates, buckets=num_buckets(len(raws)), wanted=wanted),
            find=find_losing_rows,
            units=groups,
            output_of=lambda group: chosen.table(group.name),
            work=partial(write_survivors, duplicates=self.duplicates, min_score=min_score, wanted=wanted),
            payload=_payload_of(raws),
        )
        cuts, counted = BalancedFolder(self.final or self.balanced).cuts, shards.working("layout", "survivors.npy")
        queries = read_table(cuts)
        count = SumUnits(
            units=select.outputs,
            array_of=partial(count_survivors, num_queries=queries.num_rows),
            size=NUM_BINS + queries.num_rows,
            output=counted,
        )
        selected, _ = yield Step("SelectSamples", select), Step("CountSurvivors", count)
        reports = yield from self._pack(
            select.outputs,
            raws,
            OnWorker(
                read_layout,
                counted,
                max_samples=self.max_samples,
                min_shards=self.min_shards,
                most_at_once=self.shards_at_once,
            ),
            OnWorker(read_column, cuts, "query") if self.final else None,
        )
        history = [*history_of(self), {"stage": self.name, "counts": add_counts(*selected.values())}]
        manifest = read_manifest(reports)
        write_card(
            shards,
            manifest=manifest,
            carried=self._carried(),
            samples=read_array(counted)[NUM_BINS:],
            cuts=queries,
            history=history,
        )
        write_manifest(shards, manifest)

    def _pin_lists(self, path: str) -> OnWorker[Blocklists]:
        """The lists of what is left out, as they were when the run began: a run that continues goes by the same."""
        if files.exists(path):
            return OnWorker(load_blocklists, path, phash_distance=self.phash_distance)
        return self.hand_out_lists(path)

    def _condition(self) -> RowCondition | None:
        """What `where` says; raises ValueError when it is no condition."""
        try:
            return parse_condition(self.where) if self.where else None
        except BadCondition as error:
            raise ValueError(f"{self.name}: where: {error}") from error

    def _check_where(self) -> None:
        """Raises ValueError when the columns that `where` names are not there, or of another kind."""
        carried = self._carried()
        if condition := self._condition():
            try:
                condition.bind(condition_schema(carried))
            except BadCondition as error:
                raise ValueError(f"{self.name}: where: {error}") from error

    def _carried(self) -> Carried:
        """The columns that samples carry; raises ValueError where rounds differ."""
        return carried_by([RawFolder(folder).indexes for folder in self.raw])

    def _join_scores(self, groups: list[RawGroup], num_raws: int) -> Generator[Step, Any, float]:
        """Scores of all groups, and the lowest that is good enough."""
        tables, working = score_tables(self.scores), StageFolder(ShardsFolder(self.output).working("scores"))
        sources: list[RawGroup | ScoreTables] = [*groups, *tables]
        join = GroupPacked(
            sources=sources,
            pack=partial(pack_keys, buckets=num_buckets(num_raws)),
            find=find_scores,
            units=groups,
            output_of=lambda group: group.scores,
            work=write_scores,
            payload=2 * _payload_of([raw for group in groups for raw in group.raws]),
        )
        yield Step("JoinScores", join)
        if self.min_score is not None:
            return self.min_score
        assert self.top_score_share is not None
        return (yield from find_cut(tables, self.top_score_share, working=working))

    def _pack(
        self, selected: Sequence[str], raws: list[RawTar], layout: OnWorker[Layout], queries: OnWorker[Any] | None
    ) -> Generator[Any, Any, Sequence[str]]:
        """Plans and writes the shards; returns the files that say what is in those of each pack unit."""
        shards, at_once = ShardsFolder(self.output), layout.get().shards_at_once
        schema = with_carried(SURVIVORS, self._carried())
        # Units of another size are other units: what a run that was cut short left of them is of no use.
        plans = StageFolder(shards.working(f"plans-of-{at_once}"))
        tars = shards.working("layout", "tars.json")
        files.write_json(tars, [raw.tar for raw in raws])
        units = layout.get().units()
        plan = GroupPacked(
            sources=selected,
            pack=partial(route_rows, layout=layout, schema=schema),
            units=units,
            output_of=lambda unit: plans.table(unit.name),
            work=partial(write_plan, schema=schema),
            payload=sum(files.sizes(selected).values()),
        )
        pack = MapUnits(
            units=units,
            output_of=lambda unit: shards.working(f"packed-by-{at_once}", f"{unit.name}.json"),
            work=partial(
                pack_unit,
                shards=shards,
                plans=plans,
                tars=OnWorker(files.read_json, tars),
                layout=layout,
                queries=queries,
            ),
        )
        yield Step("PlanShards", plan), Step("PackShards", pack)
        yield {"shards": layout.get().num_shards}
        return pack.outputs


def _payload_of(raws: Sequence[RawTar]) -> int:
    """Bytes, about, of one record for each sample."""
    return sum(files.sizes(raw.index_file for raw in raws).values()) // _INDEX_BYTES_A_RECORD_BYTE
