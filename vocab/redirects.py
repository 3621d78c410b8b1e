"""Redirects that a dump tells by their text alone: ``#REDIRECT [[Title]]``, in the words of the wiki.

In: the wikitext of a page. Out: the title it leads to, as a dump spells titles. Dumps before schema 0.6 say at most
that a page is a redirect, those before 0.4 and of other tools not even that.

Source: https://www.mediawiki.org/wiki/Help:Redirects, https://www.mediawiki.org/wiki/Manual:Page_title.
"""

import html
import re
from urllib.parse import unquote

from vocab.wiki_names import WikiNames, clean_title

_BLANKS = " \t\n\r\0\x0b"
_FIRST_LINK = re.compile(r"[ \t\n\r\f\v]*+:?[ \t\n\r\f\v]*+\[\[([^\n|]*?)(?:\|[^\n]*?)?\]\]")
_NOT_IN_TITLES = re.compile(r"[<>\[\]{}|#\x00-\x1f\x7f\ufffd]|~~~")
_MAX_TITLE_BYTES = 255


def find_redirect_target(wikitext: str, names: WikiNames) -> str | None:
    """The title that a page leads to; None: the page is no redirect.

    As in MediaWiki, nothing but blanks may stand before the word, only blanks and a colon before the link, and the link
    must be a title.

    >>> from vocab.site import Site
    >>> from vocab.wiki_names import names_of
    >>> german = names_of(Site(host="de.wikipedia.org"))
    >>> find_redirect_target("#weiterleitung: [[vereinigte_Staaten#Name|USA]]", german)
    'Vereinigte Staaten'
    >>> find_redirect_target("<!-- bald --> #WEITERLEITUNG [[USA]]", german)
    """
    begun = names.redirects.match(text := wikitext.lstrip(_BLANKS))
    link = _FIRST_LINK.match(text, begun.end()) if begun else None
    if not link:
        return None
    target = unquote(link[1].lstrip(":")) if "%" in link[1] else link[1]
    title = clean_title(html.unescape(target)).removeprefix(":").partition("#")[0].strip()
    if not title or _NOT_IN_TITLES.search(title) or len(title.encode(errors="replace")) > _MAX_TITLE_BYTES:
        return None
    return title if names.is_case_sensitive else title[0].upper() + title[1:]
