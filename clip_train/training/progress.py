"""What a run tells while it trains: JSON lines in ``metrics.jsonl``, and a bar or lines on stderr.

In: values of a step. Out: one JSON object a line: step, epoch, loss, learning rate, scale, gradient norm,
samples a second and the share of time spent waiting for data.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from clip_train.files import written_file

METRICS_NAME = "metrics.jsonl"

T = TypeVar("T")


class RunProgress:
    """Writes the metrics of one run and shows how far it is.

    Args:
        output: The run's folder.
        steps: Steps this process will do; lines beyond the first, left by a killed run, are dropped.
        pairs_per_step: Batch size of all ranks together.
        enabled: False on every rank but the first.
    """

    def __init__(self, output: str, *, steps: range, pairs_per_step: int, enabled: bool) -> None:
        self._path = os.path.join(output, METRICS_NAME)
        self._pairs_per_step = pairs_per_step
        self._last_step = steps.start
        self._last_time = time.perf_counter()
        self._waited = 0.0
        self._enabled = enabled
        self._on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps.stop, initial=steps.start, unit="step", disable=not (enabled and self._on_terminal)
        )
        if enabled:
            self._keep_lines_until(steps.start)

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """Passes batches on, adds up how long they were waited for and moves the bar."""
        iterator = iter(batches)
        while True:
            begin = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - begin
            yield batch
            self._bar.update()

    def log(self, step: int, **values: float) -> None:
        """Writes one line about all steps since the last one; what is no finite number is null in it."""
        now = time.perf_counter()
        seconds = now - self._last_time
        values["samples_per_s"] = (step - self._last_step) * self._pairs_per_step / seconds
        values["data_wait"] = self._waited / seconds
        self._last_step, self._last_time, self._waited = step, now, 0.0
        if not self._enabled:
            return
        rounded = {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in values.items()}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}, allow_nan=False) + "\n")
        self._bar.set_postfix(loss=f"{values['loss']:.3f}", samples_per_s=f"{values['samples_per_s']:.0f}")
        if not self._on_terminal:
            shown = f"loss {values['loss']:.4f}  {values['samples_per_s']:.0f} samples/s"
            print(f"step {step}/{self._bar.total}  {shown}", file=sys.stderr, flush=True)

    def _keep_lines_until(self, step: int) -> None:
        kept = []
        if os.path.exists(self._path):
            with open(self._path, encoding="utf-8", errors="replace") as file:
                kept = [line for line in file if _is_until(line, step)]
        with written_file(self._path) as aside, open(aside, "w", encoding="utf-8") as file:
            file.writelines(kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def _is_until(line: str, step: int) -> bool:
    """Whether a line is whole, as the last one of a killed process may not be, and about a step that is kept."""
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
