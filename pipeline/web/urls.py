"""The canonical form of image URLs, so that one image has one address and one pair id.

In: a reference as written in a page, the page's base URL and encoding. Out: an absolute http(s) URL in ASCII: parsed as
browsers parse it, without a fragment, its escapes in one form. None for what no browser would load an image from, or
no name server knows.
Source: WHATWG URL (its parser is the package `ada-url`); WHATWG Fetch 2.9 (port 0); RFC 3986 6.2.2 (escapes); RFC 1035
2.3.4 (lengths of names).
"""

import re
from typing import Final

import ada_url

from pipeline.web.query_encoding import encode_query

# Path and query with nothing to encode, and no escape that is to be undone.
_CANONICAL_PATH: Final = (
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]++|%(?:2[0-9A-CF]|3[A-F]|[89A-F][0-9A-F]))*+"
    r"(?:\?(?:[A-Za-z0-9._~!$&()*+,;=:@/?-]++|%(?:2[0-9A-CF]|3[A-F]|[89A-F][0-9A-F]))*+)?"
)
# ASCII, lower-case host that is no number, no port: where no path segment begins with a dot and no label of the host is
# encoded, most URLs, left as they are.
_CANONICAL: Final = re.compile(r"https?://(?:[a-z0-9-]++\.)++[a-z][a-z0-9-]*+" + _CANONICAL_PATH)
_PARTS: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?", re.ASCII)
_HOST: Final = re.compile(r"((?:[a-z0-9_-]++\.)*+[a-z0-9_-]*+|\[[0-9a-f:]+\])(?::[1-9][0-9]*)?")
_MAX_HOST_CHARS: Final = 253  # RFC 1035 2.3.4
_MAX_LABEL_CHARS: Final = 63
# No escape is touched that follows a lone percent sign, or it might become another.
_ESCAPE: Final = re.compile(r"(?<!%)(?<!%[0-9A-Fa-f])%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_EDGES: Final = "".join(map(chr, range(0x21)))  # C0 controls and space
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def canonicalize_url(url: str) -> str | None:
    """The canonical form of an absolute URL.

    Args:
        url: As found, in any notation.

    Returns:
        The URL, or None when it is no http(s) URL, holds credentials, or has no host.

    >>> canonicalize_url("HTTP://Bücher.Example:80/a/../b c.jpg?q=ä#top")
    'http://xn--bcher-kva.example/b%20c.jpg?q=%C3%A4'
    """
    before, mark, _ = url.partition("#")
    return before if _is_canonical(before) else _parse(before, mark, base="")


class UrlResolver:
    """Resolves the references of one page, many of them, against its base URL."""

    def __init__(self, base_url: str, encoding: str = "utf-8") -> None:
        base = canonicalize_url(base_url)
        parts = _PARTS.match(base) if base else None
        self._base = base or ""
        self._encoding = encoding
        self._scheme = parts[1] if parts else ""
        self._origin = f"{parts[1]}://{parts[2]}" if parts else ""
        self._folder = self._origin + parts[3][: parts[3].rfind("/") + 1] if parts else ""
        self._plain_origin = self._origin if _is_canonical(f"{self._origin}/") else ""

    def resolve(self, reference: str) -> str | None:
        """The canonical URL that a reference means.

        Returns:
            The URL, or None: no http(s) URL, only a fragment, or relative where the base is unknown.

        >>> UrlResolver("http://a.example/b/c.html").resolve("../d.png")
        'http://a.example/d.png'
        """
        mark = ""
        if "#" in reference:
            reference, mark, _ = reference.partition("#")
        absolute = self._join(reference)
        if absolute and _is_canonical(absolute):
            return absolute
        if "?" in reference and not reference.isascii():
            path, _, query = _SURROGATE.sub("\ufffd", reference).partition("?")
            reference = f"{path}?{encode_query(query, self._encoding)}"
        return _parse(reference, mark, base=self._base)

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
        """What a reference means if it is one of the plain kinds, else nothing, or something that is not canonical."""
        if " " in reference and reference[0] != " " != reference[-1]:
            reference = reference.replace(" ", "%20")
        if reference.startswith(("http://", "https://")) or not self._origin:
            return reference
        if reference.startswith("/"):
            return f"{self._scheme}:{reference}" if reference.startswith("//") else self._origin + reference
        reference = reference.removeprefix("./")
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

    >>> encode_path("/b%7ec%2f d?ä 100%")
    '/b~c%2F%20d?%C3%A4%20100%'
    """
    return _ESCAPE.sub(_encode_match, text)


def _is_canonical(url: str) -> bool:
    return "/." not in url and "xn--" not in url and _CANONICAL.fullmatch(url) is not None


def _parse(reference: str, mark: str, *, base: str) -> str | None:
    """The canonical form of what a browser reads in a reference; an empty one names no image.

    Args:
        reference: Without its fragment.
        mark: The mark before a fragment, if there was one: white space is cut off at the end of all.
        base: Canonical, or empty.
    """
    if not reference.strip(_EDGES):
        return None
    if not reference.isascii():
        reference = _SURROGATE.sub("\ufffd", reference)
    try:
        url = ada_url.join_url(base, reference + mark) if base else ada_url.normalize_url(reference + mark)
    except ValueError:
        return None
    parts = _PARTS.match(url)
    if parts is None or not _is_name(parts[2]):
        return None
    return f"{parts[1]}://{parts[2]}{encode_path(parts[3])}{encode_path(parts[4] or '')}"


def _is_name(authority: str) -> bool:
    """Whether there may be a server of a name, and a port that browsers ask."""
    host = _HOST.fullmatch(authority)
    if host is None or not 0 < len(host[1]) <= _MAX_HOST_CHARS or host[1].startswith("."):
        return False
    return all(_is_encoded_label(label) for label in host[1].split(".") if label.startswith("xn--"))


def _is_encoded_label(label: str) -> bool:
    try:
        return len(label) <= _MAX_LABEL_CHARS and not label[4:].encode().decode("punycode").isascii()
    except UnicodeError:
        return False


def _encode_match(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) == 3:
        code = int(found[1:], 16)
        return chr(code) if code in _UNRESERVED else found.upper()
    return "".join(f"%{byte:02X}" for byte in found.encode("utf-8", "replace"))
