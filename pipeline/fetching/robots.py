"""What a site's robots.txt asks for.

In: the answer to a request for it. Out: `Robots`, which says what may be fetched, how fast, and what must not be used
for training, or the reason why nothing may. Rules for fetching come from protego: longest match, wildcards, groups
merged; those for use are Content-Usage and Content-Signal lines of the same groups. A file is read whatever it looks
like: what is no rule in it, such as a page sent instead, says nothing.
Source: RFC 9309 2.2 (rules), 2.3.1 (access results), 2.5 (limits); IETF draft-ietf-aipref-attach-05, 3 (Content-Usage);
draft-romm-aipref-contentsignals-00 (Content-Signal).
"""

import codecs
import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from protego import Protego
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.web.optouts import PRODUCT, USAGE_NAMES, allows_training
from pipeline.web.path_patterns import PathPattern, plain_path

ROBOTS_PATH: Final = "/robots.txt"
MAX_ROBOTS_BYTES: Final = 512 * 1024  # RFC 9309 2.5: at least 500 KiB; what follows is not read
_NO_FILE: Final = frozenset({DropReason.NOT_FOUND, DropReason.HTTP_REFUSED, DropReason.BAD_REDIRECT})
_LINE: Final = re.compile(r"([^:#]*):([^#]*)")
_AGENT_NAMES: Final = frozenset({"user-agent", "useragent", "user agent"})  # as protego has them
_NO_RULES: Final = frozenset({"sitemap", "sitemaps", "site-map", "host"})  # of the site: they end no list of agents
_PRODUCT_TOKEN: Final = re.compile(r"[\w-]+|\*")
_USAGE: Final = re.compile("|".join(sorted(USAGE_NAMES)), re.IGNORECASE)
_USAGE_PATH: Final = re.compile(r"([/*]\S*)\s+(.*)", re.DOTALL)


class UsageRule(NamedTuple):
    """What a site says of the use of its files in training."""

    pattern: PathPattern
    is_allowed: bool


class Robots(NamedTuple):
    """The rules of one origin; without a parsed file everything is allowed. They can be pickled.

    Attributes:
        rules: For fetching.
        usage: For use; those of this program's groups. The first that matches decides: the longest, of two alike a no.
    """

    rules: Protego | None = None
    usage: tuple[UsageRule, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parses a file, of which `MAX_ROBOTS_BYTES` are looked at; no body is an error."""
        text = _to_text(body)
        return cls(Protego.parse(text), tuple(_usage_rules(text)) if _USAGE.search(text) else ())

    def allows(self, url: URL) -> bool:
        """Whether a URL of the origin may be fetched."""
        return self.rules is None or bool(self.rules.can_fetch(str(url), PRODUCT))

    def opted_out(self, url: URL) -> bool:
        """Whether what a URL of the origin stands for must not be used in training."""
        if not self.usage:
            return False
        path = plain_path(url.raw_path_qs)
        return not next((rule.is_allowed for rule in self.usage if rule.pattern.matches(path)), True)

    @property
    def crawl_delay_s(self) -> float:
        """Seconds asked for between two requests."""
        delay = None if self.rules is None else self.rules.crawl_delay(PRODUCT)
        return float(delay) if delay is not None and math.isfinite(delay) and delay > 0 else 0.0


def read_robots(status: int | None, content: bytes | DropReason) -> Robots | DropReason:
    """Reads the answer to a request for robots.txt, redirects followed.

    Args:
        status: HTTP status; None when there was no answer.
        content: The body, or why there is none.

    Returns:
        The rules, or why there are none: of a file that is there (2xx) and cannot be read nothing is known, so it
        forbids as a failing server does.

    >>> read_robots(404, DropReason.NOT_FOUND)
    Robots(rules=None, usage=())
    >>> read_robots(500, DropReason.HTTP_ERROR)
    <DropReason.ROBOTS_UNAVAILABLE: 'robots_unavailable'>
    """
    if isinstance(content, bytes):
        return Robots.parse(content)
    if status is None:
        return content  # the host itself cannot be reached
    return Robots() if content in _NO_FILE and not 200 <= status < 300 else DropReason.ROBOTS_UNAVAILABLE


def _to_text(body: bytes) -> str:
    """The text of a file, without a line that is cut off by the limit, and without NUL bytes, which are no text."""
    if len(body) >= MAX_ROBOTS_BYTES:
        body = body[:MAX_ROBOTS_BYTES]
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]
    is_utf16 = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # some editors' "Unicode"
    return body.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace").replace("\0", "")


def _usage_rules(text: str) -> list[UsageRule]:
    """The rules for use in the groups that name this program, or in those for everyone where none does.

    Rules before the first group, which RFC 9309 has no place for, are taken to be for everyone.
    """
    found: dict[str, list[UsageRule]] = {}
    agents, is_list = {"*"}, False
    for name, value in _split_lines(text):
        if name in _AGENT_NAMES:
            agents, is_list = (agents if is_list else set()) | _agent(value), True
            found.update({agent: found.get(agent, []) for agent in agents})
        elif name not in _NO_RULES:
            is_list = False
        if name in USAGE_NAMES and (rule := _usage_rule(value)):
            for agent in agents:
                found.setdefault(agent, []).append(rule)
    ours = dict.fromkeys(found.get(PRODUCT, found.get("*", [])))
    return sorted(ours, key=lambda rule: (-rule.pattern.length, rule.is_allowed))


def _split_lines(text: str) -> Iterator[tuple[str, str]]:
    """Names, in lower case, and values of the lines that have both."""
    for line in text.splitlines():
        if parts := _LINE.match(line):
            yield parts[1].strip().lower(), parts[2].strip()


def _agent(value: str) -> set[str]:
    token = _PRODUCT_TOKEN.match(value.lower())
    return {token[0]} if token else set()


def _usage_rule(value: str) -> UsageRule | None:
    """A rule, for a path or, where none is named, for all; None where it says nothing of training."""
    path, preferences = parts.groups() if (parts := _USAGE_PATH.match(value)) else ("/", value)
    is_allowed = allows_training(preferences)
    return None if is_allowed is None else UsageRule(PathPattern.parse(path), is_allowed)
