"""Faces to be blurred: options of a stage, and the boxes of all samples that stay, joined to their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from pipeline.base.carried_columns import Carried
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.options import option
from pipeline.base.shard_format import FACES_BLURRED
from pipeline.sharding.packing.face_boxes import (
    UNSCANNED,
    box_tables,
    boxes_of,
    find_boxes,
    pack_boxes,
    read_face_folder,
    write_boxes,
)
from pipeline.sharding.selection.scores import ScoreTables
from pipeline.sharding.stored_samples import RawGroup, num_buckets, payload_of
from pipeline.steps import GroupPacked, Step


@dataclass(kw_only=True)
class BlurOptions:
    """Which faces are made unrecognisable; options of stages."""

    name: ClassVar[str] = ""  # of the stage

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

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()  # type: ignore[misc]
        if not self.blur_faces and (self.unscanned, self.encode_quality) != ("refuse", 95):
            raise ValueError(f"{self.name}: unscanned and encode-quality want blur-faces, not ''")

    def box_files(self) -> list[str]:
        """What closes the folder of boxes, if faces are blurred; raises as `read_face_folder` does."""
        return [read_face_folder(self.blur_faces)] if self.blur_faces else []

    def check_boxes(self, carried: Carried) -> None:
        """Raises ValueError when samples carry how many faces were blurred in them: it was done before."""
        if self.blur_faces and FACES_BLURRED in {field.name for field in carried}:
            raise ValueError(f"{self.name}: blur-faces: samples carry {FACES_BLURRED!r} already: it was done before")

    def check_scanned(self, counts: Counts) -> None:
        """Raises ValueError when faces were not looked for in some samples, unless these are to go in as they are."""
        if self.unscanned == "refuse" and (number := counts.get(UNSCANNED, 0)):
            raise ValueError(
                f"{self.name}: blur-faces: {number:,} samples are not in the tables of {self.blur_faces!r}; run "
                "python -m clip_train flag --faces over all of them, or say --unscanned keep"
            )

    def join_faces(self, groups: Sequence[RawGroup], *, verdicts: StageFolder, joined: StageFolder) -> list[Step]:
        """Boxes of faces, brought to the rows of all groups that stay; no step where faces are not blurred.

        Args:
            groups: Of raw tars.
            verdicts: Of all rules.
            joined: Where the boxes of each group go.
        """
        if not self.blur_faces:
            return []
        raws = [raw for group in groups for raw in group.raws]
        sources: list[RawGroup | ScoreTables] = [*groups, *box_tables(self.blur_faces)]
        join = GroupPacked(
            sources=sources,
            pack=partial(pack_boxes, verdicts=verdicts, buckets=num_buckets(3 * len(raws))),
            find=find_boxes,
            units=groups,
            output_of=partial(boxes_of, folder=joined),
            work=partial(write_boxes, verdicts=verdicts),
            payload=3 * payload_of(raws),
        )
        return [Step("JoinFaces", join)]
