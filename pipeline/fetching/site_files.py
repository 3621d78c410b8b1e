"""What a site says in files of its own: robots.txt and tdmrep.json, and what is kept of them.

In: the answer to a request for such a file. Out: `Robots` or `TdmRules`, or the reason why nothing may be fetched. What
was read is kept in the output folder while a unit is under way, so that a run that goes on need not ask again.
Source: RFC 9309 2.4 (how long a robots.txt is good for).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import pyarrow as pa

from pipeline.base.drops import DropReason
from pipeline.base.tables import read_table, write_table
from pipeline.fetching.robots import MAX_ROBOTS_BYTES, ROBOTS_PATH, Robots, read_robots
from pipeline.web.optouts import MAX_TDM_BYTES, TDM_PATH, TdmRules

SITE_FILES: Final = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("status", pa.int16()),
        pa.field("body", pa.binary()),  # null where there was none
        pa.field("reason", pa.string()),  # a `DropReason`; null where there was a body
        pa.field("read_at", pa.float64(), nullable=False),  # seconds since 1970
    ]
)
_LIFE_S: Final = 24 * 3600.0


class Kind(StrEnum):
    """Which file it is."""

    ROBOTS = "robots"
    TDM = "tdm"

    @property
    def path(self) -> str:
        """Where it lies on its origin."""
        return ROBOTS_PATH if self is Kind.ROBOTS else TDM_PATH

    @property
    def max_bytes(self) -> int:
        """How much of it is read."""
        return MAX_ROBOTS_BYTES if self is Kind.ROBOTS else MAX_TDM_BYTES


class SiteFile(NamedTuple):
    """The answer to a request for a file, as it came.

    Attributes:
        origin: Of the site, as text.
        kind: Which file it is.
        status: HTTP status; None when there was no answer.
        body: Its content, if it has one.
        reason: Why it has none.
        read_at: When, in seconds since 1970.
    """

    origin: str
    kind: str
    status: int | None
    body: bytes | None
    reason: str | None
    read_at: float

    @property
    def is_answer(self) -> bool:
        """Whether the site itself said so, and a new try would hear no more."""
        return self.body is not None or (self.status is not None and self.status < 500)

    def read(self) -> "Robots | TdmRules | DropReason":
        """What it says: of a tdmrep.json that is missing or broken, nothing."""
        content = self.body if self.body is not None else DropReason(self.reason or DropReason.BROKEN_ANSWER)
        if self.kind == Kind.ROBOTS:
            return read_robots(self.status, content)
        return TdmRules.parse(content) if isinstance(content, bytes) else TdmRules()


def write_site_files(path: str, site_files: Iterable[SiteFile]) -> None:
    """Keeps answers (`SITE_FILES`)."""
    write_table(path, pa.Table.from_pylist([one._asdict() for one in site_files], SITE_FILES), SITE_FILES)


def read_site_files(path: str, *, now_s: float) -> list[SiteFile]:
    """The answers that are still good.

    Args:
        path: A table (`SITE_FILES`).
        now_s: Seconds since 1970.
    """
    rows = [SiteFile(**row) for row in read_table(path).to_pylist()]
    return [row for row in rows if now_s - row.read_at < _LIFE_S]
