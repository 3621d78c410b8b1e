"""Whether a disk has the room that a stage's work takes: looked at before work starts.

In: a stage that knows about how much it writes. Out: nothing, or an error that says the folder, the need and what is
free. What an earlier run left in the folder is not needed again. Object stores have no end.
"""

import os
import shutil

from pipeline.base import files
from pipeline.base.sizes import show_bytes
from pipeline.steps import Stage


def check_room(stage: Stage) -> None:
    """Checks that a stage's output folder has room for its work.

    Raises:
        FileTrouble: When it has not.
    """
    needed = stage.room_bytes() if files.is_local(stage.output) else 0
    missing = needed - files.tree_bytes(stage.output) if needed else 0
    free = _free_bytes(stage.output) if missing > 0 else missing
    if missing > free:
        raise files.FileTrouble(
            f"not enough room in {stage.output}: {stage.name} takes about {show_bytes(missing)} more there while it "
            f"works, {show_bytes(free)} are free"
        )


def _free_bytes(folder: str) -> int:
    """What is free where a folder is, or will be."""
    place = os.path.abspath(folder.removeprefix("file://"))
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return shutil.disk_usage(place).free
