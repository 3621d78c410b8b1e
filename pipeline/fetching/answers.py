"""What can come of asking for an image, and what an answer or an error of the network stands for."""

from collections.abc import Callable
from typing import Final, NamedTuple

import aiohttp

from pipeline.base.drops import DropReason
from pipeline.fetching.resolver import PrivateAddress
from pipeline.pixels.images import CheckedImage

MAX_REDIRECTS: Final = 5
TAKEN: Final = frozenset({200, 203})  # RFC 9110 15.3.4: 203 is 200 that passed a proxy which changes contents
RETRIED: Final = frozenset(  # what may pass; 4xx, opt-outs, redirects and bad images do not
    {
        DropReason.UNRESOLVED,
        DropReason.CONNECT_FAILED,
        DropReason.TIMED_OUT,
        DropReason.BROKEN_ANSWER,
        DropReason.HTTP_ERROR,
        DropReason.THROTTLED,  # of a robots.txt; else its host knows when it is asked again
    }
)

Normalize = Callable[[bytes], CheckedImage | DropReason]


class Fetched(NamedTuple):
    """What came of a URL."""

    image: CheckedImage | DropReason
    http_status: int | None = None


Store = Callable[[str, Fetched], None]


def classify_status(status: int, *, can_wait: bool) -> DropReason | None:
    """The reason that an HTTP status gives, or None for those of `TAKEN`.

    Args:
        status: Of an answer that is no redirect.
        can_wait: Whether the answer has a Retry-After line.
    """
    if status in TAKEN:
        return None
    if status in (404, 410):
        return DropReason.NOT_FOUND
    if status == 429 or (status == 503 and can_wait):
        return DropReason.THROTTLED
    if status == 408:
        return DropReason.TIMED_OUT
    return DropReason.HTTP_ERROR if status >= 500 else DropReason.HTTP_REFUSED


def classify_error(error: Exception) -> DropReason:
    """The reason that an exception of aiohttp stands for."""
    if isinstance(error, aiohttp.InvalidURL):
        return DropReason.BAD_URL
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        is_private = isinstance(error.os_error, PrivateAddress)
        return DropReason.PRIVATE_ADDRESS if is_private else DropReason.UNRESOLVED
    if isinstance(error, aiohttp.ClientSSLError):
        return DropReason.TLS_FAILED
    if isinstance(error, aiohttp.ClientConnectorError):
        return DropReason.CONNECT_FAILED
    return DropReason.BROKEN_ANSWER
