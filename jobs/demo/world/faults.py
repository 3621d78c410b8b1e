"""What goes wrong on the web: pictures that a good fetcher must refuse, wait for or follow.

In: the bytes of a good picture. Out: for each kind of fault the answer to its URL and the body behind it. The captions
on the pages are innocent, so only the fetcher can tell.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from jobs.demo.world.web import Answer

ODD_HOST = "odd.example"  # has every fault of a single URL
BUSY_HOST = "busy.example"  # its first answer is 429 with Retry-After: 1
CLOSED_FOLDER = "http://shapes.example/private/"  # robots.txt forbids it
DOWN_HOST = "down.example"  # its robots.txt answers 503, so it must be left alone
PIXEL_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
BOMB_SIDE_PX = 20_000


class Fault(NamedTuple):
    """One kind of bad URL: `name` is its file name, suffix included."""

    name: str
    answer: Answer
    body: bytes = b""


def list_faults(good: bytes, neighbour: str) -> Iterator[Fault]:
    """Yields every fault of a single URL.

    Args:
        good: A JPEG file that decodes.
        neighbour: URL of a good picture, for the redirect that works.
    """
    yield Fault("missing.jpg", Answer(status=404, mime="text/html"))
    yield Fault("gone.jpg", Answer(status=410, mime="text/html"))
    yield Fault("failing.jpg", Answer(status=500, mime="text/html"))
    yield Fault("forbidden.jpg", Answer(status=403, mime="text/html"))
    yield Fault("empty.jpg", Answer())
    yield Fault("page.jpg", Answer(mime="text/html"), b"<html><body>Please log in to see this picture.</body></html>")
    yield Fault("noise.jpg", Answer(), bytes(range(256)) * 8)
    yield Fault("half-file.jpg", Answer(), good[: len(good) // 2])
    yield Fault("cut.jpg", Answer(behaviour="cut"), good)
    yield Fault("hang-up.jpg", Answer(behaviour="hang up"), good)
    yield Fault("slow.jpg", Answer(behaviour="slow"), good)
    yield Fault("bomb.png", Answer(), _draw_blank_png(BOMB_SIDE_PX, BOMB_SIDE_PX))
    yield Fault("endless.jpg", Answer(headers={"Content-Length": str(10**11)}, behaviour="cut"), good)
    yield Fault("dot.gif", Answer(), PIXEL_GIF)
    yield Fault("banner.png", Answer(), _draw_blank_png(2000, 90))
    yield Fault("opted-out.jpg", Answer(headers={"X-Robots-Tag": "noai, noimageai"}), good)
    yield Fault("moved.jpg", Answer(status=301, headers={"Location": neighbour}))
    yield Fault("loop.jpg", Answer(status=302, headers={"Location": f"http://{ODD_HOST}/loop.jpg"}))
    yield Fault("inside.jpg", Answer(status=302, headers={"Location": "http://169.254.169.254/latest/"}))


def list_host_answers() -> Iterator[tuple[str, Answer, bytes]]:
    """Yields name, answer and body of what decides over a whole host: its robots.txt."""
    closed = CLOSED_FOLDER.partition("://")[2].partition("/")
    rules = f"User-agent: *\nDisallow: /{closed[2]}\n".encode()
    yield f"{closed[0]}/robots.txt", Answer(), rules
    yield f"{DOWN_HOST}/robots.txt", Answer(status=503, mime="text/plain"), b""


def _draw_blank_png(width: int, height: int) -> bytes:
    """Returns a black one-bit PNG file: small in bytes, large in pixels."""
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in parts)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
