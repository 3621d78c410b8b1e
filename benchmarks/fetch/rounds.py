"""Rounds of programs that take turns, and the table of what they took.

In: programs and a scene. Out: a row for each program: medians over the rounds, and its ratio to the peer at its best
(the median of the rounds' own ratios, so that a slow spell of the machine strikes both).
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from measuring import Usage, cpu_seconds, measure
from programs import Program, Scene, count_images

Value = Callable[[int, int], float]  # of a program, in a round


class Result(NamedTuple):
    """Of one run.

    Attributes:
        usage: Of its whole process tree.
        num_stored: Images.
        server_cpu_s: What the image server used meanwhile.
        load: Processes that wanted a core when it began (over a minute).
    """

    usage: Usage
    num_stored: int
    server_cpu_s: float
    load: float


def run_rounds(
    programs: Sequence[Program], scene: Scene, *, rounds: int, server: int, limit_s: float
) -> list[list[Result]]:
    """The results of each program; each round begins with another one."""
    results: list[list[Result]] = [[] for _ in programs]
    for number in range(rounds):
        for at in take_turns(len(programs), number):
            results[at].append(run_once(programs[at], scene, server=server, limit_s=limit_s))
            print(f"  round {number + 1}, {programs[at].name}: {describe(results[at][-1])}", flush=True)
    return results


def take_turns(number: int, round_number: int) -> list[int]:
    """Who comes when.

    >>> take_turns(3, 0), take_turns(3, 1)
    ([0, 1, 2], [1, 2, 0])
    """
    return [(at + round_number) % number for at in range(number)]


def run_once(program: Program, scene: Scene, *, server: int, limit_s: float) -> Result:
    """Runs a program into an empty folder, which is removed again."""
    output = os.path.join(scene.folder, "output")
    shutil.rmtree(output, ignore_errors=True)
    run = program.prepare(scene, output)
    load, before = os.getloadavg()[0], cpu_seconds(server)
    usage = measure(run.command, folder=scene.folder, env=run.env, limit_s=limit_s)
    if usage.exit_code:
        print(f"  {program.name} ended with {usage.exit_code}; the end of what it said:")
        with open(os.path.join(scene.folder, "log"), errors="replace") as log:
            print("".join(f"    {line}" for line in log.readlines()[-5:]), flush=True)
    return Result(usage, count_images(output), cpu_seconds(server) - before, load)


def describe(result: Result) -> str:
    usage = result.usage
    left = f", {usage.num_left} processes left behind" if usage.num_left else ""
    return (
        f"{usage.wall_s:.1f} s, {usage.cpu_s:.1f} CPU s, peak {usage.peak_mib:.0f} MiB, {result.num_stored} stored; "
        f"server {result.server_cpu_s:.1f} CPU s, load {result.load:.1f}{left}"
    )


def write_table(
    programs: Sequence[Program],
    results: Sequence[list[Result]],
    starts: Sequence[list[Result]],
    *,
    base: int,
    num_good: int,
) -> Iterator[str]:
    """The lines of the table.

    Args:
        programs: Its rows.
        results: By program, by round.
        starts: The same of runs of one image.
        base: The program that the others are divided by.
        num_good: Images that can be had.
    """
    start_s = [median(start.usage.wall_s for start in runs) for runs in starts]
    start_cpu_s = [median(start.usage.cpu_s for start in runs) for runs in starts]
    columns: dict[str, Value] = {
        "wall s": lambda at, n: results[at][n].usage.wall_s,
        "images/s": lambda at, n: results[at][n].num_stored / results[at][n].usage.wall_s,
        "after start": lambda at, n: per(results[at][n].num_stored, results[at][n].usage.wall_s - start_s[at]),
        "CPU s": lambda at, n: results[at][n].usage.cpu_s,
        "CPU ms/image after start": lambda at, n: per(
            1000 * (results[at][n].usage.cpu_s - start_cpu_s[at]), results[at][n].num_stored
        ),
        "peak MiB": lambda at, n: results[at][n].usage.peak_mib,
    }
    yield f"| | {' | '.join(f'{name} | x' for name in columns)} | stored | server CPU |"
    yield f"|---|{'--:|' * (2 * len(columns) + 2)}"
    for at, program in enumerate(programs):
        cells = [program.name]
        for value in columns.values():
            cells += compare_with_base(value, at=at, base=base, rounds=len(results[at]))
        stored = " ".join(sorted({f"{result.num_stored:,}" for result in results[at]}))
        server = median(result.server_cpu_s / result.usage.wall_s for result in results[at])
        yield f"| {' | '.join([*cells, f'{stored} of {num_good:,}', f'{server:.0%}'])} |"


def compare_with_base(value: Value, *, at: int, base: int, rounds: int) -> tuple[str, str]:
    """The median of a value over the rounds, and of its ratio to the base's in the same round."""
    ratios = [per(value(at, n), value(base, n)) for n in range(rounds)]
    return middle([value(at, n) for n in range(rounds)], places=1), middle(ratios, places=2)


def per(amount: float, of: float) -> float:
    """A quotient; not a number where nothing is left to divide by."""
    return amount / of if of > 0 else math.nan


def middle(values: Sequence[float], *, places: int) -> str:
    """The median in words; nothing where one of the values is not a number."""
    return "" if any(map(math.isnan, values)) else f"{median(values):,.{places}f}"


def write_starts(programs: Sequence[Program], starts: Sequence[list[Result]]) -> Iterator[str]:
    """What a run of one image takes."""
    yield "| a run of one image | wall s | CPU s | peak MiB |"
    yield "|---|--:|--:|--:|"
    for program, runs in zip(programs, starts, strict=True):
        wall_s, cpu_s, peak = (median(getattr(run.usage, name) for run in runs) for name in Usage._fields[:3])
        yield f"| {program.name} | {wall_s:.1f} | {cpu_s:.1f} | {peak:,.0f} |"
