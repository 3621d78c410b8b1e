"""``NAME=SPEC`` ► flags by name.

In: what a command was given. Out: `Flags`: what has to be read and encoded of each sample, once for all flags, and what
makes a column of numbers of it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
from torch import Tensor

from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.use.flags.heads import HEAD_KEYS, read_head
from clip_train.use.flags.personal import PERSONAL_KEYS, parse_personal
from clip_train.use.flags.prompts import parse_prompts
from clip_train.use.flags.reading import TEXT_SHARE_KEYS, parse_text_share
from clip_train.use.flags.settings import Settings, parse_settings
from clip_train.use.shard_features import IMAGES, TEXTS, ImageMeasure, Kind, ShardFeatures, TextMeasure

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


@runtime_checkable
class FeatureFlag(Protocol):
    """A flag that is told by features."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """The features it is told by."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers, beside the model."""

    def bind(self, model: Clip) -> Callable[[ShardFeatures], Tensor]:
        """What makes its numbers of features: [samples] float32."""


class MeasureFlag(Protocol):
    """A flag that is told by an image, or a text, alone."""

    @property
    def measure(self) -> ImageMeasure | TextMeasure:
        """What is measured of each."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers."""


class Cosine(NamedTuple):
    """The cosine of image and text."""

    kinds: Sequence[Kind] = (IMAGES, TEXTS)
    identity: Mapping[str, Any] = {}  # the model decides all

    def bind(self, model: Clip) -> Callable[[ShardFeatures], Tensor]:
        """What makes its numbers of features: [samples] float32."""
        return lambda encoded: (encoded.features[IMAGES] * encoded.features[TEXTS]).sum(dim=1)


class FlagKind(NamedTuple):
    """A kind of flags, as a command line names it.

    Attributes:
        parse: Makes a flag of what stands behind the kind.
        keys: What may be set.
        form: How a flag is written, without its name.
        help: What its number says.
        takes_value: Whether a value stands behind the kind and a colon.
    """

    parse: Callable[[Settings], FeatureFlag | MeasureFlag]
    keys: Sequence[str]
    form: str
    help: str
    takes_value: bool


FLAG_KINDS: Final[Mapping[str, FlagKind]] = {
    "cosine": FlagKind(lambda settings: Cosine(), (), "cosine", "the cosine of image and text", takes_value=False),
    "prompts": FlagKind(
        lambda settings: parse_prompts(settings.value),
        (),
        "prompts:POSITIVE|NEGATIVE",
        "texts, or .txt files of them: the share of the softmax that falls to the first",
        takes_value=True,
    ),
    "head": FlagKind(
        read_head,
        HEAD_KEYS,
        "head:FILE.safetensors[,activation=relu][,input=raw][,output=sigmoid|softmax][,class=N]",
        "a linear or MLP head over image features",
        takes_value=True,
    ),
    "personal": FlagKind(
        parse_personal,
        PERSONAL_KEYS,
        "personal[,kinds=email+phone+iban+card+ip][,unit=share]",
        "personal data in the text, counted",
        takes_value=False,
    ),
    "text-share": FlagKind(
        parse_text_share,
        TEXT_SHARE_KEYS,
        "text-share[,side=PIXELS][,confidence=X]",
        "the share of the image that readable text covers",
        takes_value=False,
    ),
}


class Flags(NamedTuple):
    """Flags by name, in the order they were given."""

    of_features: Mapping[str, FeatureFlag]
    of_samples: Mapping[str, MeasureFlag]
    names: Sequence[str]

    @property
    def kinds(self) -> list[Kind]:
        """The features that are wanted; none: no model is."""
        wanted = {kind for flag in self.of_features.values() for kind in flag.kinds}
        return [kind for kind in (IMAGES, TEXTS) if kind in wanted]

    @property
    def measures(self) -> list[ImageMeasure | TextMeasure]:
        """What is measured of each sample, in the order of `of_samples`."""
        return [flag.measure for flag in self.of_samples.values()]

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides the numbers, beside the model."""
        flags: Mapping[str, FeatureFlag | MeasureFlag] = {**self.of_features, **self.of_samples}
        return {name: {"kind": type(flags[name]).__name__, **flags[name].identity} for name in self.names}

    def bind(self, model: Clip | None) -> Callable[[ShardFeatures], list[pa.Array]]:
        """What makes the columns of a shard, in the order of the names: float32.

        Raises:
            InputError: When a flag does not fit the model.
        """
        bound = {name: flag.bind(model) for name, flag in self.of_features.items()} if model else {}

        def columns(encoded: ShardFeatures) -> list[pa.Array]:
            numbers = {name: pa.array(score(encoded).float().numpy()) for name, score in bound.items()}
            for name, values in zip(self.of_samples, encoded.measured, strict=False):
                numbers[name] = pa.array(values, pa.float32())
            return [numbers[name] for name in self.names]

        return columns


def parse_flags(specs: Sequence[str], *, taken: Sequence[str]) -> Flags:
    """Flags from a command line.

    Args:
        specs: ``NAME=SPEC`` each, or a SPEC that is a kind alone and gives its name.
        taken: Names that no flag may have.

    Raises:
        InputError: When one is not understood; it names the flag.
    """
    of_features: dict[str, FeatureFlag] = {}
    of_samples: dict[str, MeasureFlag] = {}
    names: list[str] = []
    for spec in specs:
        name, _, rest = _split_name(spec)
        if not _NAME.fullmatch(name) or name in taken:
            why = "is what samples say of themselves" if name in taken else "is no name (a-z, 0-9, _, a letter first)"
            raise InputError(f"--flag {spec}: {name!r} {why}")
        if name in names:
            raise InputError(f"--flag {spec}: there are two of the name {name}")
        names.append(name)
        try:
            flag = _parse_one(rest)
        except InputError as error:
            raise InputError(f"--flag {name}: {error}") from error
        if isinstance(flag, FeatureFlag):
            of_features[name] = flag
        else:
            of_samples[name] = flag
    return Flags(of_features, of_samples, names)


def describe_flags() -> str:
    """How flags are written, for people."""
    lines = [f"  {kind.form}\n      {kind.help}" for kind in FLAG_KINDS.values()]
    return "\n".join(["flags (--flag NAME=SPEC; cosine, personal and text-share give a name of their own):", *lines])


def _split_name(spec: str) -> tuple[str, str, str]:
    """The name, and what follows it; of a kind alone, its name with underscores."""
    kind = re.split(r"[:,]", spec, maxsplit=1)[0]
    if kind in FLAG_KINDS:
        return kind.replace("-", "_"), "=", spec
    return spec.partition("=")


def _parse_one(spec: str) -> FeatureFlag | MeasureFlag:
    word = re.split(r"[:,]", spec, maxsplit=1)[0]
    kind = FLAG_KINDS.get(word)
    if kind is None:
        raise InputError(f"{word!r} is no kind of flags; there are {', '.join(FLAG_KINDS)}")
    behind = spec.removeprefix(word)
    if kind.takes_value != behind.startswith(":"):
        raise InputError(f"{spec!r}: it is written {kind.form}")
    is_plain = kind.takes_value and not kind.keys  # commas are part of it
    settings = Settings(behind, {}) if is_plain else parse_settings(behind, kind.keys)
    if settings.value and not kind.takes_value:
        raise InputError(f"{spec!r}: it is written {kind.form}")
    return kind.parse(settings._replace(value=settings.value.removeprefix(":")))
