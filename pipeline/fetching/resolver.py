"""Host names to the addresses that may be connected to.

In: a host and a port. Out: addresses of the public internet only, whatever a name server answers, so that no URL of
the crawl reaches into the network the fetcher runs in. aiohttp connects to the very addresses returned here, so a
name that changes its mind (DNS rebinding) gains nothing. `Redirection` sends chosen hosts to an address of the
user's, as curl's ``--connect-to`` does; those are not guarded.
Source: IANA special-purpose address registries; RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo).
"""

import asyncio
import fnmatch
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOKUP_THREADS: Final = 64  # the C library's look-up blocks; names of dead hosts block for seconds
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """A host has no address on the public internet."""


class Redirection(NamedTuple):
    """Where connections to some hosts go instead."""

    host_glob: str
    port: int | None  # None: every port
    address: str
    to_port: int

    def applies_to(self, host: str, port: int) -> bool:
        """Whether a host and port are sent elsewhere."""
        return self.port in (None, port) and fnmatch.fnmatchcase(host.lower(), self.host_glob)


def parse_redirection(text: str) -> Redirection:
    """Parses ``HOSTGLOB[:PORT]=ADDRESS:PORT``.

    Raises:
        ValueError: When the text has another form; the message names it.

    >>> parse_redirection("*.example=127.0.0.1:8081")
    Redirection(host_glob='*.example', port=None, address='127.0.0.1', to_port=8081)
    >>> parse_redirection("a.example:443=[::1]:8443")
    Redirection(host_glob='a.example', port=443, address='::1', to_port=8443)
    """
    source, equals, target = text.partition("=")
    host_glob, _, port = source.partition(":")
    address, _, to_port = target.rpartition(":")
    try:
        if not (equals and host_glob):
            raise ValueError
        return Redirection(
            host_glob=host_glob.lower(),
            port=_parse_port(port) if port else None,
            address=str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))),
            to_port=_parse_port(to_port),
        )
    except ValueError as error:
        raise ValueError(f"connect-to must be HOSTGLOB[:PORT]=ADDRESS:PORT, not {text!r}") from error


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, looked at through every tunnel that may hide another in it.

    >>> is_public(ipaddress.ip_address("93.184.216.34")), is_public(ipaddress.ip_address("::ffff:10.0.0.1"))
    (True, False)
    """
    inner = _tunnelled(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast


class GuardedResolver(AbstractResolver):
    """Resolves host names for aiohttp: redirected hosts first, then public addresses only.

    Args:
        redirections: The first that applies decides.
        allow_private: Whether any address will do.
    """

    def __init__(self, redirections: Sequence[Redirection] = (), *, allow_private: bool = False) -> None:
        self._redirections = tuple(redirections)
        self._allow_private = allow_private
        self._lookups = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses to connect to.

        Raises:
            PrivateAddress: When there are addresses, but none is public.
            OSError: When the name does not resolve.
        """
        for redirection in self._redirections:
            if redirection.applies_to(host, port):
                return [_result(host, redirection.address, redirection.to_port)]
        found = await asyncio.get_running_loop().run_in_executor(
            self._lookups, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private:
            addresses = [address for address in addresses if is_public(ipaddress.ip_address(address))]
        if not addresses:
            raise PrivateAddress(f"{host} has no public address")
        return [_result(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Lets go of the look-up threads; those that still wait for a name server are not waited for."""
        self._lookups.shutdown(wait=False, cancel_futures=True)


def _tunnelled(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


def _parse_port(text: str) -> int:
    port = int(text)
    if not 0 < port < 1 << 16:
        raise ValueError(f"no such port: {port}")
    return port
