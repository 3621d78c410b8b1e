"""What sites say against the use of their files in training, by header lines, meta elements, robots.txt and TDM files.

In: names and values of header lines or meta elements; the body of ``/.well-known/tdmrep.json``. Out: whether use is
forbidden. Where a text leaves room for doubt, its owner is taken to have said no. What is said to all robots counts,
what is said to this program, and what is said by name to robots that do what it does; see docs/extraction.md.
Source: Google, robots meta tag and X-Robots-Tag specifications; DeviantArt's noai and noimageai; W3C TDM Reservation
Protocol, community report 2024-05 (header, file, meta elements, their order); IETF draft-ietf-aipref-attach-05
and -vocab-08 (Content-Usage; labels of earlier drafts too); draft-romm-aipref-contentsignals-00 (Content-Signal).
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, Self

from pipeline.web.path_patterns import PathPattern, plain_path

PRODUCT: Final = "wit400m"  # the name that robots.txt, X-Robots-Tag and meta elements may address
TDM_PATH: Final = "/.well-known/tdmrep.json"
MAX_TDM_BYTES: Final = 512 * 1024
USAGE_NAMES: Final = frozenset({"content-usage", "content-signal"})
# Robots whose work is part of ours: they index the whole web, or images, or collect data for training. What is
# forbidden to one of them by name is forbidden to us; those for news, videos and advertisements do other work.
_PEER_NAMES: Final = (
    "googlebot googlebot-image bingbot msnbot msnbot-media slurp yandex yandexbot yandeximages baiduspider "
    "baiduspider-image duckduckbot applebot petalbot seznambot yeti ccbot gptbot oai-searchbot chatgpt-user "
    "google-extended googleother googleother-image anthropic-ai claudebot claude-web bytespider applebot-extended "
    "amazonbot cohere-ai meta-externalagent facebookbot perplexitybot diffbot omgili omgilibot ai2bot img2dataset "
    "imagesiftbot laiondownloader timpibot webzio-extended pangubot youbot"
)
_PEERS: Final = frozenset(_PEER_NAMES.split())
_ROBOTS_NAMES: Final = _PEERS | {"x-robots-tag", "robots", PRODUCT}
_RESERVATION: Final = "tdm-reservation"
SIGNAL_NAMES: Final = USAGE_NAMES | _ROBOTS_NAMES | {_RESERVATION}  # of header lines and meta elements, in lower case

_NO_TRAINING: Final = frozenset({"noai", "noimageai"})
_NO_INDEX: Final = frozenset({"noindex", "noimageindex", "none"})
_DATE: Final = "unavailable_after"
_US: Final = _PEERS | {PRODUCT, "*", "robots"}  # by name, or among all
# Directives that a name may stand before: "otherbot: nosnippet". Any other name with a colon has a value behind it.
_HARMLESS: Final = (
    "all index follow archive snippet nofollow noarchive nocache nosnippet noodp noydir notranslate indexifembedded "
    "nositelinkssearchbox max-snippet max-image-preview max-video-preview"
)
_KNOWN: Final = _NO_TRAINING | _NO_INDEX | {_DATE, *_HARMLESS.split()}
_MAX_KNOWN_CHARS: Final = 200  # of lines that are kept
_SEPARATORS: Final = re.compile("[,;|\uff0c\uff1b\u3001]")  # only commas are foreseen
_WORD_ENDS: Final = re.compile(r"[\s\"'\u201c\u201d]+")
_NAMED: Final = re.compile(r"\s*([\w.*/-]+)\s*:(.*)", re.DOTALL)
_MORE_OF_A_DATE: Final = re.compile(r"\s*(?:\d|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b)")

_PREFERENCE: Final = re.compile(r"([\w.*-]+)\s*=\s*\??([\w-]+)")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_TRAINING: Final = frozenset({"train-ai", "ai-train", "train-genai", "ai", "genai"})
_EVERYTHING: Final = frozenset({"bots", "all", "tdm"})  # uses that training is one of
_NO: Final = frozenset({"n", "no", "0", "false", "disallow"})
_ANSWERS: Final = _NO | {"y", "yes", "1", "true", "allow"}


def header_opt_out(signals: Iterable[tuple[str, str]], *, noindex: bool, now_s: float | None = None) -> bool:
    """Whether a file's owner forbids its use.

    Args:
        signals: Names and values of all header lines of an answer, or names and contents of a page's meta elements;
            names of any case, others than `SIGNAL_NAMES` are passed over.
        noindex: Whether noindex, noimageindex and a date after which a file is to be forgotten count too.
        now_s: Seconds since the epoch; without it dates are not looked at.

    >>> header_opt_out([("X-Robots-Tag", "otherbot: noai, noindex")], noindex=True)
    False
    >>> header_opt_out([("X-Robots-Tag", "unavailable_after: Wed, 01 Jan 2025 15:00:00 PST, noai")], noindex=False)
    True
    >>> header_opt_out([("Content-Usage", "search=y, train-ai=n")], noindex=False)
    True
    """
    for raw_name, value in signals:
        name = raw_name.lower()
        if name in _ROBOTS_NAMES:
            is_forbidden = any(_forbids(*directive, noindex=noindex, now_s=now_s) for directive in _directives(value))
        elif name == _RESERVATION:
            is_forbidden = _reservation(value) is True
        else:
            is_forbidden = name in USAGE_NAMES and allows_training(value) is False
        if is_forbidden:
            return True
    return False


def tdm_reservation(signals: Iterable[tuple[str, str]]) -> bool | None:
    """What header lines or meta elements say of TDM rights; where they say something, a site's file does not count.

    >>> tdm_reservation([("TDM-Reservation", "0")]), tdm_reservation([("Server", "x")])
    (False, None)
    """
    found = [
        said for name, value in signals if name.lower() == _RESERVATION and (said := _reservation(value)) is not None
    ]
    return any(found) if found else None


def allows_training(preferences: str) -> bool | None:
    """What the value of Content-Usage or Content-Signal says of training; None where it says nothing.

    A use that training is part of decides where training itself is not named. Of several answers a no counts.

    >>> allows_training("train-ai=n, search=y"), allows_training("bots=n, train-ai=y"), allows_training("search=n")
    (False, True, None)
    """
    pairs = [(key.lower(), value.lower()) for key, value in _PREFERENCE.findall(_QUOTED.sub("", preferences))]
    for category in (_TRAINING, _EVERYTHING):
        answers = [value not in _NO for key, value in pairs if key in category and value in _ANSWERS]
        if answers:
            return all(answers)
    return None


class TdmRules(NamedTuple):
    """A site's TDM file: in order, what is meant and whether the rights are reserved."""

    rules: tuple[tuple[PathPattern, bool], ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parses the file; what has not its form says nothing."""
        try:
            content = json.loads(body[:MAX_TDM_BYTES])
        except (ValueError, RecursionError):
            return cls()
        entries = content if isinstance(content, list) else [content]
        return cls(tuple(rule for entry in entries if (rule := _tdm_rule(entry)) is not None))

    def reserves(self, path: str) -> bool:
        """Whether the first rule that means a file reserves the rights in it.

        Args:
            path: Path and query of a URL.
        """
        plain = plain_path(path)
        return next((is_reserved for pattern, is_reserved in self.rules if pattern.matches(plain)), False)


def _tdm_rule(entry: Any) -> tuple[PathPattern, bool] | None:
    if not isinstance(entry, dict):
        return None
    location, said = entry.get("location"), _reservation(str(entry.get(_RESERVATION)))
    return (PathPattern.parse(location), said) if isinstance(location, str) and said is not None else None


def _reservation(value: str) -> bool | None:
    """What a tdm-reservation says; several lines may have been joined by commas."""
    values = {part.strip(" \t\"'").lower() for part in value.split(",")}
    if values & {"1", "true"}:
        return True
    return False if values & {"0", "false"} else None


def _forbids(directive: str, date: str, *, noindex: bool, now_s: float | None) -> bool:
    if directive == _DATE:
        return noindex and now_s is not None and _is_over(date, now_s)
    return directive in _NO_TRAINING or (noindex and directive in _NO_INDEX)


def _directives(tag: str) -> Sequence[tuple[str, str]]:
    """The directives of one line, see `_read_directives`; most lines have been met before."""
    return _known_directives(tag) if len(tag) <= _MAX_KNOWN_CHARS else list(_read_directives(tag))


@functools.lru_cache(maxsize=1024)
def _known_directives(tag: str) -> Sequence[tuple[str, str]]:
    return tuple(_read_directives(tag))


def _read_directives(tag: str) -> Iterator[tuple[str, str]]:
    """The directives of one line that are meant for this program, each with the date behind it, if that is one.

    A name before a directive begins a list for one agent, which lasts to the next such name; without it is for all.
    """
    ours = True
    for part in _split_directives(tag.lower()):
        if (agent := _agent_list(part)) is not None:
            name, part = agent
            ours = name.partition("/")[0] in _US
        if not ours:
            continue
        name, _, value = part.partition(":")
        words = _WORD_ENDS.split(value.strip())
        if name.strip() == _DATE:
            yield _DATE, value
        else:
            words = words[1:]  # the first is what belongs to the name: max-image-preview: none
        yield from ((word, "") for word in (*_WORD_ENDS.split(name), *words))


def _split_directives(tag: str) -> list[str]:
    """A line at its separators, but for the commas of a date."""
    parts: list[str] = []
    for part in _SEPARATORS.split(tag):
        if parts and _DATE in parts[-1] and _MORE_OF_A_DATE.match(part) and _agent_list(part) is None:
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts


def _agent_list(part: str) -> tuple[str, str] | None:
    """The name of an agent and the first of its directives, if that is what a part of a line is."""
    named = _NAMED.match(part)
    if named is None or named[1] in _KNOWN or named[1].startswith("max-"):
        return None
    first = re.split(r"[\s:;]", named[2].strip(), maxsplit=1)[0]
    return (named[1], named[2]) if first in _KNOWN or named[1].partition("/")[0] in _US else None


def _is_over(date: str, now_s: float) -> bool:
    """Whether a date has passed; one that cannot be read has not."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(date.strip().upper())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() <= now_s
        except (ValueError, OverflowError, TypeError):
            continue
    return False
