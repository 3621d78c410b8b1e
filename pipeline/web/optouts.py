"""What an answer's header lines say against using its image.

In: header lines. Out: whether the image is opted out. Looked at before the body is read.
Source: Google, robots meta tag and X-Robots-Tag specifications; DeviantArt's noai and noimageai; W3C TDM
Reservation Protocol, community report 2024-05, 5.1 (tdm-reservation).
"""

from collections.abc import Iterable
from typing import Final

PRODUCT: Final = "wit400m"  # the name that robots.txt and X-Robots-Tag may address

_NO_TRAINING: Final = frozenset({"noai", "noimageai"})
_NO_INDEX: Final = frozenset({"noindex", "noimageindex", "none"})
_WITH_VALUE: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def is_opted_out(robots_tags: Iterable[str], tdm_reservation: str | None, *, noindex: bool) -> bool:
    """Whether an answer's owner forbids its use.

    Args:
        robots_tags: Values of all X-Robots-Tag lines.
        tdm_reservation: Value of the tdm-reservation line.
        noindex: Whether noindex and noimageindex count too.

    >>> is_opted_out(["otherbot: noai, noindex"], None, noindex=True)
    False
    >>> is_opted_out(["max-snippet: 5, noai"], None, noindex=False)
    True
    """
    if tdm_reservation is not None and tdm_reservation.strip() == "1":
        return True
    forbidding = _NO_TRAINING | _NO_INDEX if noindex else _NO_TRAINING
    return any(forbidding & _directives(tag) for tag in robots_tags)


def _directives(tag: str) -> set[str]:
    """The directives of one X-Robots-Tag line that are meant for this program.

    A name with a colon begins a list for one agent, which lasts to the next such name; without a name it is for all.
    """
    ours = True
    found = set()
    for part in tag.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        if colon and name.strip() not in _WITH_VALUE:
            ours = name.strip() in (PRODUCT, "*")
            part = rest
        if ours:
            found.add(part.strip())
    return found
