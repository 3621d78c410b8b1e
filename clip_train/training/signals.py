"""SIGTERM and SIGINT as a question the training loop asks, so that it can save before it stops.

In: signals. Out: the number of the first one received.
"""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes a signal instead of dying of it while the context is entered; a second one acts as always.

    Attributes:
        received: Number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in STOPPING_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
