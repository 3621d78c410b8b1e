"""Links between double brackets: what a reader sees of each.

In: what stands between ``[[`` and ``]]``. Out: the label in its place, or nothing, and the caption of a file.

Source: https://www.mediawiki.org/wiki/Help:Links, Help:Images; `handleInternalLinks2` in Parser.php of MediaWiki 1.39.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from vocab.wiki_names import WikiNames, fold_name
from vocab.wikitext.marks import APOSTROPHE, BLOCK, CAPTION, KEPT, LABEL
from vocab.wikitext.quotes import drop_quotes

_NO_TITLE = re.compile(rf"[\[\]{{}}<>\n{KEPT}{LABEL}]")
_PROTOCOL = re.compile(r" *+(?:(?:https?|ftps?|ircs?|git|svn|ssh|sftp|gopher|telnet|nntp|worldwind|mms)://"
                       r"|(?:mailto|news|tel|sms|xmpp|sips?|bitcoin|magnet|urn|geo):)", re.IGNORECASE)  # fmt: skip
_FILE_NAME = re.compile(
    r"[^:]*\.(?:jpe?g|png|gif|svg|tiff?|webp|xcf|bmp|djvu?|pdf|og[gav]|opus|flac|wav|mp3|midi?|web[mp]|mp4|stl)\s*",
    re.IGNORECASE,
)
_MAX_KNOWN, _MAX_OPTION_CHARS = 10_000, 24  # words looked up that are remembered; captions are not
_SHOW_CAPTION: Final = frozenset({"thumbnail", "manualthumb", "framed"})


class Link(NamedTuple):
    """What is seen of a link."""

    label: str | None  # None: it is no link, and stays as it is written
    caption: str = ""  # of a file; it stands apart from the text


class LinkReader:
    """Reads the links of a wiki; knows what it has looked up before."""

    def __init__(self, names: WikiNames) -> None:
        self._names = names
        self._kinds: dict[str, _Kind] = {}
        self._options: dict[str, bool | None] = {}

    def read(self, content: str) -> Link:
        """What is seen of a link.

        Args:
            content: All between the brackets; what nests in it is resolved already.
        """
        target, bar, text = content.partition("|")
        target = target.strip(" ")
        if _NO_TITLE.search(target):
            return Link(None)
        space, _, title = target.partition(":")
        kind = self._find_kind(space) if space and title.strip() else _Kind.TITLE
        if kind is _Kind.FILE or (kind is _Kind.UNKNOWN and _FILE_NAME.fullmatch(title)):
            return Link(" ", self.find_caption(text))
        if LABEL in text or (kind is _Kind.UNKNOWN and _PROTOCOL.match(target)):
            return Link(None)  # links do not nest
        if kind is _Kind.HIDDEN:
            return Link("")
        if text:
            return Link(drop_quotes(text) if "''" in text else text)
        if bar:  # [[Mercury (planet)|]] reads Mercury
            return Link(target.partition(" (")[0])
        return Link(target.removeprefix(":").replace("''", APOSTROPHE * 2))

    def find_caption(self, text: str, *, is_shown: bool = False) -> str:
        """The caption of a file.

        Args:
            text: What stands behind the file's name: options and the caption, between bars; the last one that is no
                option is the caption.
            is_shown: Whether it is shown without an option that says so, as in a gallery.
        """
        caption = ""
        for part in text.split("|"):
            shows = self._look_up_option(part)
            if shows is None:
                caption = part
            elif shows:
                is_shown = True
        return caption.replace(CAPTION, BLOCK).strip() if is_shown else ""

    def _find_kind(self, space: str) -> "_Kind":
        kind = self._kinds.get(space)
        if kind is None:
            kind = _find_kind(fold_name(space), self._names)
            if len(self._kinds) < _MAX_KNOWN:
                self._kinds[space] = kind
        return kind

    def _look_up_option(self, part: str) -> bool | None:
        """Whether an option shows the caption; None: it is no option."""
        if part in self._options:
            return self._options[part]
        option = self._names.find_image_option(part)
        shows = None if option is None else option.name in _SHOW_CAPTION
        if len(part) <= _MAX_OPTION_CHARS and len(self._options) < _MAX_KNOWN:
            self._options[part] = shows
        return shows


class _Kind(Enum):
    """What the word before a link's first colon says of it."""

    TITLE = "there is none"
    FILE = "of files"
    HIDDEN = "of categories, and other languages"
    MEDIA = "of files' contents, which are links as others"
    UNKNOWN = "any other"


def _find_kind(space: str, names: WikiNames) -> _Kind:
    if space in names.files:
        return _Kind.FILE
    if space in names.media:
        return _Kind.MEDIA
    is_hidden = space in names.categories or space in names.other_languages
    return _Kind.HIDDEN if is_hidden else _Kind.UNKNOWN
