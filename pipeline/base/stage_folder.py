"""What a stage is, and how its output folder tells whether it is done, cut short, or somebody else's.

A stage is a dataclass of options; its `steps` are Beam pipelines that run one after another. Its output folder holds
``_started.json`` from the beginning and ``_stage.json`` as its last file: identity (options and inputs that decide
the output), counts, the counts of the stages before it, outputs and versions. A folder whose identity matches is
skipped or continued; any other is refused.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, NamedTuple

import apache_beam as beam

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.options import check_options, identity_of, option

STAGE_NAME = "_stage.json"
_STARTED_NAME = "_started.json"
STAGE_ORDER = (
    "build-vocab",
    "extract-pairs",
    "match-pairs",
    "balance-pairs",
    "fetch-images",
    "balance-final",
    "write-shards",
)
_FORMAT = 3  # raise it when a stage's output changes for the same options and inputs
_RECORDED_PACKAGES = ("wit400m", "apache-beam", "pyarrow", "numpy", "Pillow")


class Shape(Enum):
    """How a step uses a machine: many files apart, or small rows together."""

    MAP = "map"  # worker processes
    SHUFFLE = "shuffle"  # one process, in memory (notes on local engines: docs/engines.md)


class Step(NamedTuple):
    """One Beam pipeline of a stage: a transform from the pipeline's root to PCollection[UnitReport]."""

    label: str
    transform: beam.PTransform
    shape: Shape = Shape.MAP
    outputs: tuple[str, ...] = ()  # files it will write, for the progress bar


class State(Enum):
    """What a stage's output folder says of it."""

    FRESH = "fresh"
    CUT_SHORT = "cut short"
    DONE = "done"


class StageMismatch(ValueError):
    """An output folder holds something that these options and inputs did not make."""


@dataclass(kw_only=True)
class Stage(ABC):
    """A stage: its options are its fields (`pipeline.base.options.option`), its docstring is its help."""

    name: ClassVar[str]

    output: str = option("", "Folder to write.")

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        check_options(self)

    @abstractmethod
    def inputs(self) -> list[str]:
        """The files, or output folders of other stages, whose content decides the output.

        Raises:
            FileNotFoundError: When one of them is missing.
        """

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """The pipelines to run, in order; a later one may look at what an earlier one wrote."""


def input_tables(folder: str, suffix: str = ".parquet") -> list[str]:
    """The tables that another stage left in its folder.

    Raises:
        FileNotFoundError: When that stage has not finished there.
    """
    if not files.exists(files.join(folder, STAGE_NAME)):
        raise FileNotFoundError(f"no finished stage in {folder} (no {STAGE_NAME}); run the stage that writes it first")
    return files.list_files(folder, suffix)


def stage_identity(stage: Stage) -> dict[str, Any]:
    """What decides a stage's output: its options and the content of its inputs, whatever their order and folder."""
    stamps = [_input_stamp(path) for path in stage.inputs()]
    return {
        "format": _FORMAT,
        "stage": stage.name,
        "options": json.loads(json.dumps(identity_of(stage))),
        "inputs": sorted(stamps, key=lambda stamp: (stamp["name"], stamp["digest"])),
    }


def open_stage(stage: Stage, identity: Mapping[str, Any]) -> State:
    """Looks at a stage's output folder, and marks it as started when it is new.

    Raises:
        StageMismatch: When the folder was made by other options or inputs, or is not a stage's folder.
    """
    for name, state in ((STAGE_NAME, State.DONE), (_STARTED_NAME, State.CUT_SHORT)):
        path = files.join(stage.output, name)
        if files.exists(path):
            found = json.loads(files.read_bytes(path))["identity"]
            if found != identity:
                raise StageMismatch(f"{stage.output}: made with {_difference(found, identity)}; {_ADVICE}")
            if state is State.CUT_SHORT:
                files.remove_temporaries(stage.output)
            return state
    if files.list_files(stage.output):
        raise StageMismatch(f"{stage.output}: holds files that no stage wrote; choose another folder")
    _write_json(files.join(stage.output, _STARTED_NAME), {"identity": identity})
    return State.FRESH


def discard_stage(stage: Stage) -> None:
    """Removes a stage's output folder, if a stage wrote it."""
    if any(files.exists(files.join(stage.output, name)) for name in (STAGE_NAME, _STARTED_NAME)):
        files.remove_tree(stage.output)


def commit_stage(stage: Stage, identity: Mapping[str, Any], counts: Counts) -> None:
    """Declares a stage's output complete by its ``_stage.json``, and removes the folders it worked in."""
    outputs = [{"name": files.basename(p), "bytes": files.file_size(p)} for p in files.list_files(stage.output)]
    content = {
        "identity": identity,
        "counts": counts,
        "history": history_of(stage),
        "outputs": outputs,
        "versions": _versions(),
    }
    _write_json(files.join(stage.output, STAGE_NAME), content)
    files.remove_temporaries(stage.output)
    files.remove_working_folders(stage.output)


def read_stage(folder: str) -> dict[str, Any]:
    """The ``_stage.json`` of a finished stage."""
    return dict(json.loads(files.read_bytes(files.join(folder, STAGE_NAME))))


def history_of(stage: Stage) -> list[dict[str, Any]]:
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
    return [history[key] for key in sorted(history, key=lambda key: STAGE_ORDER.index(key[0]))]


_ADVICE = "--overwrite makes it anew, another --output keeps both"


def _input_stamp(path: str) -> dict[str, Any]:
    if not files.exists(path):
        raise FileNotFoundError(f"no such file or folder: {path}")
    if not files.is_folder(path):
        return files.file_stamp(path)
    if not files.exists(files.join(path, STAGE_NAME)):
        raise FileNotFoundError(f"no finished stage in {path} (no {STAGE_NAME}); run the stage that writes it first")
    content = read_stage(path)
    content.pop("versions")
    text = json.dumps(content, sort_keys=True)
    return {"name": content["identity"]["stage"], "digest": hashlib.sha256(text.encode()).hexdigest()}


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if found["stage"] != wanted["stage"]:
        return f"the stage {found['stage']}, not {wanted['stage']}"
    changed = [
        f"{name.replace('_', '-')} {found['options'].get(name)!r}, not {wanted['options'].get(name)!r}"
        for name in sorted(found["options"] | wanted["options"])
        if found["options"].get(name) != wanted["options"].get(name)
    ]
    return ", ".join(changed) or "other inputs"


def _versions() -> dict[str, str]:
    found = {}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that was not installed
            found[package] = "unknown"
    return found


def _write_json(path: str, content: Mapping[str, Any]) -> None:
    files.write_bytes_whole(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
