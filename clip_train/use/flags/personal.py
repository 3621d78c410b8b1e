"""Personal data in texts, as a number: how many pieces there are, or how much of the text they are.

In: texts. Out: a number for each. What counts is in `pipeline.base.personal_data`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from clip_train.errors import InputError
from clip_train.use.flags.settings import Settings
from clip_train.use.shard_features import TextMeasure
from pipeline.base.personal_data import FINDERS, find_personal_data

PERSONAL_KEYS: Final = ("kinds", "unit")
_COUNT, _SHARE = "count", "share"


class PersonalData(NamedTuple):
    """What is looked for, and what is said of it."""

    kinds: tuple[str, ...]
    unit: str

    @property
    def measure(self) -> TextMeasure:
        """What is measured of each text."""
        return TextMeasure(self._value_of)

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers."""
        return {"kinds": list(self.kinds), "unit": self.unit}

    def _value_of(self, text: str) -> float:
        found = find_personal_data(text, self.kinds)
        if self.unit == _COUNT:
            return len(found)
        return sum(one.end - one.start for one in found) / max(1, len(text))


def parse_personal(settings: Settings) -> PersonalData:
    """What is looked for, from ``kinds=email+phone+iban+card+ip`` and ``unit=count|share``.

    Raises:
        InputError: For another kind or unit.
    """
    kinds = tuple(settings.given["kinds"].split("+")) if "kinds" in settings.given else tuple(FINDERS)
    if unknown := [kind for kind in kinds if kind not in FINDERS]:
        raise InputError(f"kinds must be of {', '.join(FINDERS)}, not {unknown[0]!r}")
    return PersonalData(kinds, settings.choice("unit", (_COUNT, _SHARE), _COUNT))
