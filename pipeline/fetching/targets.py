"""A URL to one that may be requested.

In: the text of a URL, or a Location header and what it answered. Out: a `yarl.URL`, or the reason it is refused: not
http(s), credentials in it, a port of another service, a literal address that is not public.
Source: RFC 3986; WHATWG Fetch 2.9 (port blocking).
"""

import ipaddress
from typing import Final

from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.resolver import is_public
from pipeline.web.urls import UrlResolver, canonicalize_url

_WEB_PORTS: Final = frozenset({80, 443})
_FIRST_FREE_PORT: Final = 1024  # below lie the ports of other services (mail, SSH), which must not be spoken to


def parse_target(text: str, *, allow_private: bool = False) -> URL | DropReason:
    """Parses a URL that is to be requested.

    Args:
        text: Absolute URL, in any notation.
        allow_private: Whether literal private addresses may be requested.

    >>> parse_target("HTTP://bücher.example/a b.jpg#top")
    URL('http://xn--bcher-kva.example/a%20b.jpg')
    >>> parse_target("file:///etc/passwd")
    <DropReason.BAD_URL: 'bad_url'>
    """
    canonical = canonicalize_url(text)
    if canonical is None:
        return DropReason.BAD_URL
    url = URL(canonical, encoded=True)
    host = url.raw_host or ""
    if url.port not in _WEB_PORTS and (url.port or 0) < _FIRST_FREE_PORT:
        return DropReason.BAD_URL
    if not _is_literal(host) or allow_private:
        return url
    try:
        return url if is_public(ipaddress.ip_address(host)) else DropReason.PRIVATE_ADDRESS
    except ValueError:  # an address in an odd notation, such as 127.1 or 2130706433
        return DropReason.BAD_URL


def parse_redirect(location: str, base: URL, *, allow_private: bool = False) -> URL | DropReason:
    """Parses where an answer sends its reader.

    Args:
        location: Value of the Location line, absolute or relative.
        base: The URL that answered.
        allow_private: Whether literal private addresses may be requested.
    """
    resolved = UrlResolver(str(base)).resolve(location)
    target = parse_target(resolved or "", allow_private=allow_private)
    return DropReason.BAD_REDIRECT if target is DropReason.BAD_URL else target


def _is_literal(host: str) -> bool:
    """Whether a host is an address and no name: the same test as aiohttp's, which asks no resolver for those."""
    return ":" in host or host.replace(".", "").isdigit()
