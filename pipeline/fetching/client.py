"""Image URLs to checked images, over the network, with manners.

In: URLs of a fetch unit. Out: for each its `Fetched`: the image or the reason there is none. Beam-free. A URL costs
one request where all is well: over a kept connection, refused by its header lines before its body is read, decoded
in a thread. Every wait has an end.
Source: RFC 9110 (HTTP semantics), RFC 9309 (robots.txt).
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.answers import (
    MAX_REDIRECTS,
    RETRIED,
    Fetched,
    Normalize,
    Store,
    classify_error,
    classify_status,
)
from pipeline.fetching.hosts import Host, HostMemory, KnownRobots
from pipeline.fetching.images import CheckedImage
from pipeline.fetching.resolver import GuardedResolver, parse_redirection
from pipeline.fetching.robots import MAX_ROBOTS_BYTES, ROBOTS_PATH, Robots, read_robots
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.targets import parse_redirect, parse_target
from pipeline.web.bodies import decode_body
from pipeline.web.http import parse_retry_after, pause_s
from pipeline.web.optouts import is_opted_out


async def fetch_images(
    urls: Iterable[str],
    rules: FetchRules,
    *,
    normalize: Normalize,
    store: Store,
    memory: HostMemory | None = None,
) -> None:
    """Fetches URLs, hosts side by side, and hands each to `store` as soon as it is there.

    Args:
        urls: Distinct URLs.
        rules: How the network may be used.
        normalize: Checks the bytes of an image; called in threads.
        store: Takes a URL and what came of it; called in no fixed order.
        memory: What this process knows of hosts; what is learned is added. Given to one call at a time.
    """
    async with ImageClient(rules, normalize, memory or HostMemory()) as client, asyncio.TaskGroup() as lanes:
        for queue in client.queue_by_host(urls):
            for _ in range(min(rules.host_connections, len(queue))):
                lanes.create_task(_run_lane(client, queue, store))


async def _run_lane(client: "ImageClient", queue: deque[str], store: Store) -> None:
    while queue:
        url = queue.popleft()
        store(url, await client.fetch(url))


class ImageClient:
    """Fetches images; one session, one set of hosts.

    Args:
        rules: How the network may be used.
        normalize: Checks the bytes of an image; called in threads.
        memory: What is known of hosts; what is learned is added at the end.
    """

    def __init__(self, rules: FetchRules, normalize: Normalize, memory: HostMemory) -> None:
        self._rules = rules
        self._normalize = normalize
        self._in_flight = asyncio.Semaphore(rules.concurrency)
        self._decoders = ThreadPoolExecutor(rules.decode_threads, thread_name_prefix="decode")
        self._clock = asyncio.get_running_loop().time
        self._memory = memory
        self._hosts: dict[str, Host] = {}

    async def __aenter__(self) -> Self:
        """Opens the session."""
        redirections = [parse_redirection(text) for text in self._rules.connect_to]
        self._resolver = GuardedResolver(redirections, allow_private=self._rules.allow_private)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver, limit=0, ttl_dns_cache=_DNS_SECONDS, keepalive_timeout=_KEEPALIVE_SECONDS
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._rules.connect_timeout_s, sock_read=self._rules.read_timeout_s
            ),
            headers={"User-Agent": self._rules.user_agent, "Accept": _ACCEPT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the session."""
        self._memory.keep(self._hosts, self._clock())
        await self._session.close()
        await self._resolver.close()
        self._decoders.shutdown()

    def queue_by_host(self, urls: Iterable[str]) -> Iterable[deque[str]]:
        """One queue of URLs a host; URLs that cannot be parsed share one."""
        queues: dict[str, deque[str]] = defaultdict(deque)
        for text in urls:
            url = parse_target(text, allow_private=self._rules.allow_private)
            host_name = url.raw_host or "" if isinstance(url, URL) else ""
            queues[host_name].append(text)
            self._host(host_name).urls_left += 1
        return queues.values()

    async def fetch(self, text: str) -> Fetched:
        """Fetches one URL: redirects followed, errors that may pass tried again."""
        url = parse_target(text, allow_private=self._rules.allow_private)
        if isinstance(url, DropReason):
            return Fetched(url)
        host = self._host(url.raw_host or "")
        fetched = await self._try_again(lambda: self._fetch_once(url))
        host.urls_left -= 1
        return fetched

    def _host(self, name: str) -> Host:
        if name not in self._hosts:
            self._hosts[name] = Host(self._rules, self._clock, self._memory.recall(name))
        return self._hosts[name]

    async def _try_again(self, attempt: Callable[[], Awaitable[Fetched]]) -> Fetched:
        fetched = await attempt()
        for tries in range(1, self._rules.retries + 1):
            if fetched.image not in RETRIED or not fetched.asked:
                break
            if fetched.image is not DropReason.THROTTLED:  # then the host's next turn is late enough
                await asyncio.sleep(pause_s(tries))
            fetched = await attempt()
        return fetched

    async def _fetch_once(self, url: URL) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            host = self._host(url.raw_host or "")
            if refusal := await self._ask_leave(host, url):
                return Fetched(refusal)
            async with host.turn(), self._in_flight:
                reply = await self._exchange(host, url)
                if isinstance(reply.content, bytes):
                    image = await self._decode(reply.content)
                    return Fetched(image, reply.status, reply.asked)
            if isinstance(reply.content, DropReason):
                return Fetched(reply.content, reply.status, reply.asked)
            url = reply.content
        return Fetched(DropReason.TOO_MANY_REDIRECTS, reply.status, reply.asked)

    async def _decode(self, body: bytes) -> CheckedImage | DropReason:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, self._normalize, body)

    async def _ask_leave(self, host: Host, url: URL) -> DropReason | None:
        """Why a URL must not be requested, or None; reads robots.txt at the first request to an origin."""
        if host.closed:
            return host.closed
        if not self._rules.robots:
            return None
        origin = url.origin()
        if origin not in host.robots:
            host.robots[origin] = asyncio.create_task(self._fetch_robots(host, origin))
        robots = await host.robots[origin]
        if isinstance(robots, DropReason):
            return robots
        return None if robots.allows(url) else DropReason.ROBOTS_DISALLOW

    async def _fetch_robots(self, host: Host, origin: URL) -> Robots | DropReason:
        if known := host.known_robots.get(origin):
            return known.robots
        reply = await self._exchange_robots(origin)
        for tries in range(1, self._rules.retries + 1):
            if reply.content not in RETRIED:
                break
            await asyncio.sleep(pause_s(tries))
            reply = await self._exchange_robots(origin)
        content = DropReason.BAD_REDIRECT if isinstance(reply.content, URL) else reply.content
        robots = read_robots(reply.status, content)
        if isinstance(robots, Robots):
            if robots.crawl_delay_s > self._rules.max_wait_s:
                return DropReason.CRAWL_DELAY
            host.slow_down(robots.crawl_delay_s)
            host.known_robots[origin] = KnownRobots(robots, self._clock())
        return robots

    async def _exchange_robots(self, origin: URL) -> "_Reply":
        url = origin.with_path(ROBOTS_PATH)
        for _ in range(MAX_REDIRECTS + 1):
            host = self._host(url.raw_host or "")
            async with host.turn(), self._in_flight:
                reply = await self._exchange(host, url, is_robots=True)
            if not isinstance(reply.content, URL):
                break
            url = reply.content
        return reply

    async def _exchange(self, host: Host, url: URL, *, is_robots: bool = False) -> "_Reply":
        """One request and its answer."""
        if host.closed:
            return _Reply(host.closed)
        headers = {"Connection": "close"} if host.urls_left <= 1 and not is_robots else {}
        status = retry_after_s = None
        content: bytes | URL | DropReason
        try:
            async with (
                asyncio.timeout(self._rules.timeout_s),
                self._session.get(url, allow_redirects=False, headers=headers) as response,
            ):
                status = response.status
                retry_after_s = parse_retry_after(response.headers.get("Retry-After"), time.time())
                content = await self._receive(response, is_robots=is_robots)
        except aiohttp.ServerTimeoutError:
            content = DropReason.TIMED_OUT
        except TimeoutError:
            content = DropReason.TOO_SLOW
        except (aiohttp.ClientError, OSError) as error:
            content = classify_error(error)
        host.note(content, retry_after_s)
        return _Reply(content, status, asked=True)

    async def _receive(self, response: aiohttp.ClientResponse, *, is_robots: bool) -> bytes | URL | DropReason:
        headers = response.headers
        if response.status in _REDIRECTS:
            return self._redirect_target(response)
        if refusal := classify_status(response.status, can_wait="Retry-After" in headers):
            return refusal
        tags = headers.getall("X-Robots-Tag", [])
        if not is_robots and is_opted_out(tags, headers.get("tdm-reservation"), noindex=self._rules.respect_noindex):
            return DropReason.OPTED_OUT
        max_bytes = MAX_ROBOTS_BYTES if is_robots else self._rules.max_bytes
        if not is_robots and (response.content_length or 0) > max_bytes:
            return DropReason.TOO_MANY_BYTES
        body = await _read_up_to(response.content, max_bytes + 1)
        if is_robots:
            body = body[:max_bytes]
        return decode_body(body, ",".join(headers.getall("Content-Encoding", [])), max_bytes=max_bytes)

    def _redirect_target(self, response: aiohttp.ClientResponse) -> URL | DropReason:
        location = response.headers.get("Location")
        if not location:
            return DropReason.BAD_REDIRECT
        return parse_redirect(location, response.url, allow_private=self._rules.allow_private)


class _Reply(NamedTuple):
    content: bytes | URL | DropReason  # a body, where a redirect leads, or why there is neither
    status: int | None = None
    asked: bool = False


async def _read_up_to(stream: aiohttp.StreamReader, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in stream.iter_any():
        body += part
        if len(body) >= max_bytes:
            break
    return bytes(body[:max_bytes])


_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ACCEPT: Final = "image/jpeg,image/png,image/webp,image/*;q=0.8,*/*;q=0.5"
_DNS_SECONDS: Final = 600
_KEEPALIVE_SECONDS: Final = 10.0
