"""A URL to one that may be requested.

In: the text of a URL, or a Location header and what it answered. Out: a `yarl.URL`, or the reason it is refused: not
http(s), credentials in it, a host that can be no host, a port of another service, a literal address that is not public.
What is let through can be resolved and requested without an error of its form.
Source: RFC 3986; RFC 1035 2.3.4 (labels); WHATWG URL 3.5 (hosts that are addresses); WHATWG Fetch 2.9 (port blocking).
"""

import ipaddress
import re
from typing import Final

from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.addresses import Address, is_public
from pipeline.web.urls import UrlResolver, canonicalize_url, url_host

_WEB_PORTS: Final = frozenset({80, 443})
_FIRST_FREE_PORT: Final = 1024  # below lie the ports of other services (mail, SSH), which must not be spoken to
_OTHER_SERVICES: Final = frozenset(  # from 1024 on: WHATWG Fetch 2.9
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
_MAX_LABEL_CHARS: Final = 63
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_target(text: str, *, allow_private: bool = False, high_ports: bool = False) -> URL | DropReason:
    """Parses a URL that is to be requested.

    Args:
        text: Absolute URL, in any notation.
        allow_private: Whether literal private addresses may be requested.
        high_ports: Whether ports from 1024 on may be asked, where no other service is known to listen.

    >>> parse_target("HTTP://bücher.example/a b.jpg#top")
    URL('http://xn--bcher-kva.example/a%20b.jpg')
    >>> parse_target("file:///etc/passwd")
    <DropReason.BAD_URL: 'bad_url'>
    """
    canonical = canonicalize_url(text)
    if canonical is None:
        return DropReason.BAD_URL
    address = _parse_host(url_host(canonical))
    if isinstance(address, DropReason):
        return address
    if address is not None and not allow_private and not is_public(address):
        return DropReason.PRIVATE_ADDRESS
    url = URL(canonical, encoded=True)
    is_fine = _is_web_port(url.port or 0, high_ports=high_ports) and _is_decodable(url)
    return url if is_fine else DropReason.BAD_URL


def parse_redirect(
    location: str, base: URL, *, allow_private: bool = False, high_ports: bool = False
) -> URL | DropReason:
    """Parses where an answer sends its reader.

    Args:
        location: Value of the Location line, absolute or relative.
        base: The URL that answered.
        allow_private: Whether literal private addresses may be requested.
        high_ports: Whether ports from 1024 on may be asked.
    """
    resolved = UrlResolver(str(base)).resolve(location)
    target = parse_target(resolved or "", allow_private=allow_private, high_ports=high_ports)
    return DropReason.BAD_REDIRECT if target is DropReason.BAD_URL else target


def _parse_host(host: str) -> Address | DropReason | None:
    """The address that a host is, None for a name, or the reason it is neither.

    A host whose last label is a number is an address, whoever reads it; in a notation other than four decimal numbers
    (127.1, 0x7f.1, 2130706433, a dot at the end) readers disagree on which, so it is none.
    """
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1])
        labels = host.removesuffix(".").split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return ipaddress.IPv4Address(host)
    except ValueError:
        return DropReason.BAD_URL
    return None if all(0 < len(label) <= _MAX_LABEL_CHARS for label in labels) else DropReason.BAD_URL


def _is_web_port(port: int, *, high_ports: bool) -> bool:
    return port in _WEB_PORTS or (high_ports and port >= _FIRST_FREE_PORT and port not in _OTHER_SERVICES)


def _is_decodable(url: URL) -> bool:
    """Whether the host can be read back: what looks encoded (xn--) and is not has no meaning."""
    try:
        return "xn--" not in (url.raw_host or "") or bool(url.host)
    except ValueError:
        return False
