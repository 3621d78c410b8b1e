"""SIGTERM, SIGINT and SIGUSR1 as questions the training loop asks, so that it can save before it stops or goes on.

In: signals. Out: the number of the first one that asks for the end, and whether a checkpoint was asked for.
"""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAVING_SIGNAL = signal.SIGUSR1
NOTED_SIGNALS = (*STOPPING_SIGNALS, SAVING_SIGNAL)


class StopSignals:
    """Notes signals instead of dying of them while the context is entered; a second one to stop acts as always.

    Attributes:
        received: Number of the signal that asks for the end, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._is_save_wanted = False
        self._before: dict[int, Any] = {}

    def take_save_wanted(self) -> bool:
        """Whether a checkpoint was asked for since the last time this was asked."""
        wanted, self._is_save_wanted = self._is_save_wanted, False
        return wanted

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in NOTED_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore(NOTED_SIGNALS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == SAVING_SIGNAL:
            self._is_save_wanted = True
            return
        self.received = number
        self._restore(STOPPING_SIGNALS)

    def _restore(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            signal.signal(number, self._before[number])
