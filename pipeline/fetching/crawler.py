"""Image URLs to checked images, over the network: who is asked when.

In: the URLs of fetch units, several units at once. Out: for each URL its `Fetched`. Hosts, not units, are what is
scheduled: a heap holds every host that has something to be asked, by when it may be asked; where turns are shared - by
the hosts of a site, or of an address - the site or address is in the heap for them. A host that is waited for - its
name, its first connection, a pause it asked for - takes no place of those that answer. A body gives its place free
before it is decoded; where decoders are behind, nothing new is asked.
"""

import asyncio
import gc
import heapq
import itertools
import logging
import resource
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self, TypeVar

import uvloop
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.answers import MAX_REDIRECTS, RETRIED, Fetched, Normalize, Store
from pipeline.fetching.client import Reply, WebClient
from pipeline.fetching.hosts import Gate, Host
from pipeline.fetching.paces import Paces, slot_of
from pipeline.fetching.resolver import NoSuchName, PrivateAddress
from pipeline.fetching.robots import Robots
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.site_files import Kind, SiteFile
from pipeline.fetching.tally import Tally
from pipeline.fetching.targets import parse_target
from pipeline.fetching.work_files import Work
from pipeline.pixels.images import CheckedImage
from pipeline.web.http import pause_s
from pipeline.web.optouts import TdmRules
from pipeline.web.sites import site_of

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_ADDED_AT_ONCE: Final = 200  # URLs, between which others are served
_READY_URLS: Final = 20_000  # brought in before they are needed, so that the slowest hosts are found out early
_UNDECODED_BYTES: Final = 8 << 20  # bodies that wait for a decoder; then nothing new is asked
_FEW_UNDECODED_BYTES: Final = 2 << 20  # with fewer, decoders may soon have nothing to do: more may be under way
_FIRST_PLACES: Final = 32  # requests under way at first; as many more as come in while decoders keep up
_FEWER: Final = 0.25  # with each image that comes in while decoders are behind
_FIRST_USUAL_S: Final = 1.0
_NEW_SHARE: Final = 0.05  # of the last answer in what is usual
_LATE: Final = 3.0  # times what is usual
_STRANGERS: Final = 2  # places for hosts that never answered, times those for others: they cost no more than a socket
_IDLE_HOSTS: Final = 2_000  # remembered without need: their robots.txt, their connections
_SLOW_FAILURES: Final = frozenset({DropReason.TIMED_OUT, DropReason.CONNECT_FAILED})
_RARE_COLLECTIONS: Final = (50_000, 20, 100)
_SPARE_FILES: Final = 200  # of a process, beside its connections


def run_loop(main: Callable[[], "asyncio.Future[T]"]) -> T:
    """Runs a coroutine in an event loop of its own, the fastest there is."""
    before = gc.get_threshold()
    gc.set_threshold(*_RARE_COLLECTIONS)  # of many small objects hardly any are garbage in cycles
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())  # type: ignore[arg-type]
    finally:
        gc.set_threshold(*before)


async def fetch_images(urls: Iterable[str], rules: FetchRules, *, normalize: Normalize, store: Store) -> None:
    """Fetches URLs, hosts side by side, and hands each to `store` as soon as it is there.

    Args:
        urls: Distinct URLs.
        rules: How the network may be used.
        normalize: Checks the bytes of an image; called in threads.
        store: Takes a URL and what came of it; called in no fixed order.
    """
    async with Crawler(rules, normalize) as crawler:
        await crawler.fetch(urls, store)


class _Unknown(Enum):
    YET = "yet"


_UNKNOWN: Final = _Unknown.YET


class Ticket(NamedTuple):
    """URLs that were brought together.

    Attributes:
        store: Takes what came of each.
        left: How many have no answer yet, in a list of one.
        done: Set when all have one.
    """

    store: Store
    left: list[int]
    done: "asyncio.Future[None]"


@dataclass(eq=False)
class Errand:
    """Something to ask for.

    Attributes:
        url: Where it is, after redirects.
        text: The URL that was given.
        ticket: Whom it is for; None: it is for all of its host.
        site_file: Whose rules it asks for, and which; None: it asks for an image.
        tries: Those that failed, or were silent for so long that another one was begun beside them.
        throttles: Those that were to come later.
        hops: Redirects that were followed.
        under_way: Requests for it, two where the first is silent: the first answer counts.
        is_second_due: Whether the second of them waits for its turn.
    """

    url: URL
    text: str = ""
    ticket: Ticket | None = None
    site_file: tuple[URL, Kind] | None = None
    tries: int = 0
    throttles: int = 0
    hops: int = 0
    under_way: "set[asyncio.Task[None] | None]" = field(default_factory=set)
    is_second_due: bool = False


@dataclass(eq=False)
class _Place:
    """A request under way.

    Attributes:
        begun: When it began.
        is_stranger: Whether its host never answered before.
        is_late: Whether it takes much longer than others.
        is_over: Whether it ended.
    """

    begun: float
    is_stranger: bool
    is_late: bool = False
    is_over: bool = False


class Crawler:
    """Fetches images of any number of fetch units, side by side.

    Attributes:
        tally: What has been done, for watching.
        hungry: Set while more could be asked than is known: time for the next unit.

    Args:
        rules: How the network may be used.
        normalize: Checks the bytes of an image; called in threads.
        paces: When who may be asked, shared with others; None: by this crawler alone.
    """

    def __init__(self, rules: FetchRules, normalize: Normalize, paces: Paces | None = None) -> None:
        self.tally = Tally()
        self.hungry = asyncio.Event()
        self.hungry.set()
        self._rules = rules
        self._normalize = normalize
        self._paces = paces or Paces()
        self._web = WebClient(rules)
        self._kinds = [kind for kind, is_on in ((Kind.ROBOTS, rules.robots), (Kind.TDM, rules.tdm_file)) if is_on]
        self._decoders = ThreadPoolExecutor(rules.decode_threads, thread_name_prefix="decode")
        self._hosts: dict[str, Host[Errand]] = {}
        self._idle: OrderedDict[str, Host[Errand]] = OrderedDict()
        self._gates: weakref.WeakValueDictionary[int, Gate] = weakref.WeakValueDictionary()  # while hosts have them
        self._heap: list[tuple[float, int, Host[Errand] | Gate]] = []
        self._order = itertools.count()
        self._ready: deque[Host[Errand] | Gate] = deque()  # due, and waiting for a place
        self._strangers: deque[Host[Errand]] = deque()  # hosts that never answered, and wait until fewer are tried
        self._tried_strangers = 0
        self._left = 0
        self._under_way = 0
        self._late = 0
        self._in_time: deque[_Place] = deque()
        self._usual_s = _FIRST_USUAL_S  # that an image takes to be there
        self._window: float = _FIRST_PLACES
        self._undecoded = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._tickets: list[Ticket] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._will_look = False
        self._closing = False

    async def __aenter__(self) -> Self:
        """Opens the session."""
        self._loop = asyncio.get_running_loop()
        self._places = _allow_files(self._rules.concurrency)
        await self._web.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the session; what is under way is given up."""
        self._closing = True
        if self._alarm:
            self._alarm.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._web.__aexit__(kind, error, trace)
        self._decoders.shutdown(cancel_futures=True)

    async def fetch(self, urls: Iterable[str], store: Store) -> None:
        """Fetches the URLs of a unit.

        Args:
            urls: Distinct URLs.
            store: Takes a URL and what came of it; called in no fixed order. What it raises ends the call.
        """
        listed = list(urls)
        ticket = Ticket(store, [len(listed)], self._loop.create_future())
        self._left += len(listed)
        self._tickets.append(ticket)
        hosts: set[str] = set()
        for number, text in enumerate(listed):
            url = self._parse(text)
            errand = Errand(URL() if isinstance(url, DropReason) else url, text, ticket)
            if isinstance(url, DropReason):
                self._finish(errand, Fetched(url))
            else:
                host = self._host(url)
                if host.name not in hosts:
                    hosts.add(host.name)
                    host.begin_unit(time.monotonic())
                self._add(host, errand)
            if number % _ADDED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._look_soon()
        try:
            if listed:
                await ticket.done
        finally:
            self._tickets.remove(ticket)

    @property
    def num_waiting_hosts(self) -> int:
        """Hosts of which something is wanted and nothing is under way."""
        return sum(1 for host in self._hosts.values() if host.num_waiting and not host.open_now)

    @property
    def work(self) -> Work:
        """What has been done by now, and is under way."""
        return Work(
            dict(self.tally.statuses),
            requests=self.tally.requests,
            received_bytes=self._web.received_bytes,
            under_way=self._under_way + self._tried_strangers,
            hosts_waiting=self.num_waiting_hosts,
        )

    def waits(self, hosts: Iterable[str]) -> dict[str, float]:
        """Of some hosts, those that asked for longer pauses than they are granted, until when (seconds since 1970)."""
        known = [self._hosts.get(name) or self._idle.get(name) for name in hosts]
        to_wall = time.time() - time.monotonic()
        return {h.name: h.closed_until + to_wall for h in known if h and h.closed_until is not None}

    def respect(self, waits: Mapping[str, float]) -> None:
        """Leaves hosts alone until the times that they named to an earlier run, in seconds since 1970."""
        now, to_wall = time.monotonic(), time.time() - time.monotonic()
        for name, until in waits.items():
            host = self._host(URL.build(scheme="http", host=name))
            self._paces.put_off(host.slot, until - to_wall)
            if until - to_wall - now > self._rules.max_wait_s:
                host.close(DropReason.THROTTLED, until=until - to_wall)

    def _parse(self, text: str) -> URL | DropReason:
        try:
            rules = self._rules
            return parse_target(text, allow_private=rules.allow_private, high_ports=rules.high_ports)
        except Exception:
            _LOG.exception("cannot parse %r", text)
            return DropReason.INTERNAL_ERROR

    def _host(self, url: URL) -> Host[Errand]:
        name = url.raw_host or ""
        host = self._hosts.get(name) or self._idle.pop(name, None)
        if host is None:
            host = Host(name, self._rules, self._paces)
        if name not in self._hosts:
            self._hosts[name] = host
        return host

    def _add(self, host: Host[Errand], errand: Errand, *, first: bool = False) -> None:
        (host.errands.appendleft if first else host.errands.append)(errand)
        self._list(host)

    def _list(self, host: Host[Errand]) -> None:
        """Sees to it that somebody looks after a host when it is time."""
        if host.listed:
            return
        look = host.next_look(time.monotonic())
        if look is not None:
            host.listed = True
            self._push(look, host)
        elif host.is_idle:
            self._rest(host)

    def _push(self, when: float, item: Host[Errand] | Gate) -> None:
        heapq.heappush(self._heap, (when, next(self._order), item))
        self._look_soon()

    def _rest(self, host: Host[Errand]) -> None:
        """Forgets a host of which nothing is wanted, but for the last ones, which may be wanted again."""
        if self._hosts.pop(host.name, None) is None:
            return
        self._idle[host.name] = host
        if len(self._idle) > _IDLE_HOSTS:
            self._idle.popitem(last=False)

    def _look_soon(self) -> None:
        if not self._will_look and not self._closing:
            self._will_look = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Begins whatever is due, as far as there are places."""
        self._will_look = False
        if self._closing:
            return
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)[2]
            if _is_stranger(item):
                self._look_at(item, now)
            else:
                self._ready.append(item)
        self._note_late(now)
        while self._ready and self._has_room():
            self._look_at(self._ready.popleft(), now)
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if self._heap:
            self._alarm = self._loop.call_later(max(0.001, self._heap[0][0] - now), self._look)
        if self._left < _READY_URLS or (self._has_room() and not self._ready):
            self.hungry.set()
        else:
            self.hungry.clear()

    def _has_room(self) -> bool:
        return (
            self._under_way < self._places
            and self._under_way - self._late < self._window
            and self._undecoded < _UNDECODED_BYTES
        )

    def _look_at(self, item: Host[Errand] | Gate, now: float) -> None:
        if isinstance(item, Gate):
            self._look_at_gate(item, now)
        else:
            self._look_at_host(item, now)

    def _look_at_gate(self, gate: Gate, now: float) -> None:
        gate.listed = False
        due = self._paces.due(gate.slot, now)
        if due <= now and gate.waiting:
            host = gate.waiting.popleft()
            host.listed = False
            self._look_at_host(host, now)
            due = self._paces.due(gate.slot, now)
        if gate.waiting and not gate.listed:
            gate.listed = True
            self._push(max(due, now), gate)

    def _look_at_host(self, host: Host[Errand], now: float) -> None:
        host.listed = False
        try:
            self._serve(host, now)
        except Exception:
            _LOG.exception("cannot ask %s", host.name)
            host.close(DropReason.INTERNAL_ERROR)
            self._dismiss(host)

    def _serve(self, host: Host[Errand], now: float) -> None:
        """Begins the next request of a host, if it is its turn."""
        host.take_due(now)
        errand = self._next_errand(host)
        if errand is None:
            return
        if not host.is_known and self._tried_strangers >= _STRANGERS * self._places:
            host.listed = True
            self._strangers.append(host)
            return
        look = host.next_look(now)
        if look is None:
            return
        if look > now or not host.take_turn(now):
            self._wait_for_turn(host, now)
            return
        host.errands.popleft()
        errand.is_second_due = False
        host.begin(now)
        self._begin(self._ask(host, errand, now))
        self._list(host)

    def _next_errand(self, host: Host[Errand]) -> Errand | None:
        """What is to be asked of a host now; what must not be asked is answered, what must be known is asked first."""
        while True:
            if host.closed:
                self._dismiss(host)
                return None
            if not host.errands:
                self._list(host)
                return None
            errand = host.errands[0]
            if host.address is None:
                host.listed = True
                self._begin(self._find_address(host, errand.url))
                return None
            if errand.site_file is not None:
                return errand
            refusal = self._refusal(host, errand.url)
            if refusal is _UNKNOWN:
                return self._next_site_file(host)
            if refusal is None:
                return errand
            host.errands.popleft()
            self._finish(errand, Fetched(refusal))

    def _refusal(self, host: Host[Errand], url: URL) -> DropReason | Literal[_Unknown.YET] | None:
        """Why a URL must not be asked for, as far as the files of its site are known."""
        origin = url.origin()
        for kind in self._kinds:
            place = (origin, kind)
            if place not in host.rules_of:
                host.rules_of[place] = None
                host.errands.appendleft(Errand(origin.with_path(kind.path), site_file=place))
            found = host.rules_of[place]
            if found is None:
                return _UNKNOWN
            if isinstance(found, DropReason):
                return found
            if isinstance(found, Robots) and not found.allows(url):
                return DropReason.ROBOTS_DISALLOW
            if isinstance(found, Robots) and found.opted_out(url):
                return DropReason.OPTED_OUT
        return None

    def _is_reserved(self, host: Host[Errand], url: URL) -> bool:
        rules = host.rules_of.get((url.origin(), Kind.TDM))
        return isinstance(rules, TdmRules) and rules.reserves(url.raw_path_qs)

    def _next_site_file(self, host: Host[Errand]) -> Errand | None:
        """The file that must be read first; None: it is on its way, or to be asked for again later."""
        if host.errands[0].site_file is not None:
            return host.errands[0]
        if host.next_later is not None:
            host.listed = True
            self._push(host.next_later, host)
        return None

    def _wait_for_turn(self, host: Host[Errand], now: float) -> None:
        for gate in host.gates:
            due = self._paces.due(gate.slot, now)
            if due > now:
                host.listed = True
                gate.waiting.append(host)
                if not gate.listed:
                    gate.listed = True
                    self._push(due, gate)
                return
        host.listed = True
        self._push(max(now + 0.001, self._paces.due(host.slot, now)), host)

    def _begin(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        """Ends all units where a task ended as none should: nobody must wait for what will not come."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            for ticket in self._tickets:
                if not ticket.done.done():
                    ticket.done.set_exception(error)

    async def _find_address(self, host: Host[Errand], url: URL) -> None:
        """Looks a host up, which may take a while and needs no place."""
        try:
            host.address = await self._look_up(host, url)
        except PrivateAddress:
            host.close(DropReason.PRIVATE_ADDRESS)
        except OSError:
            host.close(DropReason.UNRESOLVED)
        except Exception:
            _LOG.exception("cannot look up %r", host.name)
            host.close(DropReason.INTERNAL_ERROR)
        host.listed = False
        self._list(host)

    async def _look_up(self, host: Host[Errand], url: URL) -> str:
        rate = self._rules.host_rate * self._rules.shared_limit
        if rate:
            self._join(host, slot_of("site", site_of(host.name)), 1 / rate)
        if self._rules.proxy or self._web.resolver.redirection(host.name, url.port or 0):
            return ""
        for tries in itertools.count(1):
            try:
                address = await self._web.resolver.find(host.name)
                break
            except (PrivateAddress, NoSuchName):
                raise
            except OSError:
                if tries > self._rules.retries:
                    raise
                await asyncio.sleep(pause_s(tries))
        if rate:
            self._join(host, slot_of("address", address), 1 / rate)
        return address

    def _join(self, host: Host[Errand], slot: int, pause: float) -> None:
        gate = self._gates.get(slot)
        if gate is None:
            self._gates[slot] = gate = Gate(slot, pause)
        host.gates.append(gate)

    async def _ask(self, host: Host[Errand], errand: Errand, begun: float) -> None:
        """Sends a request, and does what its answer asks for."""
        task, place = asyncio.current_task(), self._take_place(host)
        is_beside = bool(errand.under_way)
        errand.under_way.add(task)
        reply: Reply | None = None
        try:
            reply = await self._web.exchange(
                errand.url,
                when_sent=lambda: self._note_sent(host),
                site_file_bytes=errand.site_file[1].max_bytes if errand.site_file else None,
                is_reserved=self._is_reserved(host, errand.url),
                is_last=errand.site_file is None and not host.num_waiting,
                when_silent=partial(self._ask_beside, host, errand) if self._has_second(errand) else None,
                is_beside=is_beside,
            )
        except asyncio.CancelledError:
            if self._closing:
                raise
        except Exception:
            _LOG.exception("cannot fetch %s", errand.url)
            reply = Reply(DropReason.INTERNAL_ERROR)
        finally:
            errand.under_way.discard(task)
            self._give_back(place)
            host.end()
        self.tally.requests += 1
        self._adapt(reply, time.monotonic() - begun)
        if reply is not None:
            await self._hear(host, errand, reply, begun)
        for _ in range(min(len(self._strangers), _STRANGERS * self._places - self._tried_strangers)):
            stranger = self._strangers.popleft()
            stranger.listed = False
            self._list(stranger)
        self._list(host)
        self._look_soon()

    def _has_second(self, errand: Errand) -> bool:
        return not errand.tries and self._retries(errand, DropReason.TIMED_OUT) > 0

    def _ask_beside(self, host: Host[Errand], errand: Errand) -> None:
        """Tries a second time while the first try is silent."""
        errand.tries += 1
        errand.is_second_due = True
        host.note_silence()
        self._add(host, errand, first=True)

    async def _hear(self, host: Host[Errand], errand: Errand, reply: Reply, begun: float) -> None:
        """Learns from an answer, and goes on with what was asked for, unless another request for it will tell."""
        if not reply.was_stale:
            host.note_answer(reply.content, reply.status, reply.retry_after_s, begun=begun, now=time.monotonic())
        has_another = bool(errand.under_way) or errand.is_second_due
        has_failed = isinstance(reply.content, DropReason) and reply.content in RETRIED
        if has_another and (reply.was_stale or has_failed):
            return
        for task in errand.under_way:
            assert task is not None
            task.cancel()
        if errand.is_second_due:
            host.errands.remove(errand)
            errand.is_second_due = False
        try:
            await self._take(host, errand, reply)
        except Exception as error:
            self._fail(errand, error)

    def _adapt(self, reply: Reply | None, took_s: float) -> None:
        """Lets more be under way while decoders want more, and slowly fewer while they are behind."""
        is_body = reply is not None and isinstance(reply.content, bytes)
        if is_body:
            self._usual_s += _NEW_SHARE * (took_s - self._usual_s)
        if self._undecoded < _FEW_UNDECODED_BYTES:
            self._window = min(self._window + 1, self._places)
        elif is_body and self._undecoded > 2 * _FEW_UNDECODED_BYTES:
            self._window = max(self._window - _FEWER, _FIRST_PLACES)

    def _take_place(self, host: Host[Errand]) -> "_Place":
        place = _Place(time.monotonic(), is_stranger=not host.is_known)
        if place.is_stranger:
            self._tried_strangers += 1
        else:
            self._under_way += 1
            self._in_time.append(place)
        return place

    def _give_back(self, place: "_Place") -> None:
        place.is_over = True
        if place.is_stranger:
            self._tried_strangers -= 1
        else:
            self._under_way -= 1
            self._late -= place.is_late

    def _note_late(self, now: float) -> None:
        """Counts the requests from which, as answers go, none is expected at once: they keep decoders from nothing."""
        while self._in_time and (self._in_time[0].is_over or self._in_time[0].begun < now - _LATE * self._usual_s):
            place = self._in_time.popleft()
            if not place.is_over:
                place.is_late = True
                self._late += 1

    def _note_sent(self, host: Host[Errand]) -> None:
        host.sent(time.monotonic())
        self._list(host)

    async def _take(self, host: Host[Errand], errand: Errand, reply: Reply) -> None:
        """Goes on with the answer to an errand: elsewhere, later, or to its end."""
        content = reply.content
        if isinstance(content, URL):
            if errand.hops >= MAX_REDIRECTS:
                self._settle(host, errand, reply, DropReason.TOO_MANY_REDIRECTS)
                return
            errand.url, errand.hops = content, errand.hops + 1
            self._add(self._host(content), errand, first=True)
        elif reply.was_stale:  # one kept connection less: this ends
            self._add(host, errand, first=True)
        elif content is DropReason.THROTTLED and errand.site_file is None:
            errand.throttles += 1
            if errand.throttles > self._rules.retries + 1:
                self._settle(host, errand, reply, content)
            else:  # after the others, in case it is this URL alone; its host knows for how long, and may be closed
                self._add(host, errand)
        elif isinstance(content, DropReason) and content in RETRIED and errand.tries < self._retries(errand, content):
            errand.tries += 1
            host.put_off(errand, time.monotonic() + pause_s(errand.tries))
        elif isinstance(content, bytes) and errand.site_file is None:
            self._list(host)
            self._look_soon()
            image = await self._decode(content)
            self._settle(host, errand, reply, image)
        else:
            self._settle(host, errand, reply, content)

    def _retries(self, errand: Errand, failure: DropReason) -> int:
        """How often an errand is tried again: not for a file that few have, once where it takes long to fail."""
        if errand.site_file is not None and errand.site_file[1] is Kind.TDM:
            return 0
        return min(self._rules.retries, 1) if failure in _SLOW_FAILURES else self._rules.retries

    async def _decode(self, body: bytes) -> CheckedImage | DropReason:
        self._undecoded += len(body)
        try:
            return await self._loop.run_in_executor(self._decoders, self._normalize, body)
        except Exception:
            _LOG.exception("cannot check an image of %d bytes", len(body))
            return DropReason.INTERNAL_ERROR
        finally:
            self._undecoded -= len(body)

    def _settle(
        self, host: Host[Errand], errand: Errand, reply: Reply, outcome: bytes | CheckedImage | DropReason
    ) -> None:
        """Ends an errand."""
        if errand.site_file is not None:
            assert not isinstance(outcome, CheckedImage)
            self._keep_site_file(errand.site_file, reply.status, outcome)
            return
        assert not isinstance(outcome, bytes)
        is_refusal = reply.status in (401, 403) or (reply.is_page and outcome is DropReason.UNKNOWN_FORMAT)
        host.note_url(outcome, is_refusal=is_refusal)
        if outcome is DropReason.INTERNAL_ERROR:
            _LOG.error("the fetcher itself failed on %s", errand.text)
        self._finish(errand, Fetched(outcome, reply.status))

    def _keep_site_file(self, place: tuple[URL, Kind], status: int | None, content: bytes | DropReason) -> None:
        origin, kind = place
        body, reason = (content, None) if isinstance(content, bytes) else (None, str(content))
        self._learn(place, SiteFile(str(origin), kind, status, body, reason, time.time()))

    def _learn(self, place: tuple[URL, Kind], answer: SiteFile) -> None:
        """Takes in what a file of a site says."""
        host = self._host(place[0])
        rules = answer.read()
        if isinstance(rules, Robots) and rules.crawl_delay_s:
            if rules.crawl_delay_s > self._rules.max_wait_s:
                rules = DropReason.CRAWL_DELAY
            else:
                host.slow_down(rules.crawl_delay_s)
        host.rules_of[place] = rules
        host.site_files[place] = answer
        self._list(host)

    def remember(self, site_files: Iterable[SiteFile]) -> None:
        """Takes in what an earlier run was told."""
        for answer in site_files:
            place = (URL(answer.origin), Kind(answer.kind))
            if answer.is_answer and place not in self._host(place[0]).rules_of:
                self._learn(place, answer)

    def site_files(self, hosts: Iterable[str]) -> list[SiteFile]:
        """What some hosts have told in their files."""
        known = [self._hosts.get(name) or self._idle.get(name) for name in hosts]
        return [answer for host in known if host for answer in host.site_files.values()]

    def _dismiss(self, host: Host[Errand]) -> None:
        """Answers all that is wanted of a closed host."""
        assert host.closed is not None
        for errand in host.take_all():
            if errand.is_second_due and errand.under_way:  # the first will tell
                errand.is_second_due = False
            elif errand.site_file is not None:
                self._keep_site_file(errand.site_file, None, host.closed)
            else:
                self._finish(errand, Fetched(host.closed))
        self._list(host)

    def _finish(self, errand: Errand, fetched: Fetched) -> None:
        ticket = errand.ticket
        assert ticket is not None
        self._left -= 1
        self.tally.note(fetched)
        try:
            ticket.store(errand.text, fetched)
        except Exception as error:
            self._fail(errand, error)
            return
        ticket.left[0] -= 1
        if not ticket.left[0] and not ticket.done.done():
            ticket.done.set_result(None)

    def _fail(self, errand: Errand, error: Exception) -> None:
        """Ends the unit of an errand with an error that is none of the web's."""
        if errand.ticket is None:
            assert errand.site_file is not None
            _LOG.error("cannot read the rules of %s", errand.site_file[0], exc_info=error)
            self._keep_site_file(errand.site_file, None, DropReason.INTERNAL_ERROR)
        elif not errand.ticket.done.done():
            errand.ticket.done.set_exception(error)


def _is_stranger(item: Host[Errand] | Gate) -> bool:
    """Whether the next to be asked never answered: that takes no place of those that do."""
    host = item if isinstance(item, Host) else next(iter(item.waiting), None)
    return host is not None and not host.is_known


def _allow_files(concurrency: int) -> int:
    """Lets the process open as many connections as it may want; how many requests may be under way then."""
    wanted = (1 + _STRANGERS) * concurrency + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        allowed = max(soft, wanted) if soft != resource.RLIM_INFINITY else wanted
    else:
        allowed = hard
    if soft != resource.RLIM_INFINITY and allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(concurrency, (allowed - _SPARE_FILES) // (1 + _STRANGERS)))
