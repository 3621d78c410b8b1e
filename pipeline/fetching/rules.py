"""How the network is used: options of the stage fetch-images, and what follows from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.base.options import option
from pipeline.web.http import user_agent

# What may be asked for again later, by a short name.
RETRY_GROUPS: Final[Mapping[str, frozenset[DropReason]]] = {
    "connect": frozenset(
        {DropReason.UNRESOLVED, DropReason.CONNECT_FAILED, DropReason.TLS_FAILED, DropReason.HOST_DOWN}
    ),
    "timeout": frozenset({DropReason.TIMED_OUT, DropReason.TOO_SLOW, DropReason.HOST_TIME}),
    "5xx": frozenset({DropReason.HTTP_ERROR}),
    "429": frozenset({DropReason.THROTTLED, DropReason.CRAWL_DELAY}),
    "robots": frozenset({DropReason.ROBOTS_UNAVAILABLE}),
    "broken": frozenset({DropReason.BROKEN_ANSWER, DropReason.INTERNAL_ERROR}),
}


@dataclass(kw_only=True, eq=False)
class FetchRules:
    """Who may be asked for what, how often, and how long an answer may take."""

    contact: str = option(
        "", "E-mail or URL for site owners, shown in the user agent; nobody is asked without.", identity=False
    )
    robots: bool = option(True, "Obey robots.txt (RFC 9309) and its Crawl-delay.")
    tdm_file: bool = option(True, "Obey /.well-known/tdmrep.json (W3C TDM Reservation Protocol), read once a host.")
    respect_noindex: bool = option(
        True, "Leave out images whose X-Robots-Tag says noindex or noimageindex, or a date that is over."
    )
    allow_private: bool = option(False, "Connect to private and local addresses too.")
    high_ports: bool = option(False, "Ask on ports of 1024 and above too, not on 80 and 443 alone.")
    verify_tls: bool = option(True, "Refuse hosts whose certificate is not valid; the data card tells if not.")
    ca_bundle: str = option("", "PEM file of the authorities to trust instead of the system's.", identity=False)
    proxy: str = option(
        "",
        "Ask by this proxy, http://[USER:PASSWORD@]HOST:PORT; it looks names up and guards addresses.",
        identity=False,
    )
    connect_to: tuple[str, ...] = option(
        (),
        "Send hosts elsewhere: HOSTGLOB[:PORT]=ADDRESS:PORT, e.g. *.example=127.0.0.1:8081.",
        identity=False,
    )
    max_bytes: int = option(16_000_000, "Largest answer taken, bytes.", minimum=1)
    retries: int = option(
        2,
        "Further tries of a URL after errors that may pass (never after 4xx; after time-outs, one).",
        minimum=0,
        maximum=10,
    )
    concurrency: int = option(1_024, "Requests under way in one worker.", minimum=1, identity=False)
    host_connections: int = option(4, "Connections to one host, over all workers.", minimum=1, identity=False)
    host_rate: float = option(
        20.0, "Requests a second to one host, over all workers; 0: no limit.", minimum=0, identity=False, off=0
    )
    shared_limit: float = option(
        5.0,
        "Hosts of one site, and hosts of one address, are together asked as often as so many hosts; 0: no limit. Hosts "
        "that connect-to sends elsewhere are not counted by address.",
        minimum=0,
        identity=False,
        off=0,
    )
    host_failures: int = option(
        8, "URLs that fail in a row by a host's fault until it is left alone.", minimum=1, identity=False
    )
    host_time_s: float = option(
        3600.0, "Longest time spent on one host, for each fetch unit it is in.", minimum=1, identity=False
    )
    max_wait_s: float = option(
        600.0,
        "Longest pause granted to a host that asks for one (Crawl-delay, Retry-After); beyond: --retry, later.",
        minimum=0,
        identity=False,
    )
    timeout_s: float = option(30.0, "Deadline of one request, seconds.", minimum=0.1, identity=False)
    connect_timeout_s: float = option(
        10.0,
        "Longest wait for a connection, seconds, half of it for each of two tries.",
        minimum=0.1,
        identity=False,
    )
    read_timeout_s: float = option(
        10.0,
        "Longest silence in an answer, seconds; after half of it the second try begins beside the first.",
        minimum=0.1,
        identity=False,
    )
    dns_timeout_s: float = option(10.0, "Longest wait for the address of a name, seconds.", minimum=0.1, identity=False)
    changed_images: Literal["drop", "keep"] = option(
        "drop", "With from-list: what becomes of images that are not those whose digests the list has.", sparse=True
    )
    decode_threads: int = option(2, "Threads that decode images in one worker.", minimum=1, identity=False)

    @property
    def user_agent(self) -> str:
        """What the fetcher says it is."""
        return user_agent("image-text data set builder", self.contact)


def parse_retry(names: Iterable[str]) -> frozenset[str]:
    """The statuses that are asked for again.

    Args:
        names: Of `RETRY_GROUPS`, or statuses; several may be joined by commas.

    Raises:
        ValueError: For a name that is neither.

    >>> sorted(parse_retry(["5xx,timed_out"]))
    ['http_error', 'timed_out']
    """
    found: set[str] = set()
    for name in (part.strip() for text in names for part in text.split(",")):
        if name in RETRY_GROUPS:
            found |= {str(reason) for reason in RETRY_GROUPS[name]}
        elif name in {str(reason) for reason in DropReason}:
            found.add(name)
        else:
            raise ValueError(f"retry: {name!r} is neither a status nor one of {', '.join(RETRY_GROUPS)}")
    return frozenset(found)


def check_contact(contact: str) -> None:
    """Raises ValueError unless a contact says how to reach who asks: an address of mail, or a URL."""
    if not contact:
        raise ValueError("contact: say how site owners reach you, e.g. --contact you@example.org, or a URL")
    if not contact.isascii() or not contact.isprintable() or not ("@" in contact or "://" in contact):
        raise ValueError(f"contact: {contact!r} is neither an address of mail nor a URL, in ASCII")


def check_proxy(proxy: str) -> None:
    """Raises ValueError unless a proxy is empty or http(s)://[USER:PASSWORD@]HOST[:PORT]."""
    if not proxy:
        return
    try:
        url = URL(proxy)
        is_proxy = url.scheme in ("http", "https") and bool(url.host) and url.path in ("", "/")
    except ValueError:
        is_proxy = False
    if not is_proxy:
        raise ValueError(f"proxy: {proxy!r} is not http://[USER:PASSWORD@]HOST:PORT")
