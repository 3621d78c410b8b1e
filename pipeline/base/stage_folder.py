"""How the output folder of a stage tells whether it is done, cut short, or somebody else's.

The folder holds ``_started.json`` from the beginning and ``_stage.json`` as its last file: identity (options and inputs
that decide the output), counts, the counts of the stages before it, outputs and versions. A folder whose identity
matches is skipped or continued; any other is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.flow import STAGES
from pipeline.base.options import identity_of

STAGE_NAME: Final = "_stage.json"
_STARTED_NAME: Final = "_started.json"
_RECORDED_PACKAGES: Final = ("wit400m", "apache-beam", "pyarrow", "numpy", "Pillow")
_ADVICE: Final = "--overwrite makes it anew, another --output keeps both"


class State(Enum):
    """What a stage's output folder says of it."""

    FRESH = "fresh"
    CUT_SHORT = "cut short"
    DONE = "done"


class StageMismatch(ValueError):
    """An output folder holds something that these options and inputs did not make."""


class Maker(Protocol):
    """What fills a folder: a `pipeline.steps.Stage`."""

    output: str

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def format(self) -> int:
        """Another number stands for another output of the same options and inputs."""

    def inputs(self) -> list[str]:
        """The files, or output folders of other stages, whose content decides the output."""


def check_finished(folder: str) -> None:
    """Checks that a stage is done.

    Raises:
        FileNotFoundError: When no stage has finished in a folder.
    """
    if not files.exists(files.join(folder, STAGE_NAME)):
        raise FileNotFoundError(f"no finished stage in {folder} (no {STAGE_NAME}); run the stage that writes it first")


def stage_identity(stage: Maker) -> dict[str, Any]:
    """What decides a stage's output: its options and the content of its inputs, whatever their order and folder."""
    stamps = [_input_stamp(path) for path in stage.inputs()]
    return {
        "format": stage.format,
        "stage": stage.name,
        "options": json.loads(json.dumps(identity_of(stage))),
        "inputs": sorted(stamps, key=lambda stamp: (stamp["name"], stamp["digest"])),
    }


def open_stage(stage: Maker, identity: Mapping[str, Any]) -> State:
    """Looks at a stage's output folder, and marks it as started when it is new.

    Raises:
        StageMismatch: When the folder was made by other options or inputs, or is not a stage's folder.
    """
    for name, state in ((STAGE_NAME, State.DONE), (_STARTED_NAME, State.CUT_SHORT)):
        path = files.join(stage.output, name)
        if files.exists(path):
            found = files.read_json(path)["identity"]
            if found != identity:
                raise StageMismatch(f"{stage.output}: made {_difference(found, identity)}; {_ADVICE}")
            if state is State.CUT_SHORT:
                files.remove_temporaries(stage.output)
            return state
    if files.list_files(stage.output):
        raise StageMismatch(f"{stage.output}: holds files that no stage wrote; choose another folder")
    files.write_json(files.join(stage.output, _STARTED_NAME), {"identity": identity})
    return State.FRESH


def discard_stage(stage: Maker) -> None:
    """Removes a stage's output folder, if a stage wrote it."""
    if any(files.exists(files.join(stage.output, name)) for name in (STAGE_NAME, _STARTED_NAME)):
        files.remove_tree(stage.output)


def commit_stage(stage: Maker, identity: Mapping[str, Any], counts: Counts) -> None:
    """Declares a stage's output complete by its ``_stage.json``, and removes the folders it worked in."""
    outputs = [{"name": files.basename(p), "bytes": files.file_size(p)} for p in files.list_files(stage.output)]
    content = {
        "identity": identity,
        "counts": counts,
        "history": history_of(stage),
        "outputs": outputs,
        "versions": _versions(),
    }
    files.write_json(files.join(stage.output, STAGE_NAME), content)
    files.remove_temporaries(stage.output)
    files.remove_working_folders(stage.output)


def read_stage(folder: str) -> dict[str, Any]:
    """The ``_stage.json`` of a finished stage."""
    return dict(files.read_json(files.join(folder, STAGE_NAME)))


def history_of(stage: Maker) -> list[dict[str, Any]]:
    """What the stages before this one counted: ``{"stage": name, "counts": counts}``, in the order they ran.

    A stage that ran in several rounds is there once a round.
    """
    history: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in stage.inputs():
        if files.exists(files.join(folder, STAGE_NAME)):
            content = read_stage(folder)
            own = {"stage": content["identity"]["stage"], "counts": content["counts"]}
            entries = [*content["history"], own]
            history |= {(entry["stage"], json.dumps(entry["counts"], sort_keys=True)): entry for entry in entries}
    order = list(STAGES)
    return [history[key] for key in sorted(history, key=lambda key: order.index(key[0]))]


def _input_stamp(path: str) -> dict[str, Any]:
    if not files.exists(path):
        raise FileNotFoundError(f"no such file or folder: {path}")
    if not files.is_folder(path):
        return files.file_stamp(path)
    check_finished(path)
    content = read_stage(path)
    content.pop("versions")
    text = json.dumps(content, sort_keys=True)
    return {"name": content["identity"]["stage"], "digest": hashlib.sha256(text.encode()).hexdigest()}


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if found["stage"] != wanted["stage"]:
        return f"by the stage {found['stage']}, not {wanted['stage']}"
    if found["format"] != wanted["format"]:
        which = "an older" if found["format"] < wanted["format"] else "a newer"
        return f"by {which} version of {wanted['stage']} (format {found['format']}, here it is {wanted['format']})"
    changed = [
        f"{name.replace('_', '-')} {found['options'].get(name)!r}, not {wanted['options'].get(name)!r}"
        for name in sorted(found["options"] | wanted["options"])
        if found["options"].get(name) != wanted["options"].get(name)
    ]
    return "with " + (", ".join(changed) or f"other inputs ({_changed_inputs(found['inputs'], wanted['inputs'])})")


def _changed_inputs(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> str:
    """The names of the inputs that one of two identities lacks."""
    changed = {stamp["name"] for stamp in [*found, *wanted] if stamp not in found or stamp not in wanted}
    return ", ".join(sorted(changed))


def _versions() -> dict[str, str]:
    found = {}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that was not installed
            found[package] = "unknown"
    return found
