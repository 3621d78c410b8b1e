"""Which site a host belongs to: the part of its name that somebody registered, where one operator answers for all.

Source: the public suffix list (publicsuffix.org, "Algorithm"), of which the package `publicsuffixlist` holds a copy.
Only suffixes of registries count (its ICANN section): the blogs under one hoster's domain are one site, since they are
the machines of one operator.
"""

import re
from functools import cache, lru_cache
from typing import Final

from publicsuffixlist import PublicSuffixList

_KEPT_SITES: Final = 1 << 16  # of hosts asked for last
_NUMERIC_END: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")  # WHATWG URL: such a host is an IPv4 address


@lru_cache(_KEPT_SITES)
def site_of(host: str) -> str:
    """The site of a host: its public suffix and one label more.

    Args:
        host: In lower case, IDNA, without a port, as `pipeline.web.urls.url_host` gives it.

    Returns:
        The site; a suffix that the list does not have is one label. An address, a single label and a public suffix
        are sites of their own.

    >>> [site_of(host) for host in ("img.a.co.uk", "me.wordpress.com", "a.b.example.", "10.0.0.1", "[::1]", "co.uk")]
    ['a.co.uk', 'wordpress.com', 'b.example', '10.0.0.1', '[::1]', 'co.uk']
    """
    name = host.rstrip(".")
    if name.startswith("[") or _NUMERIC_END.search(name):
        return name
    return _suffixes().privatesuffix(name) or name


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)
