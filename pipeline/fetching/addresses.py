"""Which addresses are on the public internet, and so may be asked for images.

In: an address. Out: whether it is public. URLs and name servers of a crawl are strangers' work, so what is not known to
be public counts as private: of IPv6 only the one block that global addresses are given out from, less what is special
in it; no address that stands for another one (tunnels, translators); no address that a cloud answers from the inside.
The table is our own and not `ipaddress.is_global`, which changes with the version of Python.
Source: IANA IPv4 and IPv6 special-purpose address registries (RFC 6890, RFC 8190); IANA IPv6 global unicast
allocations; the clouds' documents on their metadata and service endpoints.
"""

from bisect import bisect_right
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

Address = IPv4Address | IPv6Address

NOT_PUBLIC_4: Final = (
    "0.0.0.0/8",  # "this network"; Linux takes it for the machine itself
    "10.0.0.0/8",
    "100.64.0.0/10",  # between carriers and customers; metadata of Alibaba Cloud
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local; metadata of most clouds
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocols; .9 and .10 are answered by the nearest router; metadata of Oracle Cloud
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112, which any network may answer for itself, as the next but one
    "192.52.193.0/24",  # multicast relays, the nearest answers
    "192.88.99.0/24",  # 6to4 relays, the nearest answers
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks of networks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
    "168.63.129.16/32",  # Azure: its machines' agent and name server
    "161.26.0.0/16",  # IBM Cloud: services for its machines only
    "166.8.0.0/14",  # IBM Cloud: as well
    "199.36.153.4/30",  # Google Cloud: its services by private routes
    "199.36.153.8/30",  # Google Cloud: as well
)
PUBLIC_6: Final = (
    "2000::/3"  # beyond it lie loopback, mapped and translated IPv4, fc00::/7, fe80::/10, fec0::/10, ff00::/8
)
NOT_PUBLIC_6: Final = (
    "2001::/23",  # protocols: Teredo, benchmarks, identifiers; its few reachable ones are answered by the nearest
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an IPv4 address by way of the nearest relay
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)


class _Ranges(NamedTuple):
    """Blocks apart from one another, as numbers in order."""

    starts: list[int]
    ends: list[int]

    def hold(self, address: int) -> bool:
        """Whether an address is in one of the blocks."""
        place = bisect_right(self.starts, address) - 1
        return place >= 0 and address <= self.ends[place]


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet.

    >>> is_public(IPv4Address("93.184.216.34")), is_public(IPv6Address("::ffff:93.184.216.34"))
    (True, False)
    """
    if isinstance(address, IPv4Address):
        return not _PRIVATE_4.hold(int(address))
    return int(address) >> 125 == _PUBLIC_6_BITS and not _PRIVATE_6.hold(int(address))


def _ranges_of(networks: Sequence[IPv4Network] | Sequence[IPv6Network]) -> _Ranges:
    edges = sorted((int(network.network_address), int(network.broadcast_address)) for network in networks)
    return _Ranges([start for start, _ in edges], [end for _, end in edges])


_PRIVATE_4: Final = _ranges_of([IPv4Network(text) for text in NOT_PUBLIC_4])
_PRIVATE_6: Final = _ranges_of([IPv6Network(text) for text in NOT_PUBLIC_6])
_PUBLIC_6_BITS: Final = int(IPv6Network(PUBLIC_6)[0]) >> 125
