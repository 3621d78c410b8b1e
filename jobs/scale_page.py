"""docs/scale.md: the model of `jobs.scale` for three sizes, as a page."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from jobs.scale import ROWS_A_TABLE, STAGES, Machine, Prices, Rates, estimate_stage, first_limit
from pipeline.base.rendering import render_template

PAGE_ROWS: Final = (10_000_000, 400_000_000, 2_500_000_000)


class _Size(NamedTuple):
    title: str
    lines: list[str]


def scale_page(rates: Rates, prices: Prices | None = None, machine: Machine | None = None) -> str:
    """The page.

    Args:
        rates: As `jobs.scale.read_rates` reads them.
        prices: Of a cloud [the list prices known].
        machine: Whose limits are shown.
    """
    prices, machine = prices or Prices(), machine or Machine()
    return render_template(
        "jobs",
        "scale.md.j2",
        rates=rates,
        prices=prices,
        machine=machine,
        rows_a_table=f"{ROWS_A_TABLE:,}",
        image=rates["stages"]["fetch-images"]["FetchUnits"],
        sizes=[_Size(f"{rows // 10**6:,} million", list(_cost_rows(rows, rates, prices))) for rows in PAGE_ROWS],
        limits=list(_limit_rows(rates, machine)),
        steps=list(_rate_rows(rates)),
    )


def _cost_rows(rows: int, rates: Rates, prices: Prices) -> Iterator[str]:
    for stage in STAGES:
        cost = estimate_stage(stage, rows, rates)
        cells = (
            f"{cost.elements:,}",
            _bytes(cost.shuffled_bytes),
            f"{cost.puts:,}",
            f"{cost.gets:,}",
            f"{cost.worker_bytes / 2**30:.1f} GiB",
            _number(cost.vcpu_hours),
            _bytes(cost.network_bytes),
            _bytes(cost.stored_bytes),
            f"${_number(cost.dollars(prices))}",
            f"${_number(cost.stored_bytes / 1e9 * prices.egress_gb)}",
        )
        yield f"| {stage} | {' | '.join(cells)} |"


def _limit_rows(rates: Rates, machine: Machine) -> Iterator[str]:
    for stage in STAGES:
        name, rows = first_limit(stage, rates, machine)
        yield f"| {stage} | {name} | {_number(rows / 1e6)} million rows |"


def _rate_rows(rates: Rates) -> Iterator[str]:
    for stage, steps in rates["stages"].items():
        for label, rate in steps.items():
            yield (
                f"| {stage}, {label} | {rate['cpu_s'] * 1e6:,.2f} | {rate['shuffled_bytes']:.1f} "
                f"| {rate['written_bytes']:,.0f} | {rate['peak_bytes'] / 2**20:,.0f} "
                f"| {' and '.join(f'{rows:,}' for rows in rates['rows'][stage])} |"
            )


def _bytes(size: float) -> str:
    return f"{size / 1e12:,.1f} TB" if size >= 1e12 else f"{size / 1e9:,.1f} GB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
