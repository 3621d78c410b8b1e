"""Patterns for the paths of a site, as robots.txt and what is modelled on it have them.

In: a pattern and the path of a URL. Out: whether the one stands for the other, and how specific it is. A pattern is the
beginning of a path; ``*`` in it is anything, ``$`` at its end the end of the path.
Source: RFC 9309 2.2.2 (matching), 2.2.3 (special characters).
"""

import re
from typing import Final, NamedTuple, Self

from pipeline.web.urls import encode_path

_STARS: Final = re.compile(r"\*+")
_ORIGIN: Final = re.compile(r"https?://[^/?#]*", re.ASCII | re.IGNORECASE)
_SPECIAL: Final = (("%24", "$"), ("%2A", "*"))  # escaped, where no special character is meant


class PathPattern(NamedTuple):
    """A pattern, ready to be matched in time that is linear in the path.

    Attributes:
        pieces: What must come one after another; the first at the beginning.
        is_anchored: Whether the last piece must be the end of the path.
        length: Octets of the pattern: of several that match, the longest is the most specific.
    """

    pieces: tuple[str, ...]
    is_anchored: bool
    length: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a pattern; one that begins with neither a slash nor a star gets a slash.

        >>> PathPattern.parse("/a/*.jpg$").matches(plain_path("/a/b/c.jpg"))
        True
        """
        text = _ORIGIN.sub("", text.strip(), count=1)
        if not text.startswith(("/", "*")):
            text = "/" + text
        pattern = _STARS.sub("*", encode_path(text))
        is_anchored = pattern.endswith("$")
        pieces = [_plain(piece) for piece in pattern.removesuffix("$").split("*")]
        return cls(tuple(pieces), is_anchored, len(pattern))

    def matches(self, path: str) -> bool:
        """Whether a path is meant.

        Args:
            path: As `plain_path` gives it.
        """
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        if not others:
            return len(path) == len(first) or not self.is_anchored
        at = len(first)
        for piece in others[:-1]:
            at = path.find(piece, at) + len(piece)
            if at < len(piece):
                return False
        if self.is_anchored:
            return path.endswith(others[-1]) and len(path) - len(others[-1]) >= at
        return path.find(others[-1], at) >= 0


def plain_path(path: str) -> str:
    """The path and query of a URL, from the first slash on, in the form that patterns are compared with."""
    return _plain(encode_path(path))


def _plain(text: str) -> str:
    for escape, char in _SPECIAL:
        text = text.replace(escape, char)
    return text
