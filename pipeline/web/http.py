"""One client's rules for HTTP: who it says it is, which answers may pass, how long it waits before it asks again.

In: what an answer says, and how often was asked. Out: seconds, or whether to ask again; the charset of a Content-Type.
Nothing is sent from here.
Source: RFC 9110 10.1.5 (User-Agent), 10.2.3 (Retry-After), 5.6.7 (dates), 8.3 (Content-Type), 15 (statuses); RFC 9111
1.2.2 (seconds that are too many); WHATWG MIME Sniffing 4.4 (parameters), Fetch 2.2.2 (of several lines the last).
"""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from pipeline.web.optouts import PRODUCT

LONGEST_PAUSE_S: Final = 60.0
MOST_SECONDS: Final = 2.0**31  # that an answer can ask for; RFC 9111 1.2.2

_VERSION: Final = "1.0"  # of this client's behaviour, for the logs of those who are asked
_SECONDS: Final = re.compile(r"[ \t]*([0-9]+)[ \t]*")
_MAX_DOUBLINGS: Final = 64
_CHARSET: Final = re.compile(
    r"""(?:;|^)[ \t\r\n]*charset[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^ \t\r\n;,"']+))""", re.IGNORECASE
)


def user_agent(role: str, contact: str) -> str:
    """What the client says it is.

    Args:
        role: What it does, in a few words.
        contact: How to reach who asks; may be empty.

    >>> user_agent("vocabulary builder", "me@host.example")
    'wit400m/1.0 (vocabulary builder; me@host.example)'
    """
    return f"{PRODUCT}/{_VERSION} ({'; '.join(filter(None, [role, contact]))})"


def may_pass(status: int) -> bool:
    """Whether the same request may be answered otherwise a little later.

    >>> [status for status in (200, 403, 404, 408, 429, 500, 503) if may_pass(status)]
    [408, 429, 500, 503]
    """
    return status in (408, 429) or status >= 500


def pause_s(tries: int, *, first_s: float = 1.0, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait before the next try, where the answer does not ask for a pause: twice as long each time.

    Args:
        tries: Those that failed so far, from 1.
        first_s: After the first of them.
        longest_s: The pause grows up to this one.

    >>> [pause_s(tries) for tries in (1, 2, 3, 100)]
    [1.0, 2.0, 4.0, 60.0]
    """
    return min(first_s * 2.0 ** min(tries - 1, _MAX_DOUBLINGS), longest_s)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After line asks for, at most `MOST_SECONDS`, or None when there is none or it has no sense.

    Args:
        value: Seconds, or a date; where a date names no zone, it is in UTC as all dates of HTTP are.
        now: Seconds since the epoch.

    >>> parse_retry_after("30", 0), parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50)
    (30.0, 10.0)
    """
    if value is None:
        return None
    if seconds := _SECONDS.fullmatch(value):
        return min(float(seconds[1]), MOST_SECONDS)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # no date, or one beyond all calendars
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - now), MOST_SECONDS)


def parse_charset(content_types: Sequence[str]) -> str:
    """The charset that an answer declares; empty when it declares none.

    Args:
        content_types: The values of its Content-Type lines, in their order.

    >>> parse_charset(["text/html; boundary=charset=x; charset='gbk'; charset=big5"])
    'gbk'
    """
    found = [match for value in content_types if (match := _CHARSET.search(value))]
    return next((text for text in found[-1].groups() if text), "") if found else ""
