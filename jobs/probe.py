"""Whether an engine's workers see the files that this machine sees: asked before a stage starts.

A worker that does not share the output folder would write into one of its own, one that does not share an input finds
nothing. On a cloud a path without a scheme is another machine's. Elsewhere it may be shared (one machine, NFS), so a
worker is asked: it must read a token that was just written, see every input, and leave an answer that is seen here.
"""

import fnmatch
import secrets
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from pipeline.base import files
from pipeline.base.options import Option, options_of
from pipeline.base.stage_folder import Maker

Ask = Callable[[Callable[[], None]], None]
_FOLDER: Final = "_probe"
_MACHINE_ONLY: Final = ("memory://", "local://")
_MARK: Final = "the worker does not share"


class NotShared(ValueError):
    """A path of a stage is not the same file to the engine's workers."""


class Where(Protocol):
    """An engine, as far as files matter."""

    @property
    def is_local(self) -> bool:
        """Whether steps run in processes of this machine that this program starts."""

    @property
    def is_cloud(self) -> bool:
        """Whether workers are machines that share no disk with this one."""

    def call_on_worker(self, function: Callable[[], None]) -> None:
        """Calls a function in a worker; what it raises, or that no worker starts in time, is an error here."""


class Question(NamedTuple):
    """What a worker is asked.

    Attributes:
        output: The stage's folder.
        token: What was written there.
        inputs: What must be there.
    """

    output: str
    token: str
    inputs: tuple[str, ...]

    def file(self, name: str) -> str:
        """A file of the question."""
        return files.join(self.output, _FOLDER, f"{self.token}-{name}")

    def answer(self) -> None:
        """The worker's part.

        Raises:
            NotShared: For the first path that is not what the driver sees.
        """
        asked = self.file("question")
        if not files.exists(asked) or files.read_bytes(asked) != self.token.encode():
            raise NotShared(f"{_MARK} {self.output}; {_advice(self.output)}")
        for path in self.inputs:
            if not files.exists(path):
                raise NotShared(f"{_MARK} {path}; {_advice(path)}")
        files.write_bytes_whole(self.file("answer"), self.token.encode())


def refuse_local_paths(stage: Maker, engine: Where) -> None:
    """Refuses a stage with paths of this machine's disk on a cloud; does not look at files of its options' defaults.

    Raises:
        ValueError: Naming the option and the path.
    """
    if not engine.is_cloud:
        return
    for flag, path in _local_paths(stage):
        raise NotShared(f"{stage.name}: {flag} {path} lies on this machine, which the engine's workers do not share")


def check_shared(stage: Maker, engine: Where) -> None:
    """Asks a worker of an engine that is neither local nor a cloud whether it sees a stage's files.

    Raises:
        NotShared: When it does not, naming the path.
        Exception: What the engine raises when no worker starts.
    """
    if engine.is_local or engine.is_cloud:
        return
    question = Question(stage.output, secrets.token_hex(8), tuple(_shared_inputs(stage)))
    try:
        files.write_bytes_whole(question.file("question"), question.token.encode())
        _ask(question, engine)
        if not files.exists(question.file("answer")):
            raise NotShared(f"{_MARK} {stage.output}: what it writes there is not seen here; {_advice(stage.output)}")
    finally:
        files.remove_tree(files.join(stage.output, _FOLDER))


def _ask(question: Question, engine: Where) -> None:
    try:
        engine.call_on_worker(question.answer)
    except RuntimeError as error:
        text = str(error)
        if _MARK not in text:
            raise
        said = text[text.index(_MARK) :].splitlines()[0]
        raise NotShared(said.partition(" [while running")[0]) from error  # Beam adds the name of a transform


def _local_paths(stage: Maker) -> Iterator[tuple[str, str]]:
    """(flag, path) of the paths of a stage that are no other machine's."""
    values = _texts(stage, read_here=False)
    yield from ((opt.flag, path) for opt, path in values if opt.spec.under_data is not None and _is_of_machine(path))
    for path in filter(_is_of_machine, _shared_inputs(stage)):
        flags = [opt.flag for opt, value in values if _names(value, path) or _names(_path_of(value), path)]
        yield (flags[0] if flags else "the input"), path


def _shared_inputs(stage: Maker) -> list[str]:
    """The inputs of a stage that its workers read, too."""
    here = [_path_of(text) for _, text in _texts(stage, read_here=True)]
    return [path for path in stage.inputs() if not any(_names(value, path) for value in here)]


def _texts(stage: Maker, *, read_here: bool) -> list[tuple[Option, str]]:
    """The texts that a stage was given, with their options: those that the command alone reads, or all others."""
    return [
        (opt, value)
        for opt in options_of(type(stage))
        if opt.scalar is str and opt.spec.read_here == read_here
        for value in (getattr(stage, opt.name) if opt.is_list else [getattr(stage, opt.name)])
        if value
    ]


def _path_of(text: str) -> str:
    """A path that may stand behind its name or kind.

    >>> _path_of("coco=data/val2017"), _path_of("data/val2017")
    ('data/val2017', 'data/val2017')
    """
    return text.partition("=")[2] or text


def _names(value: str, path: str) -> bool:
    return path == value or path.startswith(value.rstrip("/") + "/") or fnmatch.fnmatch(path, value)


def _is_of_machine(path: str) -> bool:
    return files.is_local(path) or path.startswith(_MACHINE_ONLY)


def _advice(path: str) -> str:
    if files.is_local(path) and not path.removeprefix("file://").startswith("/"):
        return "give a whole path, from /, on a disk that both see"
    return "give a path on a disk or in a store that both see"
