"""A slow web, made up: which hosts there are, how each fails, and how long each of its images takes.

In: numbers and a seed. Out: URLs. The URL itself says what the server is to do, so that the server keeps no state and a
second try is answered like the first: ``http://KIND-NUMBER.example/DELAY_MS/ANSWER/PICTURE.jpg``. Only who is `BUSY`
has an image for those who come again. Every host is a site of its own (a public suffix and one label), as the limits by
site of a polite fetcher would have it.
"""

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

MEDIAN_DELAY_S, P99_DELAY_S = 0.25, 2.6
DEAD_SHARE = 0.2
FAULTY_SHARE = 0.1  # of the answers of hosts that are up
LIVE = "up"
DEAD_KINDS = ("refused", "hung", "mute")  # connect is refused; is never answered; is, and then nothing comes
GOOD = "ok"
FAULTS = ("stall", "hang")  # half an answer, then nothing; no answer
BUSY = "busy"  # 429 with a pause to be made, and an image to the second who asks
ANSWERED = {"lost": 404, "failing": 500, BUSY: 429}
SOAK_FAULTS = {  # in 10,000 answers of hosts that are up, and the status that such a URL must end in
    "broken": (100, "broken_image"),  # a picture that is cut, its end marked
    "cut": (80, "broken_answer"),  # less than was promised
    "reset": (80, "broken_answer"),
    "lost": (80, "not_found"),
    "failing": (70, "http_error"),
    BUSY: (40, "ok"),
    "stall": (10, "timed_out"),
}
SOAK_DEAD_SHARE = 0.005  # of hosts
NORMAL_99 = 2.3263  # the 99 % quantile of the normal distribution


class Ask(NamedTuple):
    """What a URL asks of the server."""

    delay_s: float
    answer: str
    picture: int


def plan_urls(num_urls: int, *, num_hosts: int, seed: int = 0) -> list[str]:
    """URLs of hosts in random order; every host has one at least where there are enough.

    Args:
        num_urls: How many.
        num_hosts: Of which `DEAD_SHARE` are dead, the kinds in equal parts.
        seed: Others with another number.
    """
    rng = random.Random(seed)
    hosts = [name_host(number, num_hosts) for number in range(num_hosts)]
    asked = hosts + rng.choices(hosts, k=max(0, num_urls - num_hosts))
    rng.shuffle(asked)
    return [f"http://{host}{draw_path(rng, picture)}" for picture, host in enumerate(asked[:num_urls])]


def name_host(number: int, num_hosts: int) -> str:
    """The name of a host, which says whether it is dead and how."""
    num_dead = round(num_hosts * DEAD_SHARE)
    kind = DEAD_KINDS[number % len(DEAD_KINDS)] if number < num_dead else LIVE
    return f"{kind}-{number}.example"


def draw_path(rng: random.Random, picture: int) -> str:
    answer = rng.choice(FAULTS) if rng.random() < FAULTY_SHARE else GOOD
    return f"/{round(1000 * draw_delay_s(rng))}/{answer}/{picture}.jpg"


def draw_delay_s(rng: random.Random) -> float:
    """A wait before an answer: logarithms are normal, with the median and the 99 % quantile named above."""
    return MEDIAN_DELAY_S * math.exp(rng.gauss(0, math.log(P99_DELAY_S / MEDIAN_DELAY_S) / NORMAL_99))


def fast_urls(num_urls: int, *, num_hosts: int, scheme: str) -> list[str]:
    """URLs of hosts that answer at once, host by host in turn."""
    return [f"{scheme}://{LIVE}-{n % num_hosts}.example/0/{GOOD}/{n}.jpg" for n in range(num_urls)]


def soaked_urls(num_urls: int, *, num_hosts: int, seed: int = 0) -> list[str]:
    """URLs of hosts that answer at once, a twentieth of them with a fault; a few hosts refuse connections.

    Args:
        num_urls: How many.
        num_hosts: Each has as many of them, but for one.
        seed: Others with another number.
    """
    rng = random.Random(seed)
    num_dead = round(num_hosts * SOAK_DEAD_SHARE)
    hosts = [f"refused-{n}.example" if n < num_dead else f"{LIVE}-{n}.example" for n in range(num_hosts)]
    answers = [GOOD, *SOAK_FAULTS]
    shares = [number for number, _ in SOAK_FAULTS.values()]
    drawn = rng.choices(answers, [10_000 - sum(shares), *shares], k=num_urls)
    return [f"http://{hosts[n % num_hosts]}/0/{answer}/{n}.jpg" for n, answer in enumerate(drawn)]


def soaked_status(url: str) -> str:
    """The status that one of `soaked_urls` must end in.

    >>> soaked_status("http://up-1.example/0/stall/7.jpg")
    'timed_out'
    """
    host, path = split_url(url)
    ask = parse_path(path)
    if not host.startswith(LIVE):
        return "connect_failed"
    return SOAK_FAULTS[ask.answer][1] if ask and ask.answer != GOOD else "ok"


def parse_path(path: str) -> Ask | None:
    """What a path asks for; None when it is none of ours, such as robots.txt.

    >>> parse_path("/250/stall/7.jpg")
    Ask(delay_s=0.25, answer='stall', picture=7)
    """
    try:
        _, delay_ms, answer, name = path.split("/")
        return Ask(int(delay_ms) / 1000, answer, int(name.removesuffix(".jpg")))
    except ValueError:
        return None


def expected_images(urls: list[str]) -> int:
    """How many of the URLs can be had."""
    return sum(1 for url in urls if is_good(url))


def is_good(url: str) -> bool:
    host, path = split_url(url)
    ask = parse_path(path)
    return host.startswith(LIVE) and ask is not None and ask.answer == GOOD


def split_url(url: str) -> tuple[str, str]:
    host, _, path = url.partition("://")[2].partition("/")
    return host, f"/{path}"


def connections(http: str, https: str, *, refused: str, hung: str) -> Iterator[str]:
    """Where the hosts are, as ``--connect-to`` has it: HOSTGLOB[:PORT]=ADDRESS:PORT.

    Args:
        http: Address and port of the server.
        https: The same with TLS.
        refused: Where nobody listens.
        hung: Where connects are never answered.
    """
    yield f"refused-*.example={refused}"
    yield f"hung-*.example={hung}"
    yield f"*.example:443={https}"
    yield f"*.example={http}"
