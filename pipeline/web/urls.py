"""The canonical form of image URLs, so that one image has one address and one pair id.

In: a reference as written in a page, and the page's base URL. Out: an absolute http(s) URL in ASCII: scheme and host
in lower case, IDNA host, no default port, no fragment, no dot segments, everything else percent-encoded as UTF-8.
Source: RFC 3986 5.2 (references), 6.2 (normalisation); RFC 5891 and UTS 46 (hosts); WHATWG URL (backslashes).
"""

import re
from typing import Final

import idna

# Path and query with nothing to encode, and no escape that is to be undone.
_CANONICAL_PATH: Final = (
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]++|%(?:2[0-9A-CF]|3[A-F]|[89A-F][0-9A-F]))*+"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%(?:2[0-9A-CF]|3[A-F]|[89A-F][0-9A-F]))*+)?"
)
# ASCII, lower-case host, no port: where no path segment begins with a dot, most URLs, left as they are.
_CANONICAL: Final = re.compile(r"https?://[a-z0-9-]++(?:\.[a-z0-9-]++)++" + _CANONICAL_PATH)
_PARTS: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?", re.ASCII | re.IGNORECASE)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]")
_AUTHORITY: Final = re.compile(r"([^:@\[\]]+|\[[^@\[\]]*\])(?::([0-9]{0,5}))?")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")
_IGNORED: Final = str.maketrans("", "", "\t\r\n")
_EDGES: Final = "".join(map(chr, range(0x21)))  # C0 controls and space
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_HOST_CHARS: Final = 253  # RFC 1035 2.3.4


def canonicalize_url(url: str) -> str | None:
    """The canonical form of an absolute URL.

    Args:
        url: As found, in any notation.

    Returns:
        The URL, or None when it is no http(s) URL, holds credentials, or has no host.

    >>> canonicalize_url("HTTP://Bücher.Example:80/a/../b c.jpg?q=ä#top")
    'http://xn--bcher-kva.example/b%20c.jpg?q=%C3%A4'
    """
    url = url.partition("#")[0]
    if _is_canonical(url):
        return url
    parts = _PARTS.match(_tidy(url))
    if parts is None:
        return None
    scheme = parts[1].lower()
    authority = _canonical_authority(parts[2], _DEFAULT_PORTS[scheme])
    if authority is None:
        return None
    path = _remove_dot_segments(encode_path(parts[3]) or "/")
    return f"{scheme}://{authority}{path}{encode_path(parts[4] or '')}"


class UrlResolver:
    """Resolves the references of one page, many of them, against its base URL."""

    def __init__(self, base_url: str) -> None:
        base = canonicalize_url(base_url)
        parts = _PARTS.match(base) if base else None
        self._scheme = parts[1] if parts else ""
        self._origin = f"{parts[1]}://{parts[2]}" if parts else ""
        self._path = parts[3] if parts else ""
        self._folder = self._origin + self._path[: self._path.rfind("/") + 1]
        self._plain_origin = self._origin if _is_canonical(f"{self._origin}/") else ""

    def resolve(self, reference: str) -> str | None:
        """The canonical URL that a reference means.

        Returns:
            The URL, or None: no http(s) URL, only a fragment, or relative where the base is unknown.

        >>> UrlResolver("http://a.example/b/c.html").resolve("../d.png")
        'http://a.example/d.png'
        """
        reference = reference.partition("#")[0]
        if _is_canonical(reference):
            return reference
        if self._origin and (absolute := self._join(reference)) and _is_canonical(absolute):
            return absolute
        reference = _tidy(reference)
        if _SCHEME.match(reference):
            return canonicalize_url(reference)
        if not self._origin or not reference:
            return None
        if reference.startswith("//"):
            return canonicalize_url(f"{self._scheme}:{reference}")
        if reference[0] == "/":
            return canonicalize_url(self._origin + reference)
        if reference[0] == "?":
            return canonicalize_url(self._origin + self._path + reference)
        return canonicalize_url(self._folder + reference)

    def resolve_plain(self, reference: str) -> str | None:
        """What `resolve` gives for a plain reference, at less cost; None where that takes a closer look.

        Args:
            reference: Begins with http:, https: or a slash; with a host name, if it has one, of several labels in lower
                case; nothing in it to encode or decode, no segment that begins with a dot.
        """
        if reference[0] != "/":
            return reference
        if not self._plain_origin:
            return None
        return f"{self._scheme}:{reference}" if reference.startswith("//") else self._plain_origin + reference

    def _join(self, reference: str) -> str:
        """What a reference means if it is one of the plain kinds, else nothing."""
        if reference.startswith("/"):
            return f"{self._scheme}:{reference}" if reference.startswith("//") else self._origin + reference
        return self._folder + reference if reference[:1].isalnum() and ":" not in reference else ""


def url_host(url: str) -> str:
    """The host of a canonical URL, without its port; of what is none, something, or nothing.

    >>> url_host("http://a.example:8080/b"), url_host("unix:/run/x")
    ('a.example', '')
    """
    authority = url.partition("//")[2].partition("/")[0]
    end = authority.find("]") + 1  # of an IPv6 address
    return authority[:end] if end else authority.partition(":")[0]


def encode_path(text: str) -> str:
    """A path or query in its canonical form: escaped what must be and nothing else, in capitals.

    >>> encode_path("/b%7ec%2f d?ä")
    '/b~c%2F%20d?%C3%A4'
    """
    return _ESCAPE.sub(_encode_match, text)


def _is_canonical(url: str) -> bool:
    return "/." not in url and _CANONICAL.fullmatch(url) is not None


def _tidy(url: str) -> str:
    """A URL as browsers read it: some characters are ignored, backslashes before the query are slashes."""
    head, mark, query = url.strip(_EDGES).translate(_IGNORED).partition("?")
    return head.replace("\\", "/") + mark + query


def _canonical_authority(authority: str, default_port: int) -> str | None:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return None
    host = parts[1].lower()
    if len(host) > _MAX_HOST_CHARS:
        return None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    port = int(parts[2] or default_port)
    if not _HOST.fullmatch(host) or not 0 < port < 65_536:
        return None
    return host if port == default_port else f"{host}:{port}"


def _encode_match(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) == 3:
        code = int(found[1:], 16)
        return chr(code) if code in _UNRESERVED else found.upper()
    return "".join(f"%{byte:02X}" for byte in found.encode("utf-8", "replace"))


def _remove_dot_segments(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
