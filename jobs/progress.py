"""A progress bar that asks, every now and then, how far the work is."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from tqdm import tqdm

from jobs.watching import FetchWatch, fetch_line
from pipeline.base import files
from pipeline.base.receipts import StepReceipts
from pipeline.steps import Step

_INTERVAL_S = 0.5
_STORE_INTERVAL_S = 15.0  # a listing of 40,000 receipts is 40 requests


@contextmanager
def show_progress(
    label: str,
    total: int | None,
    count: Callable[[], int],
    *,
    unit: str,
    scaled: bool = False,
    interval_s: float = _INTERVAL_S,
    more: Callable[[], str] | None = None,
) -> Iterator[None]:
    """Shows a bar on a terminal while the block runs; nothing elsewhere.

    Args:
        label: What is done.
        total: Units to do, if that is known.
        count: Gives the units that are done.
        unit: What a unit is.
        scaled: Whether to show thousands, millions and so on.
        interval_s: Between two questions.
        more: Gives what else is to be shown.
    """
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    with tqdm(total=total, desc=label, unit=unit, unit_scale=scaled, leave=False) as bar:
        watcher = threading.Thread(target=_watch, args=(count, more, bar, ended, interval_s), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def step_progress(
    step: Step, receipts: StepReceipts, *, quiet: bool, watch: FetchWatch | None = None
) -> AbstractContextManager[None]:
    """A bar of the units of a step that are done, and of a fetch how far its workers are."""
    outputs = step.transform.outputs
    if quiet or not outputs:
        return nullcontext()
    interval_s = _INTERVAL_S if files.is_local(receipts.path) else _STORE_INTERVAL_S
    more = None if watch is None else partial(_fetch_text, watch)
    return show_progress(step.label, len(outputs), receipts.num_done, unit="unit", interval_s=interval_s, more=more)


def _fetch_text(watch: FetchWatch) -> str:
    progress = watch.look()
    return "" if progress is None else fetch_line(progress)


def _watch(
    count: Callable[[], int],
    more: Callable[[], str] | None,
    bar: tqdm,
    ended: threading.Event,
    interval_s: float,
) -> None:
    while not ended.wait(interval_s):
        if more is not None:
            bar.set_postfix_str(more())
        bar.update(count() - bar.n)
