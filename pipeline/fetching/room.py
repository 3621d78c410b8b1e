"""Bytes of bodies that may be held at once: who wants more waits until others have let go, first come, first served."""

import asyncio
from collections import deque


class Room:
    """For one event loop.

    Args:
        num_bytes: As many as may be held together.
    """

    def __init__(self, num_bytes: int) -> None:
        self._size = self._free = num_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_at_once(self, num_bytes: int) -> bool:
        """Takes bytes if they are free and nobody waits; whether they were."""
        wanted = min(num_bytes, self._size)
        if self._waiting or wanted > self._free:
            return False
        self._free -= wanted
        return True

    async def take(self, num_bytes: int) -> None:
        """Waits until so many bytes are free, or all where more are wanted, and takes them."""
        if self.take_at_once(num_bytes):
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((min(num_bytes, self._size), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given while this was cancelled
                self.give(num_bytes)
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not place)
                self._serve()
            raise

    def give(self, num_bytes: int) -> None:
        """Lets go of as many bytes as were asked for."""
        self._free += min(num_bytes, self._size)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, place = self._waiting.popleft()
            if not place.done():
                self._free -= wanted
                place.set_result(None)
