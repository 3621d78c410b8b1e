"""The web of the demo as files: what a server answers for a URL, and a web archive of its pages.

In: pictures' bytes, answers and pages. Out: `bodies.zip` (a member per URL, named HOST/PATH) with `answers.json` (only
the URLs that need more than "200 and the body of that name"), and a WARC file with one gzip member a record.

Source: WARC/1.0, ISO 28500:2009.
"""

import gzip
import json
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, NamedTuple

CRAWLED_AT = "2025-01-15T12:00:00Z"
MIME_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "txt": "text/plain"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server says when it is asked for a URL."""

    status: int = 200
    mime: str = ""  # "": by the suffix of the URL
    body: str = ""  # HOST/PATH of the body; "": the URL's own
    headers: Mapping[str, str] = field(default_factory=dict)
    behaviour: str = ""  # "", "slow", "cut" (half the body), "hang up" (nothing) or "busy once" (first a 429)


class Page(NamedTuple):
    """A crawled document."""

    url: str
    html: bytes
    status: int = 200
    mime: str = "text/html; charset=utf-8"


def name_of(url: str) -> str:
    """Returns the name under which a URL is known to the server.

    >>> name_of("http://blog.example/a/b.png")
    'blog.example/a/b.png'
    """
    return url.partition("://")[2]


def write_bodies(file: BinaryIO, bodies: Iterable[tuple[str, bytes]]) -> None:
    """Writes a zip archive whose bytes depend on nothing but the bodies and their names."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, body in bodies:
            archive.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), body)


def dump_answers(answers: Mapping[str, Answer]) -> bytes:
    """Returns answers as JSON, without what is as usual."""
    plain = {name: {k: v for k, v in asdict(answer).items() if v} for name, answer in sorted(answers.items())}
    return json.dumps(plain, indent=1).encode()


def load_answers(content: bytes) -> dict[str, Answer]:
    """Reads what `dump_answers` wrote."""
    return {name: Answer(**fields) for name, fields in json.loads(content).items()}


def write_warc(file: BinaryIO, pages: Iterable[Page]) -> None:
    """Writes a WARC file: a warcinfo record, then a request and a response for every page."""
    info = b"software: wit400m demo\r\nformat: WARC File Format 1.0\r\n"
    _write_record(file, "warcinfo", "", "application/warc-fields", info)
    for page in pages:
        host, _, path = name_of(page.url).partition("/")
        request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        _write_record(file, "request", page.url, "application/http; msgtype=request", request)
        head = f"HTTP/1.1 {page.status} -\r\nContent-Type: {page.mime}\r\nContent-Length: {len(page.html)}\r\n\r\n"
        _write_record(file, "response", page.url, "application/http; msgtype=response", head.encode() + page.html)


def _write_record(file: BinaryIO, kind: str, url: str, mime: str, block: bytes) -> None:
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {url}")
    target = f"WARC-Target-URI: {url}\r\n" if url else ""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{identity}>\r\nWARC-Date: {CRAWLED_AT}\r\n"
        f"{target}Content-Type: {mime}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    file.write(gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0))
