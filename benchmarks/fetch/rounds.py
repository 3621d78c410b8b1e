"""Rounds of programs that take turns, and the table of what they took.

In: programs and a scene. Out: a row for each program: medians over the rounds, and its ratio to the peer at its best
(the median of the rounds' own ratios, so that a slow spell of the machine strikes both).
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from measuring import Usage, cpu_seconds, measure
from programs import Program, Scene, count_images


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

    def ratio(at: int, value: Callable[[int, int], float]) -> float:
        return median(value(at, n) / value(base, n) for n in range(len(results[at])))

    def speed(at: int, n: int) -> float:
        return 1 / results[at][n].usage.wall_s

    def steady(at: int, n: int) -> float:
        start_s = median(start.usage.wall_s for start in starts[at])
        return results[at][n].num_stored / max(0.1, results[at][n].usage.wall_s - start_s)

    yield "| | wall s | speed | images/s after start | speed | CPU s | ratio | peak MiB | ratio | stored | server CPU |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for at, program in enumerate(programs):
        usages = [result.usage for result in results[at]]
        stored = " ".join(sorted({f"{result.num_stored:,}" for result in results[at]}))
        server = median(result.server_cpu_s / result.usage.wall_s for result in results[at])
        cells = [
            program.name,
            f"{median(usage.wall_s for usage in usages):.1f}",
            f"x{ratio(at, speed):.2f}",
            f"{median(steady(at, n) for n in range(len(usages))):,.0f}",
            f"x{ratio(at, steady):.2f}",
            f"{median(usage.cpu_s for usage in usages):.1f}",
            f"{ratio(at, lambda a, n: results[a][n].usage.cpu_s):.2f}",
            f"{median(usage.peak_mib for usage in usages):,.0f}",
            f"{ratio(at, lambda a, n: results[a][n].usage.peak_mib):.2f}",
            f"{stored} of {num_good:,}",
            f"{server:.0%}",
        ]
        yield f"| {' | '.join(cells)} |"


def write_starts(programs: Sequence[Program], starts: Sequence[list[Result]]) -> Iterator[str]:
    """What a run of one image takes."""
    yield "| a run of one image | wall s | CPU s | peak MiB |"
    yield "|---|--:|--:|--:|"
    for program, runs in zip(programs, starts, strict=True):
        wall_s, cpu_s, peak = (median(getattr(run.usage, name) for run in runs) for name in Usage._fields[:3])
        yield f"| {program.name} | {wall_s:.1f} | {cpu_s:.1f} | {peak:,.0f} |"
