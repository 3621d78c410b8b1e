"""How the output folder of a stage tells whether it is done, cut short, or somebody else's.

The folder holds ``_started.json`` from the beginning and ``_stage.json`` as its last file: identity (options and inputs
that decide the output), the rules that one of its runs switched off, counts, the counts of the stages before it,
outputs and versions. A folder whose identity matches is skipped or continued; any other is refused.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.flow import STAGES
from pipeline.base.lineage import (
    STAGE_NAME,
    Heir,
    StageMismatch,
    Stamp,
    ancestors_of,
    check_lineage,
    read_stage,
    stage_folders,
    stage_stamp,
)
from pipeline.base.options import identity_of, switched_off

STARTED_NAME: Final = "_started.json"
_RECORDED_PACKAGES: Final = ("wit400m", "apache-beam", "pyarrow", "numpy", "Pillow")
_SWITCHED_OFF: Final = "switched_off"
_ADVICE: Final = "--overwrite makes it anew, another --output keeps both"


class State(Enum):
    """What a stage's output folder says of it."""

    FRESH = "fresh"
    CUT_SHORT = "cut short"
    DONE = "done"


class Maker(Heir, Protocol):
    """What fills a folder: a `pipeline.steps.Stage`."""

    output: str

    @property
    def format(self) -> int:
        """Another number stands for another output of the same options and inputs."""

    def stamp(self, path: str) -> Stamp:
        """What an input that is a file is recognised by."""


def stage_identity(stage: Maker) -> dict[str, Any]:
    """What decides a stage's output: its options and the content of its inputs, whatever their order and folder.

    Raises:
        FileNotFoundError: For an input that is missing, or a folder where no stage has finished.
        StageMismatch: For inputs that do not belong together.
        ValueError: For an input in the output folder, which would be removed with what is there.
    """
    check_lineage(stage)
    folders, inputs = set(stage_folders(stage)), stage.inputs()
    if own := [path for path in inputs if files.is_within(path, stage.output)]:
        raise ValueError(f"{stage.name}: output must not be where an input lies: {own[0]}; choose another folder")
    stamps = files.each(lambda path: stage_stamp(path) if path in folders else _file_stamp(stage, path), inputs)
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
    state = find_state(stage, identity)
    if state is State.CUT_SHORT:
        files.remove_temporaries(stage.output)
    if state is not State.DONE:
        _mark_started(stage, identity, STARTED_NAME if state is State.CUT_SHORT else None)
    return state


def reopen_stage(stage: Maker, identity: Mapping[str, Any]) -> None:
    """Marks a folder that is done as one that is worked on; its files stay, and count as what was there before."""
    _mark_started(stage, identity, STAGE_NAME)
    files.remove_file(files.join(stage.output, STAGE_NAME))


def _mark_started(stage: Maker, identity: Mapping[str, Any], before: str | None) -> None:
    """Writes ``_started.json``, unless it says already what it has to.

    Args:
        stage: The stage.
        identity: Its `stage_identity`.
        before: The file that tells of the runs before; None: there were none.
    """
    known = files.read_json(files.join(stage.output, before)) if before else {}
    off = sorted({*known.get(_SWITCHED_OFF, []), *switched_off(stage)})
    content = {"identity": identity, _SWITCHED_OFF: off}
    if before != STARTED_NAME or known != content:
        files.write_json(files.join(stage.output, STARTED_NAME), content)


def find_state(stage: Maker, identity: Mapping[str, Any]) -> State:
    """Looks at a stage's output folder; changes nothing. Raises as `open_stage`."""
    for name, state in ((STAGE_NAME, State.DONE), (STARTED_NAME, State.CUT_SHORT)):
        path = files.join(stage.output, name)
        if files.exists(path):
            found = files.read_json(path)["identity"]
            if found != identity:
                raise StageMismatch(f"{stage.output}: made {_difference(found, identity)}; {_ADVICE}")
            return state
    if files.list_files(stage.output):
        raise StageMismatch(f"{stage.output}: holds files that no stage wrote; choose another folder")
    return State.FRESH


def discard_stage(stage: Maker) -> None:
    """Removes a stage's output folder, if a stage wrote it."""
    if any(files.exists(files.join(stage.output, name)) for name in (STAGE_NAME, STARTED_NAME)):
        files.remove_tree(stage.output)


def commit_stage(
    stage: Maker, identity: Mapping[str, Any], counts: Counts, written: Iterable[files.Written] = ()
) -> None:
    """Declares a stage's output complete by its ``_stage.json``, and removes the folders it worked in.

    Args:
        stage: The stage.
        identity: Its `stage_identity`.
        counts: What it counted.
        written: Files that are known to have been written, with their digests; others are read for theirs.

    Raises:
        StageMismatch: When a file is not there, or another one is.
    """
    close_folder(
        stage.output,
        identity=identity,
        counts=counts,
        outputs=_outputs(stage.output, written),
        made_from=stage_folders(stage),
        switched_off=files.read_json(files.join(stage.output, STARTED_NAME)).get(_SWITCHED_OFF, []),
    )
    files.remove_temporaries(stage.output)
    files.remove_working_folders(stage.output)


def close_folder(
    folder: str,
    *,
    identity: Mapping[str, Any],
    counts: Mapping[str, int],
    outputs: Sequence[Mapping[str, Any]],
    made_from: Sequence[str],
    switched_off: Sequence[str] = (),
) -> None:
    """Writes ``_stage.json``.

    Args:
        folder: Of the stage.
        identity: Its `stage_identity`.
        counts: What it counted.
        outputs: ``{"name": …, "bytes": …, "sha256": …}`` of each file.
        made_from: The folders of the stages before.
        switched_off: The options by which a run switched a rule off, of those that do not change the output.
    """
    before = [read_stage(path) for path in made_from]
    content = {
        "identity": identity,
        _SWITCHED_OFF: list(switched_off),
        "ancestors": ancestors_of(before),
        "counts": counts,
        "history": _history(before),
        "outputs": outputs,
        "versions": _versions(),
    }
    files.write_json(files.join(folder, STAGE_NAME), content)


def history_of(stage: Maker) -> list[dict[str, Any]]:
    """What the stages before this one counted, and by which options, in the order they ran.

    ``{"stage": name, "counts": counts, "options": options, "switched_off": names}`` each: those options that decide an
    output, and of the others those that switched a rule off; in folders of older versions none are named. A stage that
    ran in several rounds is there once a round.
    """
    return _history([read_stage(folder) for folder in stage_folders(stage)])


def versions_of(folders: Sequence[str], name: str) -> list[tuple[str, dict[str, str]]]:
    """By which versions of which software some finished folders were made, and what is made now.

    Args:
        folders: Of the stages before.
        name: Of the stage that is made now.
    """
    contents = [read_stage(folder) for folder in folders]
    told = [(str(content["identity"]["stage"]), dict(content["versions"])) for content in contents]
    told.append((name, _versions()))
    return sorted((one for place, one in enumerate(told) if one not in told[:place]), key=lambda one: _place(one[0]))


def _history(contents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    history: dict[tuple[str, str], dict[str, Any]] = {}
    for content in contents:
        identity = content["identity"]
        own = {"stage": identity["stage"], "counts": content["counts"]}
        own |= {"options": identity["options"]} if "options" in identity else {}
        own |= {_SWITCHED_OFF: off} if (off := content.get(_SWITCHED_OFF)) else {}
        entries = [*content["history"], own]
        history |= {(entry["stage"], json.dumps(entry, sort_keys=True)): entry for entry in entries}
    return [history[key] for key in sorted(history, key=lambda key: _place(key[0]))]


def _place(name: str) -> int:
    """The place of a stage in the flow."""
    return list(STAGES).index(name)


def _file_stamp(stage: Maker, path: str) -> Stamp:
    try:
        return stage.stamp(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file or folder: {path}") from None


def _outputs(folder: str, written: Iterable[files.Written]) -> list[dict[str, Any]]:
    """Name, size and digest of all files of a stage, sorted by name; without its working files."""
    start = folder.rstrip("/") + "/"
    known = {w.path.removeprefix(start): w for w in written if w.path.startswith(start)}
    there = {name: size for name, size in files.list_sizes(folder).items() if name[0] not in "._"}
    for name, one in known.items():
        if "/" not in name and name[0] not in "._" and there.get(name) != one.bytes:
            raise StageMismatch(f"{one.path}: {there.get(name, 'no')} bytes are there, but {one.bytes} were written")
    unknown = [name for name in there if name not in known]
    digests = dict(zip(unknown, files.each(lambda name: files.file_digest(start + name), unknown), strict=True))
    for name, digest in digests.items():
        known[name] = files.Written(start + name, there[name], digest)
    public = [name for name in sorted(known) if all(part[0] not in "._" for part in name.split("/"))]
    return [{"name": name, "bytes": known[name].bytes, "sha256": known[name].sha256} for name in public]


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
