"""Sizes as people write them."""

import math


def show_bytes(size: float) -> str:
    """A size for people.

    >>> show_bytes(999), show_bytes(1_234_000_000)
    ('999 B', '1.2 GB')
    """
    power = min(int(math.log10(max(size, 1)) // 3), 5)
    return f"{size:,.0f} B" if power == 0 else f"{size / 1000**power:,.1f} {'kMGTP'[power - 1]}B"
