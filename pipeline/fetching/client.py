"""One request and its answer.

In: a URL, and how the network may be used. Out: a `Reply`: a body, where a redirect leads, or the reason there is
neither. An answer is refused by its header lines before its body is read. What a request costs is bounded: its time,
which runs while it is under way and while nothing of ours is waited for, and its bytes, those of all bodies together.
Source: RFC 9110 and 9112 (HTTP).
"""

import asyncio
import errno
import functools
import math
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.answers import classify_error, classify_status
from pipeline.fetching.resolver import GuardedResolver, parse_redirection
from pipeline.fetching.room import Room
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.targets import parse_redirect
from pipeline.web.bodies import decode_body
from pipeline.web.http import parse_retry_after
from pipeline.web.optouts import header_opt_out, tdm_reservation


class Reply(NamedTuple):
    """What came of a request.

    Attributes:
        content: A body, where a redirect leads, or why there is neither.
        status: Of the answer; None when there was none.
        retry_after_s: Seconds the host asks to be left alone.
        is_page: Whether the answer says that it is a page for people.
        was_stale: Whether a kept connection was closed under the request, which says nothing about its host.
    """

    content: bytes | URL | DropReason
    status: int | None = None
    retry_after_s: float | None = None
    is_page: bool = False
    was_stale: bool = False


class WebClient:
    """Sends requests; one session.

    Args:
        rules: How the network may be used.
    """

    def __init__(self, rules: FetchRules) -> None:
        self._rules = rules
        self._room, self._more_room = Room(_ROOM_BYTES), Room(_MORE_ROOM_BYTES)
        self._timeouts, self._short_timeouts = _timeouts(rules, 1.0), _timeouts(rules, 1.0 - _SILENT_SHARE)
        self.received_bytes = 0

    async def __aenter__(self) -> Self:
        """Opens the session."""
        rules = self._rules
        proxy_host = URL(rules.proxy).raw_host if rules.proxy else None
        self.resolver = GuardedResolver(
            [parse_redirection(text) for text in rules.connect_to],
            allow_private=rules.allow_private,
            timeout_s=rules.dns_timeout_s,
            exempt=[proxy_host] if proxy_host else [],
        )
        connector = aiohttp.TCPConnector(
            resolver=self.resolver,
            use_dns_cache=False,  # the resolver remembers
            limit=0,
            ssl=_tls(rules),
            keepalive_timeout=_KEEPALIVE_SECONDS,
            happy_eyeballs_delay=None,
        )
        # aiohttp has no public place for it; a connection must read what browsers do
        connector._factory = functools.partial(_new_connection, asyncio.get_running_loop())
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": rules.user_agent, "Accept": _ACCEPT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            proxy=rules.proxy or None,
        )
        self._session._retry_connection = False  # nothing is asked again without its turn
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the session."""
        await self._session.close()
        await self.resolver.close()

    async def exchange(
        self,
        url: URL,
        *,
        when_sent: Callable[[], None],
        site_file_bytes: int | None = None,
        is_reserved: bool = False,
        is_last: bool = False,
        when_silent: Callable[[], None] | None = None,
        is_beside: bool = False,
    ) -> Reply:
        """Sends one request and reads its answer.

        Args:
            url: What to ask for.
            when_sent: Called when the request has left.
            site_file_bytes: How much is wanted of a file with rules of the site; None: it is an image.
            is_reserved: Whether its site reserves it, unless the answer says otherwise (tdmrep.json).
            is_last: Whether the connection will not be needed again.
            when_silent: Called once when it left, and was silent for half of the time that it may be.
            is_beside: Whether another request for the same was silent for so long; both end together.
        """
        patience = _Patience(self._rules, when_silent)
        leaving = _Leaving(when_sent, patience)
        _LEAVING.set(leaving)
        headers = {"Connection": "close"} if is_last else None
        status = retry_after_s = None
        is_page = False
        content: bytes | URL | DropReason
        try:
            async with (
                asyncio.timeout(self._rules.timeout_s) as patience.deadline,
                self._session.get(
                    url,
                    allow_redirects=False,
                    headers=headers,
                    timeout=self._short_timeouts if is_beside else self._timeouts,
                ) as response,
            ):
                patience.hear()
                status = response.status
                retry_after_s = parse_retry_after(response.headers.get("Retry-After"), time.time())
                is_page = response.content_type in _PAGE_TYPES
                if site_file_bytes is not None:
                    content = await self._receive_site_file(response, patience, site_file_bytes)
                else:
                    content = await self._receive_image(response, patience, is_reserved)
        except aiohttp.ServerTimeoutError:
            content = DropReason.TIMED_OUT
        except TimeoutError:
            content = DropReason.TOO_SLOW
        except (aiohttp.ClientError, OSError) as error:
            if leaving.is_reused and status is None and _is_cut(error):
                return Reply(DropReason.BROKEN_ANSWER, was_stale=True)
            content = classify_error(error)
            if content is DropReason.CONNECT_FAILED:
                self.resolver.report_dead(url.raw_host or "")
        finally:
            patience.end()
        return Reply(content, status, retry_after_s, is_page)

    async def _receive_image(
        self, response: aiohttp.ClientResponse, patience: "_Patience", is_reserved: bool
    ) -> bytes | URL | DropReason:
        headers, max_bytes = response.headers, self._rules.max_bytes
        refusal = self._redirect_of(response) or classify_status(response.status, can_wait="Retry-After" in headers)
        if refusal is not None:
            await self._drain(response)
            return refusal
        if header_opt_out(headers.items(), noindex=self._rules.respect_noindex, now_s=time.time()):
            return DropReason.OPTED_OUT
        if is_reserved and tdm_reservation(headers.items()) is None:
            return DropReason.OPTED_OUT
        if (response.content_length or 0) > max_bytes:
            return DropReason.TOO_MANY_BYTES
        body = await self._read_up_to(response, max_bytes + 1, patience)
        if len(body) > max_bytes:
            return DropReason.TOO_MANY_BYTES
        return decode_body(body, _coding(response), max_bytes=max_bytes)

    async def _receive_site_file(
        self, response: aiohttp.ClientResponse, patience: "_Patience", max_bytes: int
    ) -> bytes | URL | DropReason:
        refusal = self._redirect_of(response)
        if refusal is None and not 200 <= response.status < 300:
            refusal = classify_status(response.status, can_wait="Retry-After" in response.headers)
        if refusal is not None:
            await self._drain(response)
            return refusal
        body = await self._read_up_to(response, max_bytes, patience)
        decoded = decode_body(body, _coding(response), max_bytes=_INFLATED * max_bytes)
        return decoded if isinstance(decoded, DropReason) else decoded[:max_bytes]

    def _redirect_of(self, response: aiohttp.ClientResponse) -> URL | DropReason | None:
        """Where an answer leads instead, or that it leads nowhere; None: it is no redirect."""
        if response.status not in _REDIRECTS:
            return None
        location = response.headers.get("Location")
        if not location:
            return DropReason.BAD_REDIRECT
        rules = self._rules
        return parse_redirect(location, response.url, allow_private=rules.allow_private, high_ports=rules.high_ports)

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Reads a short body that nobody wants, so that its connection can be used again."""
        if response.content_length is not None and response.content_length <= _SHORT_BYTES:
            await response.content.readexactly(response.content_length)

    async def _read_up_to(self, response: aiohttp.ClientResponse, max_bytes: int, patience: "_Patience") -> bytes:
        """The first bytes of a body. Room for what is large is waited for; for what is larger than it seemed, again."""
        body = bytearray()
        seems = min(response.content_length or _SUPPOSED_BYTES, max_bytes)
        wanted = [(_LARGE_BYTES, self._room, seems), (seems, self._more_room, max_bytes)]
        taken: list[tuple[Room, int]] = []
        try:
            async for part in response.content.iter_any():
                body += part
                self.received_bytes += len(part)
                patience.hear()
                if len(body) >= max_bytes:
                    break
                while wanted and len(body) > wanted[0][0]:
                    _, room, num_bytes = wanted.pop(0)
                    await self._wait_for_room(room, num_bytes, patience)
                    taken.append((room, num_bytes))
        finally:
            for room, num_bytes in taken:
                room.give(num_bytes)
        del body[max_bytes:]  # no copy of what is large
        return bytes(body)

    async def _wait_for_room(self, room: Room, num_bytes: int, patience: "_Patience") -> None:
        """Waits until more may be held; that is no fault of the server's, so the time does not run."""
        if not room.take_at_once(num_bytes):
            with patience.at_rest():
                await room.take(num_bytes)


class _Patience:
    """How long an exchange may take, and when its silence is worth telling.

    Args:
        rules: How the network may be used.
        when_silent: Called once, when half of what silence may last is over; None: nobody wants to know.
    """

    deadline: asyncio.Timeout

    def __init__(self, rules: FetchRules, when_silent: Callable[[], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._when_silent = when_silent
        self._silence_s = rules.read_timeout_s * _SILENT_SHARE
        self._heard = 0.0
        self._look: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The request has left."""
        if self._when_silent:
            self.end()
            self.hear()
            self._look = self._loop.call_later(self._silence_s, self._listen)

    def hear(self) -> None:
        """It is not silent."""
        self._heard = self._loop.time()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Meanwhile no time runs."""
        left_s = (self.deadline.when() or 0.0) - self._loop.time()
        self.deadline.reschedule(None)
        self._heard = math.inf
        yield
        self.hear()
        self.deadline.reschedule(self._loop.time() + left_s)

    def end(self) -> None:
        """It is over."""
        if self._look:
            self._look.cancel()

    def _listen(self) -> None:
        assert self._when_silent is not None
        left_s = min(self._heard + self._silence_s - self._loop.time(), self._silence_s)
        if left_s > 0:
            self._look = self._loop.call_later(left_s, self._listen)
        else:
            self._look = None
            self._when_silent()


class _Leaving:
    """A request that is about to leave; tracing of aiohttp would tell it, for much more.

    Attributes:
        is_reused: Whether it left on a connection that was used before.
    """

    is_reused = False

    def __init__(self, when_sent: Callable[[], None], patience: _Patience) -> None:
        self._when_sent = when_sent
        self._patience = patience

    def leave(self, *, is_reused: bool) -> None:
        """It leaves."""
        self.is_reused = is_reused
        self._patience.begin()
        self._when_sent()


_LEAVING: Final[ContextVar[_Leaving]] = ContextVar("leaving")  # of the task


def _new_connection(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _LenientHandler(loop=loop)


class _LenientHandler(ResponseHandler):
    """A connection that takes an answer which names its length twice, alike, as browsers do (RFC 9112 6.3)."""

    _head: bytes | None = None  # of an answer, as far as it is there; None while its body is read
    _was_used = False

    def set_response_params(self, **options: Any) -> None:
        """Called when a request leaves, by the task that sends it."""
        _LEAVING.get().leave(is_reused=self._was_used)
        self._was_used = True
        self._head = b""
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head = self._head + data
            end = _HEAD_END.search(head)
            if end is None and len(head) < _MAX_LINE_BYTES:
                self._head = head
                return
            self._head = b"" if _INTERIM.match(head) else None
            data = head if end is None else _drop_repeated_lengths(head[: end.end()]) + head[end.end() :]
        super().data_received(data)

    def eof_received(self) -> None:
        self._pass_on()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._pass_on()
        super().connection_lost(exc)

    def _pass_on(self) -> None:
        if self._head:
            head, self._head = self._head, None
            super().data_received(head)


def _drop_repeated_lengths(head: bytes) -> bytes:
    r"""The head of an answer with the second of equal Content-Length lines left out.

    >>> _drop_repeated_lengths(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5, 5\r\n\r\n")
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'
    """
    lines = _LENGTH_LINE.findall(head)
    values = {value.strip() for line in lines for value in line.split(b":", 1)[1].split(b",")}
    if len(values) != 1 or (len(lines) == 1 and b"," not in lines[0]):
        return head
    first, rest = head.split(lines[0], 1)
    return first + b"Content-Length: " + values.pop() + b"\r\n" + _LENGTH_LINE.sub(b"", rest)


def _coding(response: aiohttp.ClientResponse) -> str:
    return ",".join(response.headers.getall("Content-Encoding", []))


def _is_cut(error: Exception) -> bool:
    """Whether a connection was closed under a request."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return True
    return isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)


def _timeouts(rules: FetchRules, read_share: float) -> aiohttp.ClientTimeout:
    """How long a connect, one of two tries if there is a second, and a silence may last."""
    connect_share = _CONNECT_SHARE if rules.retries else 1.0
    return aiohttp.ClientTimeout(
        total=None,
        sock_connect=rules.connect_timeout_s * connect_share,
        sock_read=rules.read_timeout_s * read_share,
    )


def _tls(rules: FetchRules) -> ssl.SSLContext | bool:
    if not rules.verify_tls:
        return False
    return ssl.create_default_context(cafile=rules.ca_bundle or None)


_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PAGE_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_ACCEPT: Final = "image/jpeg,image/png,image/webp,image/*;q=0.8,*/*;q=0.5"
_KEEPALIVE_SECONDS: Final = 10.0
_MAX_LINE_BYTES: Final = 1 << 16
_MAX_HEADERS: Final = 1_000
_SHORT_BYTES: Final = 1 << 14
_LARGE_BYTES: Final = 1 << 18  # smaller bodies are held by as many requests as there are
_CONNECT_SHARE: Final = 0.5  # of two tries each
_SILENT_SHARE: Final = 0.5  # of what silence may last: then a second request begins, with what is left
_SUPPOSED_BYTES: Final = 2 << 20  # of a large body that does not say how long it is
_ROOM_BYTES: Final = 48 << 20  # of all large bodies together, as long as they seem
_MORE_ROOM_BYTES: Final = 32 << 20  # of those that turned out longer; who has it waits for nobody
_INFLATED: Final = 8  # times as long as what is wanted of it a file with rules may be
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)")  # an answer comes after it
_LENGTH_LINE: Final = re.compile(rb"(?im)^content-length[ \t]*:[^\r\n]*\r?\n")
