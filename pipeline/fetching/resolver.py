"""Host names to the addresses that may be connected to.

In: a host and a port. Out: addresses of the public internet only, whatever a name server answers, so that no URL of
the crawl reaches into the network the fetcher runs in. aiohttp connects to the very address returned here, so a
name that changes its mind (DNS rebinding) gains nothing. Names are asked for without threads (c-ares), many side by
side, each with a deadline of its own. `Redirection` sends chosen hosts to an address of the user's, as curl's
``--connect-to`` does; those are not guarded.
"""

import asyncio
import fnmatch
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.fetching.addresses import is_public

_LOOKUPS_AT_ONCE: Final = 512
_MOST_NAMES: Final = 20_000  # whose addresses are remembered
_NO_SUCH_NAME: Final = frozenset(
    {pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME}
)


class PrivateAddress(OSError):
    """A host has no address on the public internet."""


class NoSuchName(OSError):
    """A name server said that there is no such name, or no address of it."""


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


class GuardedResolver(AbstractResolver):
    """Resolves host names: redirected hosts first, then public addresses only.

    One address of a host is given at a time, the same until it is reported dead, so that whoever counts requests to an
    address knows where they go.

    Args:
        redirections: The first that applies decides.
        allow_private: Whether any address will do.
        timeout_s: For the answer to one name.
        exempt: Hosts that any address will do for: the user's proxy.
    """

    def __init__(
        self,
        redirections: Sequence[Redirection] = (),
        *,
        allow_private: bool = False,
        timeout_s: float = 10.0,
        exempt: Sequence[str] = (),
    ) -> None:
        self._redirections = tuple(redirections)
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._exempt = frozenset(exempt)
        self._names = aiodns.DNSResolver()
        self._turns = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        self._found: dict[str, list[str]] = {}

    def redirection(self, host: str, port: int) -> Redirection | None:
        """Where the user sends a host, if anywhere."""
        return next((found for found in self._redirections if found.applies_to(host, port)), None)

    async def find(self, host: str) -> str:
        """The address that connections to a host go to.

        Raises:
            PrivateAddress: When there are addresses, but none is public.
            NoSuchName: When the name does not exist.
            OSError: When no name server answered in time, or none could tell.
        """
        if host not in self._found:
            async with self._turns:
                addresses = await self._look_up(host)
            while len(self._found) >= _MOST_NAMES:
                del self._found[next(iter(self._found))]
            self._found[host] = addresses
        return self._found[host][0]

    def report_dead(self, host: str) -> None:
        """Takes another address of a host from now on, if it has one."""
        if addresses := self._found.get(host):
            addresses.append(addresses.pop(0))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Where to connect to, for aiohttp: as `find`."""
        if redirection := self.redirection(host, port):
            return [_result(host, redirection.address, redirection.to_port)]
        return [_result(host, await self.find(host), port)]

    async def close(self) -> None:
        """Lets go of name servers; what they were asked is cancelled."""
        await self._names.close()

    async def _look_up(self, host: str) -> list[str]:
        addresses = [host.strip("[]")] if _is_address(host) else await self._ask(host)
        if not self._allow_private and host not in self._exempt:
            addresses = [address for address in addresses if is_public(ipaddress.ip_address(address))]
        if not addresses:
            raise PrivateAddress(f"{host} has no public address")
        return sorted(addresses, key=lambda address: ":" in address)  # IPv4 first: it works from everywhere

    async def _ask(self, host: str) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._names.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise OSError(f"no name server answered for {host} in {self._timeout_s:g} s") from error
        except aiodns.error.DNSError as error:
            code = error.args[0] if error.args else None
            raise (NoSuchName if code in _NO_SUCH_NAME else OSError)(f"{host}: {error}") from error
        found = [node.addr[0] for node in answer.nodes]
        return list(dict.fromkeys(a.decode() if isinstance(a, bytes) else a for a in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


def _parse_port(text: str) -> int:
    port = int(text)
    if not 0 < port < 1 << 16:
        raise ValueError(f"no such port: {port}")
    return port
