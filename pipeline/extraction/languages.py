"""The language a text is written in, told from the text.

In: texts. Out: ISO 639-1 codes of 60 languages, or ``und`` where there is nothing to tell it from. Short texts are
often ambiguous ("Paris", "taxi"): expect a tenth of them to be taken for a neighbouring language.
Source: ELD, Efficient Language Detector (n-gram statistics, inside the eldc package); benchmarks/README.md compares it.
"""

from collections.abc import Sequence
from typing import Final

import eldc

LANGUAGES: Final = frozenset(eldc.LANGUAGES)
UNDETERMINED: Final = "und"


def identify_languages(texts: Sequence[str]) -> list[str]:
    """The language of each text.

    >>> identify_languages(["A red car on a street", "Ein rotes Auto auf der Straße", "1:2"])
    ['en', 'de', 'und']
    """
    eldc.init()  # does nothing where it is done
    return [eldc.detect(text) for text in texts]


def primary_language(tag: str) -> str:
    """The language of a declaration like ``en-US``, without script, region and case.

    >>> primary_language("pt_BR")
    'pt'
    """
    return tag.replace("_", "-").partition("-")[0].strip().lower()


def check_languages(codes: Sequence[str]) -> None:
    """Raises ValueError for codes that no text is ever identified as."""
    if unknown := sorted(set(codes) - LANGUAGES):
        raise ValueError(f"unknown language {', '.join(unknown)}; known are {', '.join(sorted(LANGUAGES))}")
