"""What stages counted, in words: the summary line of a stage and the funnel of a run."""

from collections.abc import Iterable, Mapping
from typing import Any

_DROPS_START = 53  # column at which a funnel's drops begin
_DROPS_WIDTH = 66


def summary_line(stage_name: str, counts: Mapping[str, int]) -> str:
    """A stage's counts in one line.

    >>> summary_line("match-pairs", {"pairs/in": 1200, "pairs/kept": 1000, "pairs/drop/no_query": 200})
    'match-pairs: 1,000 of 1,200 pairs (no_query 200)'
    """
    parts = []
    for thing in things_of(counts):
        drops = drops_of(counts, thing)
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in drops)
        text = f"{counts.get(f'{thing}/kept', 0):,} of {counts.get(f'{thing}/in', 0):,} {thing}"
        parts.append(f"{text} ({reasons})" if reasons else text)
    parts += [f"{number:,} {name}" for name, number in counts.items() if "/" not in name]
    return f"{stage_name}: " + "; ".join(parts)


def funnel_lines(stages: Iterable[Mapping[str, Any]]) -> list[str]:
    """The funnel of a run: for every stage what came in, what was kept and what was dropped why.

    Args:
        stages: ``{"stage": name, "counts": counts}``, in the order of the flow.
    """
    lines = [f"{'stage':<16}{'thing':<10}{'in':>12}{'kept':>12}   dropped"]
    for stage in stages:
        name, counts = stage["stage"], stage["counts"]
        for thing in things_of(counts):
            entered, kept = counts.get(f"{thing}/in", 0), counts.get(f"{thing}/kept", 0)
            drops = [f"{reason} {number:,}" for reason, number in drops_of(counts, thing)] or ["-"]
            first, *others = _fold(drops, _DROPS_WIDTH)
            lines.append(f"{name:<16}{thing:<10}{entered:>12,}{kept:>12,}   {first}")
            lines += [" " * _DROPS_START + other for other in others]
            name = ""
    return lines


def _fold(words: Iterable[str], width: int) -> list[str]:
    """Words in lines of about a width, two spaces between them.

    >>> _fold(["aa 1", "bb 2", "cc 3"], 10)
    ['aa 1  bb 2', 'cc 3']
    """
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= width:
            lines[-1] += "  " + word
        else:
            lines.append(word)
    return lines


def things_of(counts: Mapping[str, int]) -> list[str]:
    """What was counted, if any came in."""
    return [name.removesuffix("/in") for name, number in counts.items() if name.endswith("/in") and number]


def drops_of(counts: Mapping[str, int], thing: str) -> list[tuple[str, int]]:
    """Why how many of a thing were dropped, the commonest reason first."""
    prefix = f"{thing}/drop/"
    drops = [(name.removeprefix(prefix), n) for name, n in counts.items() if n and name.startswith(prefix)]
    return sorted(drops, key=lambda drop: (-drop[1], drop[0]))
