"""What img2dataset's interpreter needs to reach the benchmark's servers; found by way of PYTHONPATH.

`FETCH_BENCH_CONNECT_TO` (HOSTGLOB[:PORT]=ADDRESS:PORT, by commas) is what ``--connect-to`` is to fetch-images. With
`FETCH_BENCH_ONE_CONTEXT` an https client that brings no TLS context shares one, as urllib's opener does from Python
3.12 on; before, it makes one for every request.
"""

import fnmatch
import functools
import os
import socket
import ssl
from typing import Any

RULES = [rule.partition("=")[::2] for rule in os.environ.get("FETCH_BENCH_CONNECT_TO", "").split(",") if rule]
resolve = socket.getaddrinfo


@functools.cache
def redirect(host: str | None, port: int | str | None) -> tuple[str | None, int | str | None]:
    """Where a connection to a host and port goes."""
    for source, target in RULES:
        glob, _, only = source.partition(":")
        if fnmatch.fnmatchcase(str(host), glob) and only in ("", str(port)):
            address, _, to_port = target.rpartition(":")
            return address, int(to_port)
    return host, port


def redirected(host: str | None, port: int | str | None, *args: Any, **kwargs: Any) -> list:
    """`socket.getaddrinfo`, of where it goes."""
    return resolve(*redirect(host, port), *args, **kwargs)


if RULES:
    socket.getaddrinfo = redirected
if os.environ.get("FETCH_BENCH_ONE_CONTEXT"):
    ssl._create_default_https_context = functools.cache(ssl._create_default_https_context)
