"""``VALUE,KEY=VALUE,…`` ► a value and its settings, by which flags are told on a command line.

In: a text; the keys that may come. Out: `Settings`. A comma that no known key follows belongs to the value.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from clip_train.errors import InputError

_LAST_SETTING = re.compile(r",([a-z_]+)=([^,=]*)$")


class Settings(NamedTuple):
    """A value and what was set for it."""

    value: str
    given: dict[str, str]

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of some words.

        Raises:
            InputError: For another one.
        """
        word = self.given.get(key, default)
        if word not in choices:
            raise InputError(f"{key} must be one of {', '.join(choices)}, not {word!r}")
        return word

    def number(self, key: str, default: float, *, minimum: float, maximum: float) -> float:
        """A number between two.

        Raises:
            InputError: For anything else.
        """
        word = self.given.get(key)
        try:
            number = default if word is None else float(word)
        except ValueError:
            raise InputError(f"{key} must be a number, not {word!r}") from None
        if not minimum <= number <= maximum:
            raise InputError(f"{key} must be between {minimum:g} and {maximum:g}, not {word}")
        return number


def parse_settings(text: str, keys: Collection[str]) -> Settings:
    """Splits settings from a value.

    Args:
        text: The value, and settings behind it.
        keys: What may be set.

    Raises:
        InputError: For a key that is not among them, or that is set twice.

    >>> parse_settings("a,b.onnx,form=yolo,threshold=0.4", ["form", "threshold"])
    Settings(value='a,b.onnx', given={'form': 'yolo', 'threshold': '0.4'})
    """
    given: dict[str, str] = {}
    while match := _LAST_SETTING.search(text):
        key, word = match.groups()
        if key not in keys:
            raise InputError(f"{key}={word}: no such setting (there are {', '.join(sorted(keys)) or 'none'})")
        if key in given:
            raise InputError(f"{key} is set twice")
        given[key] = word
        text = text[: match.start()]
    return Settings(text, dict(reversed(given.items())))
