"""Manners towards one host: how many connections, how often, when to wait, when to leave it alone.

In: requests that want their turn, and how the host answered the earlier ones. Out: a turn when it is due, or the
reason why there is none any more. What was learned of hosts in one fetch unit is kept for the next one of the process,
which may ask the same hosts. Times are seconds of a monotonic clock.
Source: RFC 9309 2.4 (how long a robots.txt is good for).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.robots import Robots
from pipeline.fetching.rules import FetchRules
from pipeline.web.http import MOST_SECONDS, pause_s

# What tells against the host, not against the URL.
HOST_FAILURES: Final = frozenset(
    {
        DropReason.UNRESOLVED,
        DropReason.CONNECT_FAILED,
        DropReason.TLS_FAILED,
        DropReason.TIMED_OUT,
        DropReason.TOO_SLOW,
        DropReason.HTTP_ERROR,
        DropReason.THROTTLED,
    }
)

_MOST_HOSTS: Final = 1_000  # remembered without need
_ROBOTS_LIFE_S: Final = 24 * 3600.0


class KnownRobots(NamedTuple):
    """A robots.txt that was read."""

    robots: Robots
    read_at_s: float


class HostPast(NamedTuple):
    """What is known of a host from the unit before.

    Attributes:
        next_start_s: When the next request may start.
        pause_s: Between two requests.
        robots: What its robots.txt files say, by origin.
    """

    next_start_s: float = 0.0
    pause_s: float = 0.0
    robots: Mapping[URL, KnownRobots] = {}


class Host:
    """One host of a fetch unit.

    Attributes:
        urls_left: URLs of it that have not been asked for yet.
        robots: Its robots.txt files being read or read, by origin.
        known_robots: Those that have been read, here or in units before.
        closed: Why nothing more is asked of it; None while it is open.

    Args:
        rules: Connections, rate and patience.
        clock: Seconds now.
        past: What is known of it.
    """

    def __init__(self, rules: FetchRules, clock: Callable[[], float], past: HostPast = HostPast()) -> None:  # noqa: B008
        self.urls_left = 0
        self.robots: dict[URL, asyncio.Task[Robots | DropReason]] = {}
        self.known_robots = {o: k for o, k in past.robots.items() if clock() - k.read_at_s < _ROBOTS_LIFE_S}
        self.closed = DropReason.THROTTLED if past.next_start_s - clock() > rules.max_wait_s else None
        self._rules = rules
        self._clock = clock
        self._slots = asyncio.Semaphore(rules.host_connections)
        self._pause_s = max(past.pause_s, 1 / rules.host_rate if rules.host_rate else 0.0)
        self._next_start = past.next_start_s
        self._first_start: float | None = None
        self._failures = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until a request may start; the host may have been closed meanwhile."""
        async with self._slots:
            while not self.closed and (wait_s := self._next_start - self._clock()) > 0:
                await asyncio.sleep(wait_s)
            now = self._clock()
            self._next_start = max(self._next_start, now + self._pause_s)
            self._first_start = now if self._first_start is None else self._first_start
            if now - self._first_start > self._rules.host_time_s:
                self.closed = self.closed or DropReason.HOST_TIME
            yield

    @property
    def past(self) -> HostPast:
        """What is to be known of it in the next unit."""
        return HostPast(self._next_start, self._pause_s, self.known_robots)

    def slow_down(self, crawl_delay_s: float) -> None:
        """Leaves at least so much time between two requests."""
        self._pause_s = max(self._pause_s, crawl_delay_s)

    def note(self, outcome: object, retry_after_s: float | None) -> None:
        """Learns from an answer: counts failures in a row, waits when asked to.

        Args:
            outcome: A `DropReason`, or anything else when the host did its part.
            retry_after_s: Seconds the host asks to be left alone.
        """
        if outcome not in HOST_FAILURES:
            self._failures = 0
            return
        self._failures += 1
        if outcome is DropReason.THROTTLED:
            wait_s = pause_s(self._failures, longest_s=MOST_SECONDS) if retry_after_s is None else retry_after_s
            self._next_start = max(self._next_start, self._clock() + wait_s)
            if wait_s > self._rules.max_wait_s:
                self.closed = self.closed or DropReason.THROTTLED
        if self._failures >= self._rules.host_failures:
            self.closed = self.closed or DropReason.HOST_DOWN


class HostMemory:
    """What a process knows of hosts, from one fetch unit to the next: when each may be asked again, and its robots.txt.

    Of the hosts that need not wait the last ones are kept. Those of a unit that goes on in the next one are few: they
    share one of many buckets.
    """

    def __init__(self) -> None:
        self._pasts: dict[str, HostPast] = {}

    def recall(self, name: str) -> HostPast:
        """What is known of a host."""
        return self._pasts.get(name, HostPast())

    def keep(self, hosts: Mapping[str, Host], now_s: float) -> None:
        """Keeps what a unit learned.

        Args:
            hosts: The unit's hosts, by name.
            now_s: Seconds now.
        """
        for name, host in hosts.items():
            self._pasts.pop(name, None)
            self._pasts[name] = host.past
        for name in list(self._pasts)[:-_MOST_HOSTS]:
            if self._pasts[name].next_start_s <= now_s:
                del self._pasts[name]
