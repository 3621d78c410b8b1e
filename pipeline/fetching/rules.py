"""How the network is used: options of the stage fetch-images, and what follows from them."""

from dataclasses import dataclass

from pipeline.base.options import option
from pipeline.web.http import user_agent


@dataclass(kw_only=True, eq=False)
class FetchRules:
    """Who may be asked for what, how often, and how long an answer may take."""

    contact: str = option("", "E-mail or URL for site owners, shown in the user agent.", identity=False)
    robots: bool = option(True, "Obey robots.txt (RFC 9309) and its Crawl-delay.")
    respect_noindex: bool = option(True, "Leave out images whose X-Robots-Tag says noindex or noimageindex.")
    allow_private: bool = option(False, "Connect to private and local addresses too.")
    connect_to: tuple[str, ...] = option(
        (),
        "Send hosts elsewhere: HOSTGLOB[:PORT]=ADDRESS:PORT, e.g. *.example=127.0.0.1:8081.",
        identity=False,
    )
    max_bytes: int = option(16_000_000, "Largest answer taken, bytes.", minimum=1)
    retries: int = option(2, "Further tries after errors that may pass (never after 4xx).", minimum=0, maximum=10)
    concurrency: int = option(256, "Requests under way in one worker.", minimum=1, identity=False)
    host_connections: int = option(4, "Connections to one host, over all workers.", minimum=1, identity=False)
    host_rate: float = option(
        20.0, "Requests a second to one host, over all workers; 0: no limit.", minimum=0, identity=False
    )
    host_failures: int = option(8, "Failures in a row after which a host is left alone.", minimum=1, identity=False)
    host_time_s: float = option(3600.0, "Longest time spent on one host of a fetch unit.", minimum=1, identity=False)
    max_wait_s: float = option(
        60.0, "Longest pause granted to a host that asks for one (Crawl-delay, Retry-After).", minimum=0, identity=False
    )
    timeout_s: float = option(30.0, "Deadline of one request, seconds.", minimum=0.1, identity=False)
    connect_timeout_s: float = option(10.0, "Longest wait for a connection, seconds.", minimum=0.1, identity=False)
    read_timeout_s: float = option(10.0, "Longest silence in an answer, seconds.", minimum=0.1, identity=False)
    decode_threads: int = option(2, "Threads that decode images in one worker.", minimum=1, identity=False)

    @property
    def user_agent(self) -> str:
        """What the fetcher says it is."""
        return user_agent("image-text data set builder", self.contact)
