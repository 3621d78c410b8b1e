"""A whole internet on one machine, all of it hostile: every address is this one, and who is spoken to is written down.

    python benchmarks/fetch/hostile_web.py NAME_SERVER RECORD

Runs in a network of its own (`hostile.enter_hostile_network`), where every IPv4 and IPv6 address leads here. RECORD
gets a line for each connection: the address and port it was made to. Names, all of the zone ``example``, say themselves
which addresses they have, by `addresses_of`; paths say what is answered, by `answer`.
"""

import asyncio
import gzip
import io
import ipaddress
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, TextIO

import numpy as np
from names import ANSWER_TO_FIRST_NAME, CLASS_IN, HEADER, NOERROR, NXDOMAIN, POINTER, PORT, TYPE_A, parse_question
from PIL import Image

PUBLIC = "93.184.216.34"
RECORDED_PORTS = (22, 25, 80, 443, 3306, 6379, 8080, 11211)
AUTHORITATIVE, TTL_S, TYPE_AAAA = 0x8580, 0, 28
JPEG_SIDE_PX = 64
BOMB_PIXELS = (7_000, 7_000)
NUM_SCANS = 3_000
ENDLESS = bytes(1 << 16)
GZIP_BOMB_BYTES = 1 << 30
Chunks = AsyncIterator[bytes]


def addresses_of(name: str, asked: int) -> list[str]:
    """What a name server says of a name.

    Args:
        name: ``only-HEX.example`` has the address whose bytes are HEX, ``both-HEX`` the public one too, ``turns-HEX``
            the public one when asked for the first time, and HEX later; ``up-N`` the public one.
        asked: How often it was asked before.

    >>> addresses_of("both-0a000001.example", 0)
    ['93.184.216.34', '10.0.0.1']
    """
    kind, _, rest = name.partition(".")[0].partition("-")
    if kind == "up":
        return [PUBLIC]
    other = str(ipaddress.ip_address(bytes.fromhex(rest)))
    return {"only": [other], "both": [PUBLIC, other], "turns": [other if asked else PUBLIC]}[kind]


def answer_query(query: bytes, asked: "Counter[tuple[str, int]]") -> bytes:
    """The answer to a message with one question."""
    name, kind, question = parse_question(query)
    try:
        found = [ipaddress.ip_address(address) for address in addresses_of(name, asked[name, kind])]
        code = NOERROR
    except (KeyError, ValueError):
        found, code = [], NXDOMAIN
    asked[name, kind] += 1
    version = {TYPE_A: 4, TYPE_AAAA: 6}.get(kind)
    packed = [address.packed for address in found if address.version == version]
    (ident,) = struct.unpack_from("!H", query)
    head = HEADER.pack(ident, AUTHORITATIVE | code, 1, len(packed), 0, 0)
    records = [ANSWER_TO_FIRST_NAME.pack(POINTER, kind, CLASS_IN, TTL_S, len(a)) + a for a in packed]
    return head + question + b"".join(records)


class NameServer(asyncio.DatagramProtocol):
    """Answers at once."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, int]] = Counter()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(answer_query(data, self._asked), addr)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def make_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (JPEG_SIDE_PX, JPEG_SIDE_PX, 3), np.uint8)
    return encode(Image.fromarray(noise), "JPEG")


def make_scans() -> bytes:
    """A progressive JPEG file that goes over its picture thousands of times."""
    whole = encode(Image.new("RGB", (2_000, 2_000)), "JPEG", progressive=True)
    last = whole.rfind(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * NUM_SCANS + whole[-2:]


def make_bodies() -> dict[str, bytes]:
    """Bodies by the paths they are at."""
    deep = Image.fromarray(np.zeros(BOMB_PIXELS, np.uint16))
    return {
        "good": make_jpeg(),
        "deep": encode(deep, "PNG"),
        "wide": encode(Image.new("1", (20_000, 20_000)), "PNG"),
        "scans": make_scans(),
        "inflated": gzip.compress(bytes(GZIP_BOMB_BYTES), 9),
        "page": b"<script>location = 'file:///etc/passwd'</script>",
        "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    }


async def answer(path: str, bodies: dict[str, bytes]) -> Chunks:
    """What comes back for a path: ``/to/HEX`` leads to the URL whose bytes are HEX, others have a body or none."""
    _, kind, rest = (*path.split("/", 2), "")[:3]
    if kind == "to":
        location = bytes.fromhex(rest.partition(".")[0])
        yield b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    elif kind == "lines":
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-More: and more\r\n" * 1_000
    elif kind == "endless":
        yield b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n\r\n" + bodies["good"]
        while True:
            yield ENDLESS
    elif kind in bodies:
        coding = b"Content-Encoding: gzip\r\n" if kind == "inflated" else b""
        yield b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (coding, len(bodies[kind])) + bodies[kind]
    else:
        yield b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def site_file_of(head: bytes) -> bytes | None:
    """Where a site's own files lead, for hosts whose name begins with up-HEX-rules."""
    lines = head.decode("latin-1").split("\r\n")
    host = next((line[6:] for line in lines if line.lower().startswith("host: ")), "")
    label = host.partition(".")[0]
    return bytes.fromhex(label.split("-")[1]) if label.endswith("-rules") else None


def serve(record: TextIO, bodies: dict[str, bytes]) -> Callable[..., Any]:
    """What is done with a connection: it is written down, and what it asks for is answered."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = writer.get_extra_info("sockname")[:2]
        print(json.dumps([address, port]), file=record, flush=True)
        try:
            while port == 80:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode("latin-1")
                to = site_file_of(head) if path in ("/robots.txt", "/.well-known/tdmrep.json") else None
                async for part in answer(f"/to/{to.hex()}" if to else path, bodies):
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return handle


async def main(name_server: str, record_path: str) -> None:
    loop, bodies = asyncio.get_running_loop(), make_bodies()
    await loop.create_datagram_endpoint(NameServer, local_addr=(name_server, PORT))
    with open(record_path, "a") as record:
        for port in RECORDED_PORTS:
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                await asyncio.start_server(serve(record, bodies), host, port, family=family, backlog=1024)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
