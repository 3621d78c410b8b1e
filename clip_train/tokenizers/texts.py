"""Texts as they are given, and how many tokens of each are wanted.

In: whatever a caller calls texts. Out: a list of strings, or an error of one line.
"""

from collections.abc import Iterable
from typing import Any

from clip_train.errors import InputError

MIN_CONTEXT = 3  # start, one token, end


def list_texts(texts: Any) -> list[str]:
    """One text or several as a list.

    >>> list_texts("a cat"), list_texts(("a", "b")), list_texts([])
    (['a cat'], ['a', 'b'], [])

    Raises:
        InputError: When it is something else; the message says what.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(f"texts must be a text or several, not {type(texts).__name__} {texts!r:.40}")
    listed = list(texts)
    for place, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(f"text {place} is no text but {type(text).__name__} {text!r:.40}")
    return listed


def check_context(context_length: Any) -> None:
    """Raises InputError unless a text of one token fits into a context."""
    if not isinstance(context_length, int) or isinstance(context_length, bool) or context_length < MIN_CONTEXT:
        raise InputError(f"context_length must be a whole number from {MIN_CONTEXT} on, not {context_length!r}")
