"""The control characters that stand for something while a text is cleaned; XML 1.0 has none of them in a dump.

In what comes out, `BOUNDARY` alone is left: no phrase spans it, and it is part of no word.
"""

from typing import Final

BOUNDARY: Final = "\x1f"  # here a reader sees something inline that is not in the prose: a template, a formula
BLOCK: Final = "\x1e"  # becomes a line break, but ends no line for MediaWiki's line-wise passes
APOSTROPHE: Final = "\x01"  # one that is text, whatever stands beside it
LABEL: Final = "\x05"  # around the label of a link that is resolved already
KEPT: Final = "\x02"  # before the number of a text that no pass touches
KEPT_END: Final = "\x03"  # after that number
CAPTION: Final = "\x06"  # before and behind the caption of an image that a template shows
