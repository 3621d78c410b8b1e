"""Rules of selection that compare rows of all groups: each a step that packs rows, and finds those that leave.

In: the verdicts on every group by the rules before. Out: its verdicts, with those that leave by this rule.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol

from pipeline.base.drops import DropReason
from pipeline.base.folders import StageFolder
from pipeline.sharding.selection.verdicts import verdicts_of, write_losses
from pipeline.sharding.stored_samples import RawGroup
from pipeline.steps import GroupPacked, Packed, Step


class _Pack(Protocol):
    def __call__(self, group: RawGroup, /, *, verdicts: StageFolder) -> Packed: ...


class GroupRule(NamedTuple):
    """A rule that compares rows of all groups.

    Attributes:
        label: Of its step.
        reason: For which rows leave by it.
        pack: The rows of a group that stay so far (`read_candidates`) as records, by bucket.
        find: The rows that leave among all records in a bucket, int32, by the number of their group.
        payload: Bytes of all records, about.
    """

    label: str
    reason: DropReason
    pack: _Pack
    find: Callable[[Iterable[bytes]], Packed]
    payload: int


def judge_in_turn(
    rules: Sequence[GroupRule], groups: Sequence[RawGroup], folders: Sequence[StageFolder]
) -> Iterator[Step]:
    """The steps of some rules, one after another.

    Args:
        rules: In the order in which they are asked.
        groups: Of raw tars.
        folders: [rules + 1], where the verdicts lie before each rule, and after the last.
    """
    for rule, (before, after) in zip(rules, pairwise(folders), strict=True):
        found = GroupPacked(
            sources=groups,
            pack=partial(rule.pack, verdicts=before),
            find=rule.find,
            units=groups,
            output_of=partial(verdicts_of, folder=after),
            work=partial(write_losses, before=before, reason=rule.reason),
            payload=rule.payload,
        )
        yield Step(rule.label, found)
