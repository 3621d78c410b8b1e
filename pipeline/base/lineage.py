"""Which folders descend from which: a stage's inputs must be of one data set, and made by the stages they should be.

A finished folder has a *stamp*, the stage that made it and a digest of all it says of itself, outputs and counts
included; and it knows the stamps of its *ancestors*, the folders it was made from, theirs, and so on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from pipeline.base import files
from pipeline.base.options import Option, options_of

STAGE_NAME: Final = "_stage.json"
_OF_A_RUN: Final = ("versions", "switched_off")  # what a folder says of itself that does not count

Stamp = dict[str, Any]  # "name" of the stage or file, "digest"; of a file "bytes" too


class StageMismatch(ValueError):
    """A folder holds something other than it should."""


class Kinship(NamedTuple):
    """Two folders, one of which was made from the other, at once or by stages in between."""

    one: str
    other: str


class Heir(Protocol):
    """What is made from folders: a `pipeline.steps.Stage`."""

    @property
    def name(self) -> str:
        """Of the stage."""

    def inputs(self) -> list[str]:
        """The files, or folders of finished stages, that it is made from."""

    def kin(self) -> Iterable[Kinship]:
        """Which of the folders must be of one data set."""


def read_stage(folder: str, makers: Sequence[str] = ()) -> dict[str, Any]:
    """The ``_stage.json`` of a finished stage.

    Args:
        folder: Of the stage.
        makers: The stages that write such a folder, for the message.

    Raises:
        FileNotFoundError: When no stage has finished in a folder.
    """
    try:
        return dict(files.read_json(files.join(folder, STAGE_NAME)))
    except (FileNotFoundError, NotADirectoryError):
        writer = " or ".join(makers) or "the stage that writes it"
        raise FileNotFoundError(f"no finished stage in {folder} (no {STAGE_NAME}); run {writer} first") from None


def stage_stamp(folder: str) -> Stamp:
    """The stamp of a finished folder."""
    return stamp_of(read_stage(folder))


def stamp_of(content: Mapping[str, Any]) -> Stamp:
    """The stamp of a folder with some ``_stage.json``."""
    text = json.dumps({key: value for key, value in content.items() if key not in _OF_A_RUN}, sort_keys=True)
    return {"name": content["identity"]["stage"], "digest": hashlib.sha256(text.encode()).hexdigest()}


def ancestors_of(contents: Iterable[Mapping[str, Any]]) -> list[Stamp]:
    """The ancestors of a folder made from others, with some ``_stage.json`` each; sorted."""
    found = [stamp for content in contents for stamp in [stamp_of(content), *content["ancestors"]]]
    unique = {stamp["digest"]: stamp for stamp in found}
    return [unique[digest] for digest in sorted(unique)]


def check_lineage(stage: Heir) -> None:
    """Checks that the folders a stage is given were made by the right stages, and of one data set.

    Raises:
        StageMismatch: When one was not; it names the folder.
        FileNotFoundError: When no stage has finished in a folder.
    """
    for opt, folder in _folders(stage):
        _check_folder(stage, opt, folder)
    for one, other in stage.kin():
        contents = [read_stage(one), read_stage(other)]
        stamps = [stamp_of(content) for content in contents]
        if stamps[0] not in contents[1]["ancestors"] and stamps[1] not in contents[0]["ancestors"]:
            raise StageMismatch(f"{one} and {other} are of two data sets: neither was made from the other")


def check_maker(stage: Heir, name: str) -> None:
    """Checks that the folder of one option was made by a stage that makes such folders; raises as `check_lineage`."""
    [opt] = [opt for opt in options_of(type(stage)) if opt.name == name]
    _check_folder(stage, opt, getattr(stage, name))


def stage_folders(stage: Heir) -> list[str]:
    """The inputs of a stage that are folders of finished stages: those of options that say who makes them."""
    return [folder for _, folder in _folders(stage)]


def _folders(stage: Heir) -> list[tuple[Option, str]]:
    inputs = set(stage.inputs())
    values = [(opt, getattr(stage, opt.name)) for opt in options_of(type(stage)) if opt.spec.made_by]
    return [(opt, path) for opt, value in values for path in (value if opt.is_list else [value]) if path in inputs]


def _check_folder(stage: Heir, opt: Option, folder: str) -> None:
    wanted = opt.spec.made_by
    content = read_stage(folder, wanted)
    maker = content["identity"]["stage"]
    name = f"{stage.name}: {opt.flag.removeprefix('--')}"
    if maker not in wanted:
        raise StageMismatch(f"{name}: {folder} was made by {maker}, not by {' or '.join(wanted)}")
    if "ancestors" not in content:
        raise StageMismatch(f"{name}: {folder} was made by an older version of {maker}; make it anew")
