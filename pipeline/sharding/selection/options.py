"""Which samples go in: options of a stage, and what follows from them: the scores that are read, the rules in turn.

A stage that has these options judges rows first (`make_wanted`), then by rules that compare rows (`group_rules`).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pipeline.base.carried_columns import Carried
from pipeline.base.drops import DropReason
from pipeline.base.folders import StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.row_conditions import BadCondition, RowCondition, parse_condition
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
from pipeline.sharding.selection.rules import GroupRule
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
from pipeline.sharding.selection.selecting import Wanted, condition_schema
from pipeline.sharding.stored_samples import RECORD_BYTES, RawGroup, RawTar, num_buckets, payload_of
from pipeline.steps import GroupPacked, Step
from pipeline.web.blocklists import Blocklists


@dataclass(kw_only=True)
class SelectionOptions:
    """Which samples go in; options of stages."""

    name: ClassVar[str] = ""  # of the stage

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

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()  # type: ignore[misc]
        self._condition()
        cuts = [self.min_score is not None, self.top_score_share is not None]
        if self.scores and not self.where and sum(cuts) != 1:
            raise ValueError(f"{self.name}: scores {self.scores!r} wants either min-score or top-score-share, or where")
        if all(cuts):
            raise ValueError(f"{self.name}: either min-score or top-score-share, not both")
        if any(cuts) and not self.scores:
            raise ValueError(f"{self.name}: min-score and top-score-share want scores, not ''")
        if self.top_score_share is not None and self.top_score_share <= 0:
            raise ValueError(f"{self.name}: top-score-share must be above 0, not {self.top_score_share}")

    def score_folders(self) -> list[ScoreFolder]:
        """The folders of scores; raises FileNotFoundError and ValueError as `read_score_folder` does."""
        return [read_score_folder(given) for given in self.scores]

    def _condition(self) -> RowCondition | None:
        """What `where` says; raises ValueError when it is no condition."""
        try:
            return parse_condition(self.where) if self.where else None
        except BadCondition as error:
            raise ValueError(f"{self.name}: where: {error}") from error

    def check_where(self, carried: Carried, scores: Sequence[ScoreFolder]) -> None:
        """Raises ValueError when the columns that `where` names are not there, or of another kind; or scores clash.

        Args:
            carried: Columns that samples carry.
            scores: What they may be chosen by.
        """
        names = [name for folder in scores for name in folder.names]
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

    def make_wanted(
        self, groups: list[RawGroup], *, working: StageFolder, blocked: OnWorker[Blocklists], carried: Carried
    ) -> Generator[Step, Any, Wanted]:
        """Which samples may go into shards, told from a row alone; scores are joined to the rows of all groups.

        Args:
            groups: Of raw tars.
            working: Where scores may be put.
            blocked: What is left out.
            carried: Columns that samples carry.
        """
        folders, min_score = self.score_folders(), self.min_score
        joined = []
        for place, folder in enumerate(folders):
            scores = JoinedScores(StageFolder(working.file(f"{place}")), folder.names)
            yield Step("JoinScores" + f"{place + 1}" * (len(folders) > 1), _join(folder, scores, groups))
            joined.append(scores)
        if self.top_score_share is not None:
            min_score = yield from find_cut(score_tables(folders[0]), self.top_score_share, working=working)
        return Wanted(blocked, self.where, carried, tuple(joined), min_score)

    def group_rules(self, raws: Sequence[RawTar], *, of_rounds: bool) -> list[GroupRule]:
        """The rules that compare rows, in the order in which they are asked.

        Args:
            raws: All raw tars.
            of_rounds: Whether they are of several folders, which may have pairs in common.
        """
        buckets, payload = num_buckets(len(raws)), payload_of(raws)
        exact = GroupRule(
            "FindDuplicateSamples",
            DropReason.DUPLICATE_IMAGE if self.duplicates == "image" else DropReason.DUPLICATE_SAMPLE,
            partial(pack_samples, duplicates=self.duplicates, buckets=buckets),
            find_losing_rows,
            payload,
        )
        samples, distance = payload // RECORD_BYTES, self.near_distance
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
            (pairs, of_rounds),
            (exact, self.duplicates != "keep"),
            (near, self.near_duplicates != "keep"),
            (captions, self.max_caption_repeats),
        )
        return [rule for rule, is_asked in asked if is_asked]


def _join(
    folder: ScoreFolder, joined: JoinedScores, groups: list[RawGroup]
) -> GroupPacked[RawGroup | ScoreTables, RawGroup]:
    """Scores of one folder, brought to the rows of all groups."""
    number, raws = len(folder.names), [raw for group in groups for raw in group.raws]
    return GroupPacked(
        sources=[*groups, *score_tables(folder)],
        pack=partial(pack_keys, number=number, buckets=num_buckets(len(raws))),
        find=partial(find_scores, number=number),
        units=groups,
        output_of=partial(joined_of, folder=joined.folder),
        work=partial(write_scores, number=number),
        payload=2 * payload_of(raws),
    )
