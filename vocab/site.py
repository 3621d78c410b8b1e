"""The wiki that a dump is of, as the head of the dump tells it.

In: the first bytes of a dump. Out: a `Site`.

Source: https://www.mediawiki.org/xml/export-0.11.xsd (``siteinfo``).
"""

import re
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

_ROOT = re.compile(rb"<mediawiki\b[^>]*>")
_LANGUAGE = re.compile(rb"""\bxml:lang=["']([A-Za-z0-9-]+)["']""")
_DATABASE = re.compile(r"(?:.*[/\\])?([a-z][a-z_]*(?:wiki|wiktionary)[a-z]*)-")
_SITE_INFO = re.compile(rb"<siteinfo>.*?</siteinfo>", re.DOTALL)


class Site(NamedTuple):
    """What the head of a dump tells about its wiki."""

    host: str = ""  # en.wikipedia.org
    main_page: str = ""
    namespaces: tuple[tuple[int, str], ...] = ()  # (key, local name)
    database: str = ""  # enwiki; schemas before 0.10 have none
    language: str = ""  # en
    is_case_sensitive: bool = False  # whether articles are told apart by the case of their first letter

    @property
    def project(self) -> str:
        """The wiki as page-view files name it: "en.wikipedia"."""
        return self.host.removeprefix("www.").removesuffix(".org")


def guess_site(path: str) -> Site:
    """What the name of a dump says; an empty `Site` for names that are not as Wikimedia gives them.

    >>> guess_site("dumps/zh_classicalwiki-20260101-pages-articles.xml.bz2").database
    'zh_classicalwiki'
    """
    named = _DATABASE.match(path)
    return Site(database=named[1]) if named else Site()


def parse_site(head: bytes) -> Site:
    """What a head says; an empty `Site` where it says nothing.

    Args:
        head: A dump up to its first page.

    Raises:
        ElementTree.ParseError, ValueError: When its ``<siteinfo>`` is damaged.
    """
    root = _ROOT.search(head)
    language = _LANGUAGE.search(root[0]) if root else None
    site = Site(language=language[1].decode() if language else "")
    found = _SITE_INFO.search(head)
    if not found:
        return site
    info = ElementTree.fromstring(found[0])
    _, _, address = (info.findtext("base") or "").partition("://")
    host, _, main_page = address.partition("/")
    return site._replace(
        host=host,
        main_page=unquote(main_page).removeprefix("wiki/").replace("_", " "),
        namespaces=tuple((int(name.get("key", "0")), name.text) for name in info.iter("namespace") if name.text),
        database=info.findtext("dbname") or "",
        is_case_sensitive=_case_of_articles(info) == "case-sensitive",
    )


def _case_of_articles(info: ElementTree.Element) -> str:
    """By namespace since schema 0.4; before, one for all."""
    cases = {name.get("key"): name.get("case") for name in info.iter("namespace")}
    return cases.get("0") or info.findtext("case") or ""
