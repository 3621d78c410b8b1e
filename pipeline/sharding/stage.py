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
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa

from pipeline.base import files
from pipeline.base.arrays import load_array
from pipeline.base.carried_columns import Carried, carried_by
from pipeline.base.drops import Counts, DropReason, add_counts
from pipeline.base.folders import BalancedFolder, RawFolder, ShardsFolder, StageFolder
from pipeline.base.lineage import Kinship, Stamp
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import identity_of, option
from pipeline.base.row_conditions import BadCondition, RowCondition, parse_condition
from pipeline.base.shard_format import BOXES, FACES_BLURRED
from pipeline.base.stage_folder import history_of, versions_of
from pipeline.base.tables import read_column, read_table
from pipeline.sharding.card.options import CardOptions
from pipeline.sharding.card.query_counts import add_cuts, num_queries
from pipeline.sharding.card.scores import survey_scores
from pipeline.sharding.card.writing import make_card
from pipeline.sharding.evaluation.decontaminating import (
    DecontaminationOptions,
    EvaluationSets,
    count_report,
    read_evaluation_sets,
    write_report,
)
from pipeline.sharding.forms import FORMS, FormName
from pipeline.sharding.packing.face_boxes import (
    UNSCANNED,
    box_tables,
    boxes_of,
    find_boxes,
    pack_boxes,
    read_face_folder,
    write_boxes,
)
from pipeline.sharding.packing.layout import SetLayout, count_survivors, num_counts, read_layout
from pipeline.sharding.packing.packing import pack_unit, read_manifest, write_manifest
from pipeline.sharding.packing.planning import route_rows, write_plan
from pipeline.sharding.packing.samples import FACES_BLURRED_FIELD
from pipeline.sharding.selection.alike import DISTANCE, MAX_DISTANCE, choose_axes
from pipeline.sharding.selection.captions import cap_captions
from pipeline.sharding.selection.exact_duplicates import Duplicates, find_losing_rows, pack_samples
from pipeline.sharding.selection.near_duplicates import (
    Alikeness,
    NearDuplicates,
    buckets_of_looks,
    find_copies,
    pack_looks,
    payload_of_looks,
)
from pipeline.sharding.selection.rules import GroupRule, judge_in_turn
from pipeline.sharding.selection.same_keys import unique_pairs
from pipeline.sharding.selection.scores import (
    JoinedScores,
    ScoreFolder,
    ScoreTables,
    find_cut,
    find_scores,
    joined_of,
    pack_keys,
    read_score_folder,
    score_tables,
    write_scores,
)
from pipeline.sharding.selection.selecting import (
    Wanted,
    condition_schema,
    judge_rows,
    survivors_schema,
    write_survivors,
)
from pipeline.sharding.selection.verdicts import verdicts_of
from pipeline.sharding.stored_samples import RawGroup, RawTar, group_raw_tars, list_raw_tars, num_buckets
from pipeline.steps import GroupPacked, MapUnits, Stage, Step, Steps, SumUnits
from pipeline.web.blocklists import Blocklists, BlockOptions, list_files, load_blocklists

_RECORD_BYTES: Final = 40  # of a row, where rows are compared
_INDEX_BYTES_A_ROW: Final = 220  # about, of a raw index


@dataclass(kw_only=True)
class WriteShards(DecontaminationOptions, BlockOptions, CardOptions, Stage):
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
    where: str = option(
        "",
        "Only samples for which this holds, by sizes, texts and addresses, what they carry and their scores, e.g. "
        "'original_width >= 200 and clip >= 0.28 and nsfw < 0.5'.",
        sparse=True,
    )
    duplicates: Duplicates = option(
        "pair", "Of samples with the same image bytes keep one a text (pair), one at all (image), or all (keep)."
    )
    near_duplicates: NearDuplicates = option(
        "pair",
        "Of samples whose pictures are alike, in another size, format or quality, keep one a text (pair), one at all "
        "(image), or all (keep).",
    )
    near_distance: float = option(
        DISTANCE,
        "By how much alike pictures may differ, as a share of their contrast. 0.2 finds most that are cut by a few "
        "percent, and takes different products on white ground for copies.",
        minimum=0,
        maximum=MAX_DISTANCE,
    )
    near_mirrored: bool = option(False, "Pictures are alike that are so in a mirror, too.")
    max_caption_repeats: int = option(
        0, "Samples kept of one caption, case and punctuation aside; 0: all.", minimum=0, sparse=True
    )
    caption_seed: int = option(
        0,
        "Decides which samples of a caption are kept: another one, others.",
        minimum=0,
        maximum=2**63 - 1,
        sparse=True,
    )
    scores: tuple[str, ...] = option(
        (),
        "Folders of scores (python -m clip_train score, flag) of the raw tars or of shards made of them before, to "
        "choose by; NAME=FOLDER gives the only score of a folder a name.",
        identity=False,
    )
    min_score: float | None = option(None, "With one score: keep what has this or more.", sparse=True)
    top_score_share: float | None = option(
        None, "With one score: keep the best of all scored samples, as large a share (DataComp: 0.3).", maximum=1
    )
    blur_faces: str = option(
        "",
        "Folder of boxes (python -m clip_train flag --faces) of the raw tars or of shards made of them before: faces "
        "are made unrecognisable, and the JSON of samples says how many.",
        identity=False,
    )
    unscanned: Literal["refuse", "keep"] = option(
        "refuse",
        "With --blur-faces: what to do where samples are not in its tables; keep: they go in as they are.",
        sparse=True,
    )
    encode_quality: int = option(
        95, "Quality of images that are encoded again to blur faces.", minimum=1, maximum=100, sparse=True
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
        self._condition()
        cuts = [self.min_score is not None, self.top_score_share is not None]
        if self.scores and not self.where and sum(cuts) != 1:
            raise ValueError(
                f"write-shards: scores {self.scores!r} wants either min-score or top-score-share, or where"
            )
        if all(cuts):
            raise ValueError("write-shards: either min-score or top-score-share, not both")
        if any(cuts) and not self.scores:
            raise ValueError("write-shards: min-score and top-score-share want scores, not ''")
        if self.top_score_share is not None and self.top_score_share <= 0:
            raise ValueError(f"write-shards: top-score-share must be above 0, not {self.top_score_share}")
        if not self.blur_faces and (self.unscanned, self.encode_quality) != ("refuse", 95):
            raise ValueError("write-shards: unscanned and encode-quality want blur-faces, not ''")

    def inputs(self) -> list[str]:
        """The raw folders, which must carry the same columns; the final selection or balanced folder; scores, boxes."""
        scores = self._score_folders()
        self._check_where(scores)
        self._check_boxes()
        lists, sets = [path for _, path in list_files(self.block)], self.evaluation_inputs()
        tables = [*(folder.closing_file for folder in scores), *self._box_files()]
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
        names = {folder.closing_file: folder.names for folder in self._score_folders()}
        names |= {box_file: (*names.get(box_file, ()), BOXES) for box_file in self._box_files()}
        return {**super().stamp(path), "name": ", ".join(names[path])} if path in names else super().stamp(path)

    def kin(self) -> list[Kinship]:
        """The images come from the balanced pairs, and the final selection was made among them."""
        return [Kinship(raw, self._selected) for raw in self.raw if self._selected not in self.raw]

    def steps(self) -> Steps:
        """Join scores, if any; judge, count, plan, pack; then sizes, manifest and card."""
        shards = ShardsFolder(self.output)
        raws, counts = yield from self._list_raws()
        groups = group_raw_tars(raws)
        wanted = yield from self._make_wanted(groups, len(raws))
        evaluation = (yield from self._read_evaluation_sets()) if self.decontaminate else None
        rules = self._group_rules(raws)
        verdicts = [StageFolder(shards.working("verdicts", f"{place}")) for place in range(len(rules) + 2)]
        if evaluation is None:
            del verdicts[0]
        judge = MapUnits(
            units=groups,
            output_of=partial(verdicts_of, folder=verdicts[0]),
            work=partial(judge_rows, wanted=wanted),
        )
        chosen, faces = StageFolder(shards.working("selected")), StageFolder(shards.working("faces"))
        select = MapUnits(
            units=groups,
            output_of=lambda group: chosen.table(group.name),
            work=partial(
                write_survivors,
                verdicts=verdicts[-1],
                carried=wanted.carried,
                boxes=faces if self.blur_faces else None,
            ),
        )
        queries, counted = self._read_queries(), shards.working("layout", "survivors.npy")
        count = SumUnits(
            units=select.outputs,
            array_of=partial(count_survivors, num_queries=num_queries(queries), validation_share=self.validation_share),
            size=num_counts(self.validation_share, num_queries(queries)),
            output=counted,
        )
        made = yield (
            Step("JudgeRows", judge),
            *(evaluation.steps(groups, before=verdicts[0], after=verdicts[1]) if evaluation else ()),
            *judge_in_turn(rules, groups, verdicts[-1 - len(rules) :]),
            *self._join_faces(groups, raws, verdicts[-1], faces),
            Step("SelectSamples", select),
            Step("CountSurvivors", count),
        )
        *before, selected, _ = made
        if self.blur_faces:
            self._check_scanned(add_counts(*before[-1].values()))
        working = StageFolder(shards.working("scored"))
        scores = yield from survey_scores(groups, wanted.scores, verdicts=verdicts[-1], found=working)
        reports = yield from self._pack(
            select.outputs,
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
        counts = add_counts(counts, *selected.values())
        if evaluation:
            reports_on_sets = evaluation.report()
            write_report(shards.decontamination, reports_on_sets)
            yield count_report(reports_on_sets)
            counts = add_counts(counts, evaluation.read, count_report(reports_on_sets))
        own = {"stage": self.name, "counts": counts, "options": identity_of(self)}
        history = [*self._read_history(), own]
        manifest = read_manifest(reports, FORMS[self.layout])
        yield from make_card(
            shards,
            manifest=manifest,
            carried=(*wanted.carried, *([FACES_BLURRED_FIELD] if self.blur_faces else [])),
            samples=load_array(counted)[num_counts(self.validation_share, 0) :],
            cuts=queries,
            history=history,
            scores=scores,
            said=self.said,
            versions=versions_of(self._folders(), self.name),
        )
        write_manifest(shards, manifest)

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

    def _condition(self) -> RowCondition | None:
        """What `where` says; raises ValueError when it is no condition."""
        try:
            return parse_condition(self.where) if self.where else None
        except BadCondition as error:
            raise ValueError(f"{self.name}: where: {error}") from error

    def _check_where(self, scores: Sequence[ScoreFolder]) -> None:
        """Raises ValueError when the columns that `where` names are not there, or of another kind; or scores clash."""
        carried, names = self._carried(), [name for folder in scores for name in folder.names]
        taken = [*condition_schema(carried).names, *names]
        if twice := [name for name in names if taken.count(name) > 1]:
            raise ValueError(f"{self.name}: scores: {twice[0]!r} is the name of two columns; name one NAME=FOLDER")
        if len(names) > 1 and (self.min_score is not None or self.top_score_share is not None):
            raise ValueError(
                f"{self.name}: min-score and top-score-share want one score, not {', '.join(names)}; say where"
            )
        if condition := self._condition():
            try:
                condition.bind(condition_schema(carried, names))
            except BadCondition as error:
                raise ValueError(f"{self.name}: where: {error}") from error

    def _score_folders(self) -> list[ScoreFolder]:
        """The folders of scores; raises FileNotFoundError and ValueError as `read_score_folder` does."""
        return [read_score_folder(given) for given in self.scores]

    def _carried(self) -> Carried:
        """The columns that samples carry; raises ValueError where rounds differ."""
        return carried_by([RawFolder(folder).indexes for folder in self.raw])

    def _make_wanted(self, groups: list[RawGroup], num_raws: int) -> Generator[Step, Any, Wanted]:
        """Which samples may go into shards, told from a row alone; scores are joined to the rows of all groups."""
        shards, folders, min_score = ShardsFolder(self.output), self._score_folders(), self.min_score
        joined = []
        for place, folder in enumerate(folders):
            scores = JoinedScores(StageFolder(shards.working("scores", f"{place}")), folder.names)
            yield Step("JoinScores" + f"{place + 1}" * (len(folders) > 1), _join(folder, scores, groups, num_raws))
            joined.append(scores)
        if self.top_score_share is not None:
            working = StageFolder(shards.working("scores"))
            min_score = yield from find_cut(score_tables(folders[0]), self.top_score_share, working=working)
        lists = self._pin_lists(shards.working("lists", "lists.json"))
        return Wanted(lists, self.where, self._carried(), tuple(joined), min_score)

    def _read_evaluation_sets(self) -> Generator[Any, Any, EvaluationSets]:
        """The evaluation sets that no sample may be of."""
        working = StageFolder(ShardsFolder(self.output).working("evaluation"))
        return read_evaluation_sets(
            self.decontaminate,
            raws=self.raw,
            working=working,
            phash_distance=self.phash_distance,
            mirrored=self.near_mirrored,
        )

    def _group_rules(self, raws: Sequence[RawTar]) -> list[GroupRule]:
        """The rules that compare rows, in the order in which they are asked."""
        buckets, payload = num_buckets(len(raws)), _payload_of(raws)
        exact = GroupRule(
            "FindDuplicateSamples",
            DropReason.DUPLICATE_IMAGE if self.duplicates == "image" else DropReason.DUPLICATE_SAMPLE,
            partial(pack_samples, duplicates=self.duplicates, buckets=buckets),
            find_losing_rows,
            payload,
        )
        samples, distance = payload // _RECORD_BYTES, self.near_distance
        alikeness = Alikeness(self.near_duplicates == "pair", distance, self.near_mirrored, choose_axes(samples))
        near = GroupRule(
            "FindNearDuplicates",
            DropReason.NEAR_DUPLICATE,
            partial(pack_looks, alikeness=alikeness, buckets=buckets_of_looks(samples, distance=distance)),
            partial(find_copies, distance=distance),
            payload_of_looks(samples, distance=distance),
        )
        pairs = unique_pairs(buckets=buckets, payload=payload)
        captions = cap_captions(self.max_caption_repeats, seed=self.caption_seed, buckets=buckets, payload=payload)
        asked = (
            (pairs, len(self.raw) > 1),
            (exact, self.duplicates != "keep"),
            (near, self.near_duplicates != "keep"),
            (captions, self.max_caption_repeats),
        )
        return [rule for rule, is_asked in asked if is_asked]

    def _box_files(self) -> list[str]:
        """What closes the folder of boxes, if faces are blurred; raises as `read_face_folder` does."""
        return [read_face_folder(self.blur_faces)] if self.blur_faces else []

    def _check_boxes(self) -> None:
        """Raises ValueError when samples say already how many faces were blurred in them."""
        if self.blur_faces and FACES_BLURRED in {field.name for field in self._carried()}:
            raise ValueError(f"{self.name}: blur-faces: samples carry {FACES_BLURRED!r} already: it was done before")

    def _check_scanned(self, counts: Counts) -> None:
        """Raises ValueError when faces were not looked for in some samples, unless these are to go in as they are."""
        if self.unscanned == "refuse" and (number := counts.get(UNSCANNED, 0)):
            raise ValueError(
                f"{self.name}: blur-faces: {number:,} samples are not in the tables of {self.blur_faces!r}; run "
                "python -m clip_train flag --faces over all of them, or say --unscanned keep"
            )

    def _join_faces(
        self, groups: list[RawGroup], raws: Sequence[RawTar], verdicts: StageFolder, folder: StageFolder
    ) -> list[Step]:
        """Boxes of faces, brought to the rows of all groups that stay; no step where faces are not blurred."""
        if not self.blur_faces:
            return []
        sources: list[RawGroup | ScoreTables] = [*groups, *box_tables(self.blur_faces)]
        join = GroupPacked(
            sources=sources,
            pack=partial(pack_boxes, verdicts=verdicts, buckets=num_buckets(3 * len(raws))),
            find=find_boxes,
            units=groups,
            output_of=partial(boxes_of, folder=folder),
            work=partial(write_boxes, verdicts=verdicts),
            payload=3 * _payload_of(raws),
        )
        return [Step("JoinFaces", join)]

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


def _join(
    folder: ScoreFolder, joined: JoinedScores, groups: list[RawGroup], num_raws: int
) -> GroupPacked[RawGroup | ScoreTables, RawGroup]:
    """Scores of one folder, brought to the rows of all groups."""
    number = len(folder.names)
    return GroupPacked(
        sources=[*groups, *score_tables(folder)],
        pack=partial(pack_keys, number=number, buckets=num_buckets(num_raws)),
        find=partial(find_scores, number=number),
        units=groups,
        output_of=partial(joined_of, folder=joined.folder),
        work=partial(write_scores, number=number),
        payload=2 * _payload_of([raw for group in groups for raw in group.raws]),
    )


def _payload_of(raws: Sequence[RawTar]) -> int:
    """Bytes, about, of one record for each sample."""
    return sum(files.sizes(raw.index_file for raw in raws).values()) * _RECORD_BYTES // _INDEX_BYTES_A_ROW
