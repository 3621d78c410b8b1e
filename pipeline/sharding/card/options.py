"""What a data card says of a set that no index knows: options of stages that write one."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.base.options import option


@dataclass(kw_only=True)
class CardOptions:
    """What is said of the set; empty: the card says that it is not stated."""

    title: str = option("", "Name of the set, for its card.", sparse=True)
    contact: str = option(
        "", "Whom to ask, on the card, to have samples removed: an e-mail address or a page's.", sparse=True
    )
    license: str = option("", "Under what the set is given to others, e.g. cc-by-4.0; for its card.", sparse=True)
    citation: str = option("", "How to cite the set, e.g. as BibTeX; for its card.", sparse=True)

    @property
    def said(self) -> "Said":
        """What is said."""
        return Said(self.title, self.contact, self.license, self.citation)


class Said(NamedTuple):
    """The values of `CardOptions`."""

    title: str = ""
    contact: str = ""
    license: str = ""
    citation: str = ""
