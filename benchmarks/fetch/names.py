"""A name server for one zone, ``example``: the name says how it is answered.

    python benchmarks/fetch/names.py ADDRESS

``up-7.example`` has an address of its own in 127.0.0.0/8 after `LATENCY_S`; ``nxdomain-8.example`` does not exist;
``servfail-9.example`` fails; ``silent-10.example`` is never answered. Source: RFC 1035 4.1 (messages).
"""

import asyncio
import struct
import sys
from typing import Any

LATENCY_S = 0.02
DEAD_SHARE = 0.2
DEAD_KINDS = ("nxdomain", "silent", "nxdomain", "servfail")  # half of the dead names are unknown
UP = "up"
PORT = 53
TYPE_A, CLASS_IN, TTL_S = 1, 1, 300
RESPONSE_FLAGS, NOERROR, SERVFAIL, NXDOMAIN = 0x8580, 0, 2, 3  # answer, authoritative, recursion asked and given
HEADER = struct.Struct("!6H")
ANSWER_TO_FIRST_NAME = struct.Struct("!HHHIH")
POINTER = 0xC00C  # to the name at offset 12, the question's


def plan_names(num_names: int) -> list[str]:
    """Names, the dead ones spread evenly: every fifth."""
    period = round(1 / DEAD_SHARE)
    kinds = [UP if n % period else DEAD_KINDS[n // period % len(DEAD_KINDS)] for n in range(num_names)]
    return [f"{kind}-{number}.example" for number, kind in enumerate(kinds)]


def answer_query(query: bytes) -> bytes | None:
    """The answer to a message; None when there is none.

    Args:
        query: A message with one question.
    """
    name, kind, question = parse_question(query)
    label, _, number = name.partition(".")[0].partition("-")
    if label == "silent":
        return None
    known = label == UP and number.isdigit() and name.endswith(".example")
    code = NOERROR if known else SERVFAIL if label == "servfail" else NXDOMAIN
    addresses = [address_of(int(number))] if known and kind == TYPE_A else []
    (ident,) = struct.unpack_from("!H", query)
    head = HEADER.pack(ident, RESPONSE_FLAGS | code, 1, len(addresses), 0, 0)
    records = [ANSWER_TO_FIRST_NAME.pack(POINTER, TYPE_A, CLASS_IN, TTL_S, len(a)) + a for a in addresses]
    return head + question + b"".join(records)


def parse_question(query: bytes) -> tuple[str, int, bytes]:
    """Name, type and bytes of the first question."""
    labels, at = [], HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels), kind, query[HEADER.size : at + 5]


def address_of(number: int) -> bytes:
    """An address of 127.0.0.0/8 for a host, from 127.1.0.1 on."""
    return (0x7F010001 + number).to_bytes(4, "big")


class NameServer(asyncio.DatagramProtocol):
    """Answers late, as a resolver does that has to ask others."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if answer := answer_query(data):
            asyncio.get_running_loop().call_later(LATENCY_S, self._transport.sendto, answer, addr)


async def main(address: str) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=(address, PORT))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
