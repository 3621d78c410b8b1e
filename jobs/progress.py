"""A progress bar that asks, every now and then, how far the work is."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tqdm import tqdm

from pipeline.base import files
from pipeline.base.receipts import StepReceipts
from pipeline.steps import Step

_INTERVAL_S = 0.5


@contextmanager
def show_progress(
    label: str, total: int | None, count: Callable[[], int], *, unit: str, scaled: bool = False
) -> Iterator[None]:
    """Shows a bar on a terminal while the block runs; nothing elsewhere.

    Args:
        label: What is done.
        total: Units to do, if that is known.
        count: Gives the units that are done.
        unit: What a unit is.
        scaled: Whether to show thousands, millions and so on.
    """
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    with tqdm(total=total, desc=label, unit=unit, unit_scale=scaled, leave=False) as bar:
        watcher = threading.Thread(target=_watch, args=(count, bar, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def step_progress(step: Step, receipts: StepReceipts, *, quiet: bool) -> AbstractContextManager[None]:
    """A bar of the units of a step that are done."""
    outputs = step.transform.outputs
    if quiet or not outputs:
        return nullcontext()
    return show_progress(step.label, len(outputs), lambda: len(files.list_files(receipts.path)), unit="unit")


def _watch(count: Callable[[], int], bar: tqdm, ended: threading.Event) -> None:
    while not ended.wait(_INTERVAL_S):
        bar.update(count() - bar.n)
