"""Files over HTTP to disk, whole or not at all: continued where they were cut, checked, and asked for with patience.

Source: RFC 9110, sections 8.8 (validators) and 14 (ranges);
https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

import requests
import urllib3

from pipeline.dumps.partial_files import Download, DownloadFailed, PartialFile, is_there
from pipeline.web.http import may_pass, parse_retry_after, pause_s, user_agent

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_HEADS = {".bz2": b"BZh", ".gz": b"\x1f\x8b"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class NotThere(DownloadFailed):
    """The server has no such file, or an empty one."""


class OtherSize(DownloadFailed):
    """The server has another file than it listed."""


class _TryAgain(Exception):
    """Something went wrong that may pass."""

    def __init__(self, problem: str, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.wait_s = wait_s  # what the server asks for


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a server is asked.

    Attributes:
        contact: How to reach who asks, for the user agent; "": they do not say.
        connections: Files under way at a time.
        timeout_s: Longest silence.
        retries: Tries in a row, after the first, that bring nothing new.
        backoff_s: Pause before the first of them; doubled before each further one.
        max_wait_s: Longest pause granted to a server that asks for one.
    """

    contact: str = ""
    connections: int = 2
    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 1.0
    max_wait_s: float = 600.0

    @property
    def user_agent(self) -> str:
        """What the client says it is."""
        return user_agent("vocabulary builder", self.contact)


class Client:
    """Asks servers for files."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._stopped = threading.Event()
        self._reached: set[str] = set()  # hosts that have answered

    def read(self, url: str) -> bytes:
        """The content of a small file."""

        def ask() -> bytes:
            with self._answer("GET", url) as response:
                return response.content

        return self._try(url, ask)

    def size(self, url: str) -> int:
        """Bytes of a file; 0 when the server does not say.

        Raises:
            NotThere: When it has none, or an empty one.
        """

        def ask() -> int:
            with self._answer("HEAD", url) as response:
                length = response.headers.get("Content-Length")
            if length == "0":
                raise NotThere(f"{url}: this file is empty")
            return int(length or 0)

        return self._try(url, ask)

    def get_all(self, downloads: Sequence[Download], *, may_lack: Collection[Download] = ()) -> list[Download]:
        """Gets files, a few at a time; the first that fails stops the others, and their parts stay.

        Args:
            downloads: The files.
            may_lack: Those of them that the server need not have.

        Returns:
            Those that it has not.
        """
        lacking: list[Download] = []
        with ThreadPoolExecutor(self._manners.connections) as pool:
            try:
                downloading = {pool.submit(self.get, download): download for download in downloads}
                for done in as_completed(downloading):
                    try:
                        done.result()
                    except NotThere:
                        if downloading[done] not in may_lack:
                            raise
                        lacking.append(downloading[done])
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        return lacking

    def get(self, download: Download) -> None:
        """Gets one file, unless it is there.

        Raises:
            DownloadFailed: When it cannot be had, or what came is not what was promised.
        """
        if is_there(download):
            return
        with PartialFile.open(download) as part:
            try:
                self._try(download.url, lambda: self._complete(download, part), progress=lambda: part.most_bytes)
            except NotThere:
                part.discard()
                raise
            part.finish()

    def _complete(self, download: Download, part: PartialFile) -> None:
        """Gets what a part lacks, in one answer, and checks it."""
        began_with = part.size
        if not 0 < download.size == part.size:
            self._append_rest(download, part)
        if download.size and part.size != download.size:
            raise _TryAgain(f"the answer was cut after {part.size:,} of {download.size:,} bytes")
        if download.checksum and part.checksum != download.checksum:
            found = part.checksum
            part.restart()
            if began_with:
                raise _TryAgain("what was there did not belong to it")
            raise DownloadFailed(
                f"{download.url}: checksum mismatch: it is {found}, the server lists {download.checksum}; "
                "run it again, or take another mirror"
            )

    def _append_rest(self, download: Download, part: PartialFile) -> None:
        if part.size and not (part.version or download.checksum):
            part.restart()  # nothing would tell whether the rest belongs to it
        headers = {}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if part.version:
                headers["If-Range"] = part.version
        with self._answer("GET", download.url, headers) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.restart()
                raise _TryAgain("the server has less than what is here")
            start, size = _span(response)
            if start != part.size:
                part.restart()
            if start not in (0, part.size):
                raise _TryAgain("the server sent another range")
            if start == 0:
                part.set_version(_version(response))
            chunks = self._chunks(response)
            first = next(chunks, b"")
            if start == 0:
                _check_head(download.url, first)
            if download.size and size and size != download.size:
                raise OtherSize(f"{download.url}: the server has {size:,} bytes, and lists {download.size:,}")
            for chunk in chain([first], chunks):
                part.append(chunk)

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            if self._stopped.is_set():
                raise DownloadFailed("stopped")
            yield chunk

    def _try(self, url: str, ask: Callable[[], T], *, progress: Callable[[], int] = int) -> T:
        """Asks until it works; gives up when `retries` tries in a row make no progress."""
        tries, most = 0, progress()
        while True:
            try:
                return ask()
            except _TryAgain as problem:
                if progress() > most:
                    tries, most = 0, progress()
                tries += 1
                if tries > self._manners.retries:
                    raise DownloadFailed(f"{url}: {problem}; gave up after {tries} tries") from problem
                self._pause(url, problem, tries)

    def _pause(self, url: str, problem: _TryAgain, tries: int) -> None:
        wait_s = problem.wait_s
        if wait_s is None:
            wait_s = pause_s(tries, first_s=self._manners.backoff_s)
        if wait_s > self._manners.max_wait_s:
            raise DownloadFailed(f"{url}: {problem}; it asks to wait {wait_s:,.0f} s: run it again then") from problem
        if self._stopped.wait(wait_s):
            raise DownloadFailed("stopped")

    @contextmanager
    def _answer(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """Asks once; what may pass is `_TryAgain`, also when it happens while the answer is read."""
        host = urllib3.util.parse_url(url).netloc or url
        own = {"User-Agent": self._manners.user_agent, "Accept-Encoding": "identity"}
        timeout_s = self._manners.timeout_s
        try:
            with requests.request(
                method, url, headers={**own, **(headers or {})}, timeout=timeout_s, stream=True, allow_redirects=True
            ) as response:
                self._reached.add(host)
                _check_status(response)
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if host not in self._reached and _is_refused(error):
                raise DownloadFailed(f"cannot reach {host}: {_innermost(error)}") from error
            raise _TryAgain(_innermost(error)) from error


class _Span(NamedTuple):
    start: int  # of the first byte that comes
    size: int  # of the whole file; 0: not stated


def _check_status(response: requests.Response) -> None:
    status, url = response.status_code, response.url
    if may_pass(status):
        wait_s = parse_retry_after(response.headers.get("Retry-After"), time.time())
        raise _TryAgain(f"the server answered {status}", wait_s)
    if status in (404, 410):
        raise NotThere(f"{url}: there is no such file ({status})")
    if status == requests.codes.forbidden:
        raise DownloadFailed(f"{url}: refused (403); say who you are with --contact, which the server may insist on")
    if status not in (200, 206, 416):
        raise DownloadFailed(f"{url}: the server answered {status}")


def _span(response: requests.Response) -> _Span:
    """Which part of a file an answer is."""
    if response.status_code == requests.codes.partial_content:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found:
            raise _TryAgain("the server sent a part and did not say which")
        return _Span(int(found[1]), 0 if found[2] == "*" else int(found[2]))
    return _Span(0, int(response.headers.get("Content-Length", 0)))


def _version(response: requests.Response) -> str:
    """What can stand in If-Range: a strong ETag, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _check_head(url: str, data: bytes) -> None:
    head = next((head for suffix, head in _HEADS.items() if url.endswith(suffix)), b"")
    if not data:
        raise NotThere(f"{url}: this file is empty")
    if not data.startswith(head):
        what = "an HTML page" if b"<html" in data[:2048].lower() else "something else"
        raise DownloadFailed(f"{url}: the server sent {what}, not such a file")


def _is_refused(error: Exception) -> bool:
    """Whether there was no connection at all: no such name, no network, nobody at the port, no trust."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.SSLError)


def _innermost(error: BaseException) -> str:
    """What was first to go wrong, in a few words."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
