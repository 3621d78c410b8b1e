"""Manners towards one host: how many connections, how often, when to wait, when to leave it alone.

In: what waits to be asked of a host, and how it answered. Out: when its next request may leave, or the reason why
nothing more is asked of it. Nothing here waits, asks or knows the time: `pipeline.fetching.crawler` does.
Times are seconds of the monotonic clock.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.paces import Paces, slot_of
from pipeline.fetching.robots import Robots
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.site_files import Kind, SiteFile
from pipeline.web.http import pause_s
from pipeline.web.optouts import TdmRules

T = TypeVar("T")

# What tells against the host, not against the URL.
HOST_FAILURES: Final = frozenset(
    {
        DropReason.UNRESOLVED,
        DropReason.CONNECT_FAILED,
        DropReason.TLS_FAILED,
        DropReason.TIMED_OUT,
        DropReason.TOO_SLOW,
        DropReason.BROKEN_ANSWER,
    }
)
_SLOWEST: Final = 64.0  # times its usual pause that a host in trouble gets
_SLOWEST_ON_ERRORS: Final = 4.0  # where it is single URLs that fail
_LEAST_PAUSE_S: Final = 0.05  # of a host in trouble that had none
_CLOSED_S: Final = 600.0  # from when on a host that was closed is seen so by a unit, until it is tried again
_LONGEST_THROTTLE_S: Final = 300.0  # where a host names no time


@dataclass(eq=False)
class Gate:
    """What hosts of one site, or of one address, share: turns.

    Attributes:
        slot: In the table of paces.
        pause_s: Between two turns.
        waiting: Hosts that want the next turns.
        listed: Whether somebody will look when the next turn is due.
    """

    slot: int
    pause_s: float
    waiting: "deque[Host[Any]]" = field(default_factory=deque)
    listed: bool = False


class Host(Generic[T]):
    """One host: what is to be asked of it, and what is known of it.

    Attributes:
        name: Its name.
        errands: What is to be asked, in order.
        open_now: Requests under way.
        departing: Whether a request was begun that has not left yet: until then nobody knows when the next one may.
        listed: Whether somebody will look after it again.
        address: Where connections go; None: not known yet.
        is_known: Whether it ever answered.
        gates: What it shares turns with.
        rules_of: What the files of its origins say, by origin and kind; None: it is being asked for.
        site_files: The answers that this comes from.
        closed: Why nothing more is asked of it; None while it is open.
        closed_until: When a host that asked for a longer pause than it was granted may be asked again.

    Args:
        name: Its name.
        rules: Connections, rate and patience.
        paces: When who may be asked.
    """

    def __init__(self, name: str, rules: FetchRules, paces: Paces) -> None:
        self.name = name
        self.errands: deque[T] = deque()
        self.open_now = 0
        self.departing = False
        self.listed = False
        self.address: str | None = None
        self.is_known = False
        self.gates: list[Gate] = []
        self.rules_of: dict[tuple[URL, Kind], Robots | TdmRules | DropReason | None] = {}
        self.site_files: dict[tuple[URL, Kind], SiteFile] = {}
        self.closed: DropReason | None = None
        self.closed_until: float | None = None
        self.slot = slot_of("host", name)
        self._num_units = 0
        self._closed_at = 0.0
        self._rules = rules
        self._paces = paces
        self._later: list[tuple[float, int, T]] = []
        self._number = 0
        self._least_pause_s = 1 / rules.host_rate if rules.host_rate else 0.0
        self._strain = 1.0  # times its pause, while it is in trouble
        self._first_start: float | None = None
        self._failures = 0
        self._failed_tries = 0
        self._refusals = 0
        self._throttles = 0
        self._throttled_at = -1.0
        self._gave_image = False

    @property
    def pause_s(self) -> float:
        """Between two requests, as things stand."""
        if self._strain == 1.0:
            return self._least_pause_s
        return max(self._least_pause_s, _LEAST_PAUSE_S) * self._strain

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wanted of it."""
        return not (self.errands or self._later or self.open_now or self.listed)

    @property
    def num_waiting(self) -> int:
        """How much is to be asked of it."""
        return len(self.errands) + len(self._later)

    @property
    def next_later(self) -> float | None:
        """When the first of what was put off is due."""
        return self._later[0][0] if self._later else None

    def put_off(self, errand: T, until: float) -> None:
        """Asks something again, at a later time."""
        self._number += 1
        heapq.heappush(self._later, (until, self._number, errand))

    def take_due(self, now: float) -> None:
        """Brings to the front what was put off and is due."""
        due = []
        while self._later and self._later[0][0] <= now:
            due.append(heapq.heappop(self._later)[2])
        self.errands.extendleft(reversed(due))

    def take_all(self) -> Iterator[T]:
        """Empties the host."""
        while self.errands:
            yield self.errands.popleft()
        while self._later:
            yield heapq.heappop(self._later)[2]

    def next_look(self, now: float) -> float | None:
        """When there will be something to do for it; None: not before one of its requests has left or ended."""
        if self.closed:
            return now if self.num_waiting else None
        is_tried = self.is_known or self._failed_tries
        if self.departing or self.open_now >= (self._rules.host_connections if is_tried else 1):
            return None
        if self.errands:
            return max(now, self._paces.due(self.slot, now))
        return self.next_later

    def take_turn(self, now: float) -> bool:
        """Takes the turn for a request, here and where turns are shared; whether there was one."""
        if any(self._paces.due(gate.slot, now) > now for gate in self.gates):
            return False
        if not self._paces.take(self.slot, now, self.pause_s):
            return False
        return all(self._paces.take(gate.slot, now, gate.pause_s) for gate in self.gates)

    def begin(self, now: float) -> None:
        """A request begins; once time is up it was the last one."""
        self.open_now += 1
        self.departing = self.pause_s > 0
        self._first_start = now if self._first_start is None else self._first_start
        if now - self._first_start > self._rules.host_time_s * max(self._num_units, 1):
            self.close(DropReason.HOST_TIME)

    def sent(self, now: float) -> None:
        """The request that was begun has left: the pause begins now."""
        self.departing = False
        if self.pause_s:
            self._paces.put_off(self.slot, now + self.pause_s)

    def note_silence(self) -> None:
        """A request is silent: another one may be tried beside it."""
        self._failed_tries += 1

    def end(self) -> None:
        """A request has ended."""
        self.open_now -= 1
        self.departing = False

    def slow_down(self, crawl_delay_s: float) -> None:
        """Leaves at least so much time between two requests."""
        self._least_pause_s = max(self._least_pause_s, crawl_delay_s)

    def close(self, reason: DropReason, *, until: float | None = None) -> None:
        """Leaves it alone; the first reason stays."""
        if self.closed is None:
            self.closed, self.closed_until = reason, until

    def begin_unit(self, now: float) -> None:
        """A further unit wants something of it: it has more time, and after a while another chance."""
        self._num_units += 1
        if self.closed is None:
            return
        self._closed_at = self._closed_at or now
        if now - self._closed_at > _CLOSED_S and (self.closed_until or 0.0) <= now:
            self.closed = self.closed_until = self.address = None
            self._closed_at = 0.0
            self._failures = self._refusals = self._throttles = 0
            self.rules_of = {
                place: rules for place, rules in self.rules_of.items() if not isinstance(rules, DropReason)
            }
            self.gates.clear()

    def note_answer(
        self, outcome: object, status: int | None, retry_after_s: float | None, *, begun: float, now: float
    ) -> None:
        """Learns from an answer how often it may be asked.

        Args:
            outcome: A `DropReason`, or anything else when the host did its part.
            status: HTTP status, if there was one.
            retry_after_s: Seconds the host asks to be left alone.
            begun: When the request began.
            now: When it ended.
        """
        self.is_known = self.is_known or status is not None
        self._failed_tries += status is None
        if outcome is DropReason.THROTTLED:
            if begun >= self._throttled_at:  # not one of those that were under way when it first complained
                self._throttles += 1
                self._strain = min(self._strain * 2, _SLOWEST)
            self._throttled_at = now
            wait_s = retry_after_s or pause_s(max(self._throttles, 1), longest_s=_LONGEST_THROTTLE_S)
            self._paces.put_off(self.slot, now + wait_s)
            if wait_s > self._rules.max_wait_s:
                self.close(DropReason.THROTTLED, until=now + wait_s)
            elif self._throttles > self._rules.host_failures:
                self.close(DropReason.THROTTLED)
        elif outcome is DropReason.HTTP_ERROR:
            self._strain = max(self._strain, min(self._strain * 1.25, _SLOWEST_ON_ERRORS))
        elif status is not None:
            self._throttles = 0
            self._strain = max(1.0, self._strain * 0.75)

    def note_url(self, outcome: object, *, is_refusal: bool) -> None:
        """Learns from what came of a URL in the end whether to go on.

        Args:
            outcome: A `DropReason`, or anything else when there is an image.
            is_refusal: Whether it was refused to us as everything may be: 401, 403, or a page for people.
        """
        is_image = not isinstance(outcome, DropReason)
        self._gave_image = self._gave_image or is_image
        self._failures = 0 if is_image or outcome not in HOST_FAILURES else self._failures + 1
        self._refusals = self._refusals + 1 if is_refusal else 0
        if self._failures >= self._rules.host_failures:
            self.close(DropReason.HOST_DOWN)
        if self._refusals >= 2 * self._rules.host_failures and not self._gave_image:
            self.close(DropReason.HOST_REFUSES)
