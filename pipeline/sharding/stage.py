"""Raw tars ► final shards, their indexes, sizes, manifest and data card: the stage write-shards.

In: raw tars with indexes (fetch-images), the final selection among them if one was made (balance-final), scores of the
samples if they are to be chosen by any, boxes of faces if these are to be blurred, and the cap's cuts
(balance-pairs). Out, in one folder:
``00000.tar`` with ``00000.parquet`` (`SHARD_INDEX`, in the order of the shard), ``sizes.json``, ``wids.json``, the card
(``README.md`` and ``card/``) and, last, ``manifest.json`` (read nothing that it does not name). Samples are copied as
byte ranges: no image is decoded, but for those with faces to blur; no image byte is shuffled.
Source of the names: `pipeline.base.shard_format`.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import load_array
from pipeline.base.carried_columns import Carried, carried_by
from pipeline.base.drops import Counts, add_counts
from pipeline.base.folders import BalancedFolder, RawFolder, ShardsFolder, StageFolder
from pipeline.base.lineage import Kinship, Stamp
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import identity_of, option
from pipeline.base.shard_format import BOXES
from pipeline.base.stage_folder import history_of, versions_of
from pipeline.base.tables import read_column, read_table
from pipeline.sharding.card.making import make_card, survey_scores
from pipeline.sharding.card.options import CardOptions
from pipeline.sharding.card.query_counts import add_cuts, num_queries
from pipeline.sharding.evaluation.decontaminating import (
    DecontaminationOptions,
    EvaluationSets,
    count_report,
    read_evaluation_sets,
    write_report,
)
from pipeline.sharding.forms import FORMS, FormName
from pipeline.sharding.packing.blur_options import BlurOptions
from pipeline.sharding.packing.layout import SetLayout, count_survivors, num_counts, read_layout
from pipeline.sharding.packing.packing import pack_unit, read_manifest, write_manifest
from pipeline.sharding.packing.planning import route_rows, write_plan
from pipeline.sharding.packing.samples import FACES_BLURRED_FIELD
from pipeline.sharding.selection.options import SelectionOptions
from pipeline.sharding.selection.rules import judge_in_turn
from pipeline.sharding.selection.selecting import judge_rows, survivors_schema, write_survivors
from pipeline.sharding.selection.verdicts import verdicts_of
from pipeline.sharding.stored_samples import RawTar, group_raw_tars, list_raw_tars
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps, SumUnits
from pipeline.web.blocklists import Blocklists, BlockOptions, list_files, load_blocklists


class _Selected(NamedTuple):
    tables: Sequence[str]  # of survivors
    counts: Counts
    scores: pa.Table  # of what samples were chosen by (`SCORE_COUNTS`)
    evaluation: EvaluationSets | None


@dataclass(kw_only=True)
class WriteShards(SelectionOptions, DecontaminationOptions, BlurOptions, BlockOptions, CardOptions, Stage):
    """Writes WebDataset shards of equal size from raw tars, with a manifest and a data card."""

    name: ClassVar[str] = "write-shards"
    format: ClassVar[int] = Stage.format + 4

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
    validation_share: float = option(
        0.0,
        "Share of the pictures whose samples are held out, in shards of their own (validation/), 0 to below 1.",
        minimum=0,
        maximum=1,
        sparse=True,
    )
    layout: FormName = option(
        "wit400m",
        "How shards, samples and their members are named: the default is read by all tools, others are as img2dataset, "
        "DataComp, open_clip or the Hub of Hugging Face name them.",
        sparse=True,
    )
    shards_at_once: int = option(
        32,
        "Shards that a worker packs at once. Where raw tars are not on its own disks, more are fewer requests, up to "
        "32; it needs temporary disk (TMPDIR) for so many.",
        minimum=1,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if self.validation_share == 1:
            raise ValueError("write-shards: validation-share must be below 1, not 1")

    def inputs(self) -> list[str]:
        """The raw folders, which must carry the same columns; the final selection or balanced folder; scores, boxes."""
        scores = self.score_folders()
        carried = self._carried()
        self.check_where(carried, scores)
        self.check_boxes(carried)
        lists, sets = [path for _, path in list_files(self.block)], self.evaluation_inputs()
        tables = [*(folder.closing_file for folder in scores), *self.box_files()]
        return [*self._sources(), *dict.fromkeys(tables), *lists, *sets]

    def _folders(self) -> list[str]:
        """Where the samples come from, and what selected them: folders of finished stages."""
        return list(dict.fromkeys([*self.raw, self._selected]))

    def _sources(self) -> list[str]:
        """These folders, and the files that say which of their samples are asked for."""
        return self._folders()

    @property
    def _selected(self) -> str:
        """The folder that tells what was selected: of images that were fetched by a list, the first raw folder."""
        if self.final or not all(files.exists(BalancedFolder(folder).cuts) for folder in self.raw):
            return self.final or self.balanced
        return self.raw[0] if self.raw else self.balanced

    def stamp(self, path: str) -> Stamp:
        """What an input that is a file is recognised by; of scores, boxes and evaluation sets also how it is called."""
        if found := self.evaluation_stamp(path):
            return found
        names = {folder.closing_file: folder.names for folder in self.score_folders()}
        names |= {box_file: (*names.get(box_file, ()), BOXES) for box_file in self.box_files()}
        return {**super().stamp(path), "name": ", ".join(names[path])} if path in names else super().stamp(path)

    def kin(self) -> list[Kinship]:
        """The images come from the balanced pairs, and the final selection was made among them."""
        return [Kinship(raw, self._selected) for raw in self.raw if self._selected not in self.raw]

    def steps(self) -> Steps:
        """Select, plan, pack; then sizes, card and manifest."""
        shards = ShardsFolder(self.output)
        raws, counts = yield from self._list_raws()
        queries, counted = self._read_queries(), shards.working("layout", "survivors.npy")
        selected = yield from self._select(raws, num_queries=num_queries(queries), counted=counted)
        reports = yield from self._pack(
            selected.tables,
            raws,
            OnWorker(
                read_layout,
                counted,
                max_samples=self.max_samples,
                min_shards=self.min_shards,
                validation_share=self.validation_share,
            ),
            OnWorker(read_column, BalancedFolder(self.final).cuts, "query") if self.final else None,
        )
        counts = add_counts(counts, selected.counts)
        if selected.evaluation:
            found = selected.evaluation.report()
            write_report(shards.decontamination, found)
            yield count_report(found)
            counts = add_counts(counts, selected.evaluation.read, count_report(found))
        manifest = read_manifest(reports, FORMS[self.layout])
        yield from make_card(
            shards,
            manifest=manifest,
            carried=(*self._carried(), *([FACES_BLURRED_FIELD] if self.blur_faces else [])),
            samples=load_array(counted)[num_counts(self.validation_share, 0) :],
            cuts=queries,
            history=[*self._read_history(), {"stage": self.name, "counts": counts, "options": identity_of(self)}],
            scores=selected.scores,
            said=self.said,
            versions=versions_of(self._folders(), self.name),
        )
        write_manifest(shards, manifest)

    def _select(self, raws: list[RawTar], *, num_queries: int, counted: str) -> Generator[Any, Any, "_Selected"]:
        """Judges all rows by all rules, writes those that stay, and counts them.

        Args:
            raws: All raw tars.
            num_queries: Of all queries.
            counted: Where the counts go that the layout is made by.
        """
        shards, groups = ShardsFolder(self.output), group_raw_tars(raws)
        working, lists = StageFolder(shards.working("scores")), self._pin_lists(shards.working("lists", "lists.json"))
        wanted = yield from self.make_wanted(groups, working=working, blocked=lists, carried=self._carried())
        evaluation = (yield from self._read_evaluation_sets()) if self.decontaminate else None
        rules = self.group_rules(raws, of_rounds=len(self.raw) > 1)
        places = range(len(rules) + 1 + bool(evaluation))
        verdicts = [StageFolder(shards.working("verdicts", f"{place}")) for place in places]
        judged, by_rules = verdicts[0], verdicts[-1 - len(rules) :]
        judge = MapUnits(
            units=groups, output_of=partial(verdicts_of, folder=judged), work=partial(judge_rows, wanted=wanted)
        )
        chosen, faces = StageFolder(shards.working("selected")), StageFolder(shards.working("faces"))
        select = MapUnits(
            units=groups,
            output_of=lambda group: chosen.table(group.name),
            work=partial(
                write_survivors,
                verdicts=by_rules[-1],
                carried=wanted.carried,
                boxes=faces if self.blur_faces else None,
            ),
        )
        count = SumUnits(
            units=select.outputs,
            array_of=partial(count_survivors, num_queries=num_queries, validation_share=self.validation_share),
            size=num_counts(self.validation_share, num_queries),
            output=counted,
        )
        *before, selected, _ = yield (
            Step("JudgeRows", judge),
            *(evaluation.steps(groups, before=judged, after=by_rules[0]) if evaluation else ()),
            *judge_in_turn(rules, groups, by_rules),
            *self.join_faces(groups, verdicts=by_rules[-1], joined=faces),
            Step("SelectSamples", select),
            Step("CountSurvivors", count),
        )
        if self.blur_faces:
            self.check_scanned(add_counts(*before[-1].values()))
        scored = StageFolder(shards.working("scored"))
        scores = yield from survey_scores(groups, wanted.scores, verdicts=by_rules[-1], found=scored)
        return _Selected(select.outputs, add_counts(*selected.values()), scores, evaluation)

    def _list_raws(self) -> Generator[Any, Any, tuple[list[RawTar], Counts]]:
        """The raw tars, and what was counted before; a stage that makes such of something else does that first."""
        yield from ()
        return list_raw_tars(self.raw, final=self.final), {}

    def _read_queries(self) -> pa.Table:
        """All queries, and how many pairs each had and was given (`CUTS`)."""
        if self._selected not in self.raw:
            return read_table(BalancedFolder(self._selected).cuts)
        return add_cuts([BalancedFolder(raw).cuts for raw in self.raw])

    def _read_history(self) -> list[dict[str, Any]]:
        """What the stages before counted."""
        return history_of(self)

    def _pin_lists(self, path: str) -> OnWorker[Blocklists]:
        """The lists of what is left out, as they were when the run began: a run that continues goes by the same."""
        if files.exists(path):
            return OnWorker(load_blocklists, path, phash_distance=self.phash_distance)
        return self.hand_out_lists(path)

    def _carried(self) -> Carried:
        """The columns that samples carry; raises ValueError where rounds differ."""
        return carried_by([RawFolder(folder).indexes for folder in self.raw])

    def _read_evaluation_sets(self) -> Generator[Any, Any, EvaluationSets]:
        """The evaluation sets that no sample may be of."""
        working = StageFolder(ShardsFolder(self.output).working("evaluation"))
        return read_evaluation_sets(
            self.decontaminate,
            history=self._read_history(),
            working=working,
            phash_distance=self.phash_distance,
            mirrored=self.near_mirrored,
        )

    def _pack(
        self, selected: Sequence[str], raws: list[RawTar], layout: OnWorker[SetLayout], queries: OnWorker[Any] | None
    ) -> Generator[Any, Any, Sequence[str]]:
        """Plans and writes the shards; returns the files that say what is in those of each pack unit."""
        shards, plans = (ShardsFolder(self.output), StageFolder(ShardsFolder(self.output).working("plans")))
        schema = survivors_schema(self._carried(), with_boxes=bool(self.blur_faces))
        tars = shards.working("layout", "tars.json")
        files.write_json(tars, [raw.tar for raw in raws])
        where = layout.get()
        plan = GroupPacked(
            sources=selected,
            pack=partial(route_rows, layout=layout, schema=schema),
            units=where.blocks(),
            output_of=lambda block: plans.table(block.name),
            work=partial(write_plan, schema=schema),
            payload=sum(files.sizes(selected).values()),
        )
        # Units of another size are other units: what a run that was cut short left of them is of no use.
        packed = shards.working(f"packed-by-{self.shards_at_once}")
        pack = MapUnits(
            units=where.units(
                most_at_once=self.shards_at_once, whole_blocks=not all(files.is_local(raw.tar) for raw in raws)
            ),
            output_of=lambda unit: files.join(packed, f"{unit.name}.json"),
            work=partial(
                pack_unit,
                shards=shards,
                plans=plans,
                tars=OnWorker(files.read_json, tars),
                layout=layout,
                form=FORMS[self.layout],
                queries=queries,
                blur_quality=self.encode_quality if self.blur_faces else None,
            ),
        )
        yield Step("PlanShards", plan), Step("PackShards", pack)
        yield {"shards": sum(layout.num_shards for layout in where.splits)}
        if self.validation_share:
            yield {f"{layout.split}_samples": layout.num_samples for layout in where.splits}
        return pack.outputs
