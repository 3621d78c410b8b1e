"""How much memory a machine has; sizes as people write them, times as they read them."""

import os
import re
from typing import Final

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)
_SHARE: Final = 0.75  # of the memory; the rest is for the system and for files that are mapped
_CGROUP_LIMIT: Final = "/sys/fs/cgroup/memory.max"


def parse_bytes(text: str) -> int:
    """A size in bytes, from 1 MiB.

    Raises:
        ValueError: When it is none.

    >>> parse_bytes("8GiB"), parse_bytes("1.5 gb"), parse_bytes("2000000")
    (8589934592, 1500000000, 2000000)
    """
    found = _SIZE.fullmatch(text.strip())
    size = 0
    if found:
        number, unit, binary = found.groups()
        size = round(float(number) * (_BINARY if binary else _UNITS)[unit.lower()])
    if size < 1 << 20:
        raise ValueError(f"must be a size of at least 1MiB, such as 8GiB, not {text!r}")
    return size


def usable_memory() -> int:
    """Bytes that may be used of this machine's memory, or of what its container is allowed."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open(_CGROUP_LIMIT) as file:
            limit = file.read().strip()
    except OSError:
        limit = "max"
    return int(_SHARE * (memory if limit == "max" else min(memory, int(limit))))


def show_seconds(seconds: float) -> str:
    """A time for people.

    >>> show_seconds(42), show_seconds(5400), show_seconds(200_000)
    ('42 s', '1.5 h', '2.3 days')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
