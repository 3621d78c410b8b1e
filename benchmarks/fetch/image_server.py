"""A web server that costs next to nothing: answers lie ready in memory, and the URL says which and when.

    python benchmarks/fetch/image_server.py PICTURES.pickle [--ports HTTP HTTPS] [--certificate FILE]

It prints its ports as a line of JSON. URLs are those of `slow_web`; anything else, such as robots.txt, is 404. Bodies
of two URLs differ in a comment, so none can be taken for another by its digest. Connections are kept.
"""

import argparse
import asyncio
import json
import pickle
import socket
import ssl
import sys
from typing import Any

import uvloop
from slow_web import ANSWERED, BUSY, GOOD, Ask, parse_path

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
EMPTY = b"HTTP/1.1 %d X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
COMMENT = b"\xff\xd8\xff\xfe\x00\x0a%08d"  # start of image, and a comment segment of eight digits
START_BYTES = 2
END = b"\xff\xd9"
BACKLOG = 4096


class ImageServer(asyncio.Protocol):
    """One connection."""

    def __init__(self, pictures: list[bytes], met: set[int]) -> None:
        self._pictures = pictures
        self._met = met  # pictures of who is busy that somebody has asked for
        self._received = b""
        self._mute = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0 and not self._mute:
            head, self._received = self._received[:end], self._received[end + 4 :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        ask = parse_path(head.split(b" ", 2)[1].decode("latin-1"))
        close = b"onnection: close" in head
        if b"ost: mute-" in head or (ask and ask.answer == "hang"):
            self._mute = True
        elif ask is None:
            self._write([NOT_FOUND], close)
        elif ask.delay_s:
            asyncio.get_running_loop().call_later(ask.delay_s, self._give, ask, close)
        else:
            self._give(ask, close)

    def _give(self, ask: Ask, close: bool) -> None:
        answer = GOOD if ask.answer == BUSY and ask.picture in self._met else ask.answer
        if answer == "reset":
            self._transport.abort()
        elif answer in ANSWERED:
            self._met.add(ask.picture)
            self._write([EMPTY % ANSWERED[answer]], close)
        else:
            self._give_picture(ask, answer, close)

    def _give_picture(self, ask: Ask, answer: str, close: bool) -> None:
        picture = self._pictures[ask.picture % len(self._pictures)]
        comment = COMMENT % ask.picture
        rest = memoryview(picture)[START_BYTES:]
        half = rest[: len(rest) // 2]
        if answer == "broken":
            self._write([HEAD % (len(comment) + len(half) + len(END)), comment, half, END], close)
            return
        head = HEAD % (len(comment) + len(rest))
        if answer == GOOD:
            self._write([head, comment, rest], close)
        else:
            self._mute = True
            self._write([head, comment, half], close=answer == "cut")

    def _write(self, parts: list[Any], close: bool) -> None:
        if self._transport.is_closing():
            return
        self._transport.writelines(parts)
        if close:
            self._transport.close()


def never_accepting() -> tuple[socket.socket, list[socket.socket]]:
    """A port whose connects are never answered: its queue holds one, and is full. Both are to be kept."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    return listener, waiting


async def serve(pictures: list[bytes], ports: list[int], certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    bound: dict[str, int] = {}
    met: set[int] = set()
    for name, port, secure in (("http", ports[0], None), ("https", ports[1], context)):
        if name == "http" or secure:
            listener = await loop.create_server(
                lambda: ImageServer(pictures, met),
                "0.0.0.0" if port else "127.0.0.1",
                port,
                ssl=secure,
                backlog=BACKLOG,
            )
            bound[name] = listener.sockets[0].getsockname()[1]
    refusing = socket.socket()
    refusing.bind(("127.0.0.1", 0))  # and does not listen
    hung, waiting = never_accepting()
    bound |= {"refused": refusing.getsockname()[1], "hung": hung.getsockname()[1]}
    print(json.dumps(bound), flush=True)
    await asyncio.Event().wait()
    del waiting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="A pickled list of bytes")
    parser.add_argument("--ports", type=int, nargs=2, default=[0, 0], help="0: any, on loopback; else on all addresses")
    parser.add_argument("--certificate", help="PEM of a certificate and its key")
    arguments = parser.parse_args()
    with open(arguments.pictures, "rb") as file:
        pictures = pickle.load(file)
    uvloop.run(serve(pictures, arguments.ports, arguments.certificate))


if __name__ == "__main__":
    sys.exit(main())
