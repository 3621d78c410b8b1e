"""What a worker opens once and uses for all of its units: a matcher, a table of queries, an array in a file."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class OnWorker(Generic[T]):
    """Something to be opened where it is used: only the recipe travels to workers, and each opens it at its first use.

    Args:
        open: A function of a module, which opens it.
        arguments: Of that function.
        options: Its arguments by name.

    >>> numbers = OnWorker(range, 3)
    >>> list(numbers.get())
    [0, 1, 2]
    """

    def __init__(self, open: Callable[..., T], *arguments: Any, **options: Any) -> None:
        self._recipe = (open, arguments, options)
        self._opened: list[T] = []

    def get(self) -> T:
        """The opened thing."""
        if not self._opened:
            open, arguments, options = self._recipe
            self._opened.append(open(*arguments, **options))
        return self._opened[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"_recipe": self._recipe, "_opened": []}
