"""What a site's robots.txt asks for.

In: the answer to a request for it. Out: `Robots`, which says what may be fetched and how fast, or the reason why
nothing may. Rules come from protego: longest match, wildcards, groups merged.
Source: RFC 9309 2.3.1 (access results), 2.5 (limits).
"""

from typing import Final, NamedTuple

from protego import Protego
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.web.optouts import PRODUCT

ROBOTS_PATH: Final = "/robots.txt"
MAX_ROBOTS_BYTES: Final = 512 * 1024  # RFC 9309 2.5: at least 500 KiB; what follows is not read
_NO_FILE: Final = frozenset({DropReason.NOT_FOUND, DropReason.HTTP_REFUSED, DropReason.BAD_REDIRECT})


class Robots(NamedTuple):
    """The rules of one origin; without a parsed file everything is allowed."""

    rules: Protego | None = None

    def allows(self, url: URL) -> bool:
        """Whether a URL of the origin may be fetched."""
        return self.rules is None or bool(self.rules.can_fetch(str(url), PRODUCT))

    @property
    def crawl_delay_s(self) -> float:
        """Seconds asked for between two requests."""
        delay = None if self.rules is None else self.rules.crawl_delay(PRODUCT)
        return float(delay) if delay is not None and delay > 0 else 0.0


def read_robots(status: int | None, content: bytes | DropReason) -> Robots | DropReason:
    """Reads the answer to a request for robots.txt, redirects followed.

    Args:
        status: HTTP status; None when there was no answer.
        content: The body, or why there is none.

    >>> read_robots(404, DropReason.NOT_FOUND)
    Robots(rules=None)
    >>> read_robots(500, DropReason.HTTP_ERROR)
    <DropReason.ROBOTS_UNAVAILABLE: 'robots_unavailable'>
    """
    if isinstance(content, bytes):
        return Robots(Protego.parse(content.decode("utf-8-sig", errors="replace")))
    if status is None:
        return content  # the host itself cannot be reached
    return Robots() if content in _NO_FILE else DropReason.ROBOTS_UNAVAILABLE
