"""Everything that must not be asked for, in a network where every address answers and writes down who asked.

In: a folder, and what fetches. Out: what is wrong, in words: a URL that ended in another status than it must, a private
address that somebody connected to, a file that was read, memory above `MOST_MIB`. First it is tried whether the
listeners hear: a connection to each address of `PRIVATE` must be written down.
"""

import ipaddress
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.dataset as ds
from hostile_web import PUBLIC, make_jpeg
from inputs import write_inputs
from measuring import measure
from programs import Program, Scene
from servers import NAME_SERVER, enter_own_network, name_server, run_quietly

MOST_MIB = 600
SHOWN = 5
NUM_ENDLESS, NUM_DEEP, NUM_GOOD = 60, 6, 100
PRIVATE = (  # addresses that lead inwards, one a kind
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "203.0.113.1", "240.0.0.1",
    "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1",
    "100::1", "2001::1", "2001:db8::1", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fec0::1",
)  # fmt: skip
UNREACHABLE = ("224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1")  # no connection can be made to these
NUMBERS = ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.")  # 127.0.0.1 as browsers read them
ODD = ("[fe80::1%25lo]", "[::1", "localhost:22")
SCHEMES = ("ftp://up-1.example/x", "gopher://127.0.0.1:6379/_x", "data:image/jpeg;base64,AA", "unix:/run/x", "//")
NO_PORTS = (22, 25, 3306, 6379, 8080, 11211)


class Case(NamedTuple):
    """A URL, and the statuses that it may end in."""

    url: str
    statuses: frozenset[str]


def cases(canary: str) -> list[Case]:
    """All of them, every one on a host of its own.

    Args:
        canary: URL of a file.
    """
    found = [*lead_inwards(), *lead_elsewhere(canary), *bring_bombs()]
    return [Case(url.replace("HOST", f"up-{number}"), statuses) for number, (url, statuses) in enumerate(found)]


def lead_inwards() -> Iterator[Case]:
    """To private addresses: at once, by a redirect, by a name, by a name among others, by the files of a site."""
    private = frozenset({"private_address"})
    for address in (*PRIVATE, *UNREACHABLE):
        packed = ipaddress.ip_address(address).packed.hex()
        literal = f"[{address}]" if ":" in address else address
        for url in (f"http://{literal}/1.jpg", f"https://{literal}/1.jpg", f"http://only-{packed}.example/1.jpg"):
            yield Case(url, private)
            yield Case(redirect_to(url), private)
        yield Case(f"http://both-{packed}.example/good/1.jpg", frozenset({"ok"}))
        yield Case(f"http://turns-{packed}.example/good/1.jpg", frozenset({"ok", "private_address"}))
        rules = f"http://{literal}/robots.txt".encode().hex()
        if len(rules) <= 54:  # a label has 63 characters
            yield Case(
                f"http://up-{rules}-rules.example/good/1.jpg", frozenset({"robots_unavailable", "private_address"})
            )


def lead_elsewhere(canary: str) -> Iterator[Case]:
    """To files, other services, and in other notations."""
    bad, bad_redirect = frozenset({"bad_url"}), frozenset({"bad_redirect"})
    urls = [canary, "file:///etc/passwd", "file://localhost/etc/passwd", *SCHEMES]
    urls += [f"http://{host}/1.jpg" for host in ODD]
    urls += [f"http://up-0.example:{port}/good/1.jpg" for port in NO_PORTS]
    for url in urls:
        yield Case(url, bad)
        yield Case(redirect_to(url), bad_redirect)
    for host in ("localhost", *NUMBERS):
        yield Case(f"http://{host}/1.jpg", frozenset({"private_address"}))
        yield Case(redirect_to(f"http://{host}/1.jpg"), frozenset({"private_address"}))


def bring_bombs() -> Iterator[Case]:
    """Much out of little, and good images among it."""
    for path, number, status in (
        ("endless", NUM_ENDLESS, "too_many_bytes"),
        ("inflated", NUM_DEEP, "too_many_bytes"),
        ("deep", NUM_DEEP, "ok"),
        ("wide", 1, "too_many_pixels"),
        ("scans", 1, "too_costly"),
        ("lines", 1, "broken_answer"),
        ("page", 1, "unknown_format"),
        ("drawing", 1, "unknown_format"),
        ("good", NUM_GOOD, "ok"),
    ):
        for _ in range(number):
            yield Case(f"http://HOST.example/{path}/1.jpg", frozenset({status}))


def redirect_to(url: str) -> str:
    return f"http://HOST.example/to/{url.encode().hex()}.jpg"


def enter_hostile_network() -> None:
    """Goes on in a network of its own, in which every address is this machine's.

    Raises:
        SystemExit: Where the machine does not allow it.
    """
    enter_own_network()
    run_quietly("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo")
    run_quietly("ip", "-6", "route", "add", "local", "::/0", "dev", "lo")


def meet_hostile_web(folder: str, program: Program, *, limit_s: float) -> list[str]:
    """Lets a program fetch all cases; in a hostile network.

    Args:
        folder: Empty.
        program: What fetches, in a scene without ``--connect-to``.
        limit_s: Longest run.

    Returns:
        What is wrong.
    """
    record, canary, output = (os.path.join(folder, name) for name in ("record", "canary.jpg", "output"))
    with watched_file(canary) as was_read:
        listed = cases(Path(canary).as_uri())
        write_inputs(folder, [case.url for case in listed])
        with name_server(folder, "hostile_web.py", NAME_SERVER, record):
            deaf = [address for address in PRIVATE if not is_heard(address, record)]
            os.truncate(record, 0)
            program_run = program.prepare(Scene(folder, len(listed)), output)
            usage = measure(program_run.command, folder=folder, env=program_run.env, limit_s=limit_s)
        files = ["a file of this machine was read"] if was_read() else []
    contacts = read_record(record)
    print(
        f"{len(listed)} URLs, {usage.wall_s:.0f} s, at most {usage.peak_mib:.0f} MiB (PSS), {len(contacts)} connections"
    )
    return [
        *(f"the listeners do not hear {address}" for address in deaf),
        *([f"exit code {usage.exit_code}: {read_end(folder)}"] if usage.exit_code else []),
        *([f"{usage.peak_mib:.0f} MiB of memory"] if usage.peak_mib > MOST_MIB else []),
        *files,
        *name_contacts(contacts),
        *compare_statuses(listed, output),
    ]


@contextmanager
def watched_file(path: str) -> Iterator[Callable[[], bool]]:
    """A file that is an image; gives what says whether it was read, by its time of access.

    Raises:
        SystemExit: Where the file system does not keep it.
    """

    def was_read() -> bool:
        return os.stat(path).st_atime != 0

    def write() -> None:
        with open(path, "wb") as file:
            file.write(make_jpeg())
        os.utime(path, (0, 0))

    write()
    with open(path, "rb") as file:
        file.read()
    if not was_read():
        raise SystemExit(f"{path}: this file system does not tell who reads")
    write()
    yield was_read


def is_heard(address: str, record: str) -> bool:
    """Whether a connection to an address is written down; where the system reads it as another one, that one is."""
    before = len(read_record(record))
    with socket.create_connection((address, 80), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(1)
    return len(read_record(record)) == before + 1


def read_end(folder: str) -> str:
    """The last lines that the program said."""
    with open(os.path.join(folder, "log")) as file:
        return "".join(file.readlines()[-SHOWN:]).strip()


def read_record(path: str) -> list[tuple[str, int]]:
    with open(path) as file:
        return [tuple(json.loads(line)) for line in file]


def name_contacts(contacts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Says who was spoken to that must not be."""
    for (address, port), number in sorted(Counter(contacts).items()):
        if address != PUBLIC or port not in (80, 443):
            yield f"{number} connections to {address}, port {port}"


def compare_statuses(listed: Iterable[Case], output: str) -> Iterator[str]:
    """Says which URLs ended in another status than they must."""
    paths = sorted(map(str, Path(output).glob("*.index.parquet")))
    table = ds.dataset(paths).to_table(columns=["image_url", "status"]) if paths else None
    rows = table.to_pylist() if table else []
    found = {row["image_url"]: row["status"] for row in rows}
    wrong: dict[tuple[str, str], list[str]] = {}
    for case in listed:
        status = str(found.get(case.url))
        if status not in case.statuses:
            wrong.setdefault((status, " or ".join(sorted(case.statuses))), []).append(case.url)
    for (status, right), urls in wrong.items():
        yield f"{len(urls)} ended in {status} instead of {right}: {', '.join(urls[:SHOWN])}"
