"""A progress bar for a step: how many of the files it is to write are there."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipeline import files
from pipeline.stages import Step

_INTERVAL_S = 0.5


@contextmanager
def show_progress(step: Step, *, quiet: bool) -> Iterator[None]:
    """Shows a bar on a terminal while the block runs; nothing elsewhere."""
    if quiet or not step.outputs or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    with tqdm(total=len(step.outputs), desc=step.label, unit="file", leave=False) as bar:
        watcher = threading.Thread(target=_watch, args=(step.outputs, bar, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(outputs: tuple[str, ...], bar: tqdm, ended: threading.Event) -> None:
    missing = list(outputs)
    while not ended.wait(_INTERVAL_S):
        missing = [path for path in missing if not files.exists(path)]
        bar.update(len(outputs) - len(missing) - bar.n)
