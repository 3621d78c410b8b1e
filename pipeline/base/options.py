"""Options as dataclass fields: default, help and limits are written once; flags and TOML keys are derived.

In: a dataclass whose fields are made by `option`. Out: command-line flags (`add_flags`), checked instances
(`options_from`, `check_options`) and the part that decides a stage's output (`identity_of`).
Only the standard library is used here, so that the trainer can share it without Beam.
"""

import argparse
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")

_METADATA_KEY = "wit400m.option"


class OptionSpec(NamedTuple):
    """What `option` adds to a dataclass field."""

    help: str
    minimum: float | None
    maximum: float | None
    under_data: str | None
    identity: bool
    made_by: tuple[str, ...]
    off: float | None
    sparse: bool
    read_here: bool


class Option(NamedTuple):
    """One option of a class: its field and its specification."""

    name: str
    type: Any
    default: Any
    spec: OptionSpec

    @property
    def flag(self) -> str:
        """The command-line spelling, e.g. ``--min-word-count``."""
        return "--" + self.key.replace("_", "-")

    @property
    def key(self) -> str:
        """The name without the underscore that keeps it apart from a Python keyword."""
        return self.name.rstrip("_")

    @property
    def is_list(self) -> bool:
        """Whether the flag may be given several times."""
        return typing.get_origin(self.type) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The only strings allowed, if its type is a `Literal`; else none are named."""
        return typing.get_args(self._value_type) if typing.get_origin(self._value_type) is Literal else ()

    @property
    def scalar(self) -> type:
        """The type of one value: bool, int, float or str."""
        return str if typing.get_origin(self._value_type) is Literal else self._value_type

    @property
    def _value_type(self) -> Any:
        if typing.get_origin(self.type) is Literal:
            return self.type
        arguments = [a for a in typing.get_args(self.type) if a not in (type(None), Ellipsis)]
        return arguments[0] if arguments else self.type


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    under_data: str | None = None,
    identity: bool = True,
    made_by: tuple[str, ...] = (),
    off: float | None = None,
    sparse: bool = False,
    read_here: bool = False,
) -> Any:
    """Declares a dataclass field that is also a flag and a TOML key; one of some strings is annotated as `Literal`.

    Args:
        default: Value when nothing is given.
        help: One sentence for ``--help``; names the unit and the source of a magic number.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        under_data: For a path: where it lies below the data folder when it is left empty.
        identity: Whether the value can change the bytes of the output (time-outs and worker counts cannot).
        made_by: For a folder of a finished stage: the stages that may have made it.
        off: The value that switches a rule off which does not change the output, and is told all the same.
        sparse: Whether the default is left out of what decides the output: a folder that was made before the option
            was there is then as one that was made with the default.
        read_here: For a path: whether the command itself reads it, and no worker ever does.
    """
    spec = OptionSpec(help, minimum, maximum, under_data, identity, made_by, off, sparse, read_here)
    return dataclasses.field(default=default, metadata={_METADATA_KEY: spec})


def options_of(cls: type) -> list[Option]:
    """The options of a dataclass, in the order they are declared."""
    hints = typing.get_type_hints(cls)
    return [
        Option(f.name, hints[f.name], f.default, f.metadata[_METADATA_KEY])
        for f in dataclasses.fields(cls)
        if _METADATA_KEY in f.metadata
    ]


def presets_of(cls: type) -> Mapping[str, Mapping[str, Any]]:
    """Named sets of values that a class declares in `presets`, a class variable: preset to option to value."""
    return getattr(cls, "presets", {})


def add_flags(parser: argparse._ActionsContainer, cls: type) -> None:
    """Adds one flag per option of a dataclass, and --preset where it has presets; absent flags stay absent."""
    if presets := presets_of(cls):
        text = "Values for several options; what is given besides goes before it."
        parser.add_argument("--preset", default=argparse.SUPPRESS, choices=tuple(presets), help=text)
    for opt in options_of(cls):
        keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help_text(opt)}
        if opt.scalar is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        else:
            keywords["type"] = opt.scalar
            keywords["metavar"] = _metavar(opt)
            if opt.choices:
                keywords["choices"] = opt.choices
            if opt.is_list:
                keywords |= {"action": "extend", "nargs": "+"}
        parser.add_argument(opt.flag, **keywords)


def options_from(cls: type[T], values: Mapping[str, Any], *, data: str = "data") -> T:
    """Makes a checked instance from flag or TOML values.

    Args:
        cls: Dataclass with options.
        values: Option name to value; names may use dashes. Lists become tuples. A `preset` stands for its values, and
            any value given besides goes before it.
        data: The data folder that options left empty with `under_data` lie in.

    Raises:
        ValueError: For an unknown name or a value of the wrong type, naming both.
    """
    known = {opt.key: opt for opt in options_of(cls)}
    kept: dict[str, Any] = {}
    for raw_name, value in _expand_preset(cls, values).items():
        name = raw_name.replace("-", "_")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0].replace('_', '-')}?" if close else ""
            raise ValueError(f"{_title(cls)}: unknown option {raw_name!r}{hint}")
        kept[known[name].name] = _converted(cls, known[name], value)
    for opt in known.values():
        if opt.spec.under_data is not None and not kept.get(opt.name):
            path = f"{data.rstrip('/')}/{opt.spec.under_data}"
            kept[opt.name] = (path,) if opt.is_list else path
    return cls(**kept)


def check_options(instance: object) -> None:
    """Raises ValueError, naming stage, field and value, when an option is out of its limits."""
    for opt in options_of(type(instance)):
        value = getattr(instance, opt.name)
        values = value if opt.is_list else (value,)
        for item in values:
            _check_value(type(instance), opt, item)


def switched_off(instance: object) -> list[str]:
    """The options whose value switches a rule off, of those that do not change the output; sorted."""
    options = (opt for opt in options_of(type(instance)) if opt.spec.off is not None)
    return sorted(opt.name for opt in options if getattr(instance, opt.name) == opt.spec.off)


def identity_of(instance: object) -> dict[str, Any]:
    """The option values that decide an instance's output, without paths of the data flow."""
    return {
        opt.name: getattr(instance, opt.name)
        for opt in options_of(type(instance))
        if opt.spec.identity
        and opt.spec.under_data is None
        and not (opt.spec.sparse and getattr(instance, opt.name) == opt.default)
    }


def _expand_preset(cls: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    presets = presets_of(cls)
    if not presets or "preset" not in values:
        return values
    if (name := values["preset"]) not in presets:
        raise ValueError(f"{_title(cls)}: preset must be one of {', '.join(presets)}, not {name!r}")
    given = {key.replace("-", "_"): value for key, value in values.items() if key != "preset"}
    return {**presets[name], **given}


def _check_value(cls: type, opt: Option, value: Any) -> None:
    if value is None:
        if type(None) not in typing.get_args(opt.type):
            raise ValueError(f"{_title(cls)}: {_key(opt)} must be given")
        return
    if opt.scalar is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, opt.scalar) or (isinstance(value, bool) and opt.scalar is not bool):
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be {_kind(opt)}, not {value!r}")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be a number, not nan")
    spec = opt.spec
    if opt.choices and value not in opt.choices:
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be one of {', '.join(opt.choices)}, not {value!r}")
    if spec.minimum is not None and value < spec.minimum:
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be at least {spec.minimum:g}, not {value!r}")
    if spec.maximum is not None and value > spec.maximum:
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be at most {spec.maximum:g}, not {value!r}")


def _converted(cls: type, opt: Option, value: Any) -> Any:
    if not opt.is_list:
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{_title(cls)}: {_key(opt)} must be a list, not {value!r}")
    return tuple(value)


def _title(cls: type) -> str:
    return getattr(cls, "name", cls.__name__)


def _key(opt: Option) -> str:
    return opt.key.replace("_", "-")


def _kind(opt: Option) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[opt.scalar]


def _metavar(opt: Option) -> str | None:
    if opt.choices:
        return None
    return {int: "N", float: "X"}.get(opt.scalar, "PATH" if opt.spec.under_data else "TEXT")


def _help_text(opt: Option) -> str:
    text = opt.spec.help.replace("%", "%%")
    if opt.spec.under_data is not None:
        return f"{text} [DATA/{opt.spec.under_data}]"
    if opt.default is None or opt.default in ("", ()):
        return text
    shown = " ".join(map(str, opt.default)) if opt.is_list else str(opt.default).replace("%", "%%")
    return f"{text} [{shown}]"
