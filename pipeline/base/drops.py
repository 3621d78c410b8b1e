"""Why something was left out, and the counting of it.

What may refuse returns a `DropReason`; a unit of work (a file) returns its `Counts`, which `pipeline.steps` adds up.
Keys of counts are ``THING/in``, ``THING/kept`` and
``THING/drop/REASON``, and for every thing ``in = kept + sum(drops)``; any other key is information.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from enum import StrEnum

Counts = dict[str, int]


class DropReason(StrEnum):
    """Every reason a stage may give, stage by stage."""

    # build-vocab: pages and streams of a dump (`vocab.dump.RefusalReason`), rows of page views
    REDIRECT = "redirect"
    OTHER_NAMESPACE = "other_namespace"
    NOT_WIKITEXT = "not_wikitext"
    BAD_PAGE = "bad_page"
    PAGE_TOO_LARGE = "page_too_large"
    CUT_PAGE = "cut_page"
    DAMAGED_STREAM = "damaged_stream"
    BAD_ROW = "bad_row"  # also of a table of pairs: not as many fields as columns, or no JSON object
    # import-vocab: rows of own lists (`vocab.imports.Fate`)
    SAME_QUERY = "same_query"
    NO_TOKEN = "no_token"
    QUERY_TOO_LONG = "query_too_long"
    OVER_BUDGET = "over_budget"
    # extract-pairs: listed files, archives and pages
    UNREADABLE_FILE = "unreadable_file"
    CUT_RECORD = "cut_record"  # cut off, corrupt or too large
    NOT_HTML = "not_html"
    NOT_OK = "not_ok"  # an HTTP status other than 200
    UNREAD_ENCODING = "unread_encoding"  # hz-gb-2312, iso-2022-kr…: no browser decodes it
    CUT_JSON = "cut_json"
    BAD_JSON = "bad_json"  # of a JSON-LD script, which costs its page nothing else
    REFUSED_ROW = "refused_row"  # of a table: --where does not hold for it
    # extract-pairs: candidates
    NO_TEXT = "no_text"
    NO_IMAGE_URL = "no_image_url"
    DATA_URL = "data_url"
    PLACEHOLDER = "placeholder"  # by its name: blank.gif, loading.svg…
    URL_TOO_LONG = "url_too_long"
    REFUSED_SUFFIX = "refused_suffix"
    BLOCKED_DOMAIN = "blocked_domain"
    TEXT_TOO_SHORT = "text_too_short"
    TEXT_TOO_LONG = "text_too_long"
    TOO_FEW_WORDS = "too_few_words"
    FILE_NAME = "file_name"  # the text is one, or an address
    TOO_FEW_LETTERS = "too_few_letters"
    BLOCKED_URL = "blocked_url"
    BLOCKED_TEXT = "blocked_text"
    OTHER_LANGUAGE = "other_language"  # of a text, or of a page
    REPEATED_TEXT = "repeated_text"  # over the cap on pairs of one text; also of write-shards
    NEAR_DUPLICATE = "near_duplicate"  # of a text; in write-shards of a picture
    # match-pairs, balance-pairs
    NO_QUERY = "no_query"
    OVER_CAP = "over_cap"
    KNOWN_PAIR = "known_pair"  # an earlier crawl had it
    FETCHED_BEFORE = "fetched_before"  # planned for fetching in an earlier round
    # fetch-images: the plan, the URL and its host
    DUPLICATE_PAIR = "duplicate_pair"  # also of write-shards: fetched in two rounds
    BLOCKED = "blocked"  # listed by `block`, as what is to be left out; also of write-shards
    BAD_URL = "bad_url"  # not http(s), credentials in it, no host, or a port of another service
    PRIVATE_ADDRESS = "private_address"
    ROBOTS_DISALLOW = "robots_disallow"
    ROBOTS_UNAVAILABLE = "robots_unavailable"  # RFC 9309: a server error forbids everything
    CRAWL_DELAY = "crawl_delay"  # asks for longer pauses than `max_wait_s`
    HOST_DOWN = "host_down"  # skipped after too many failures in a row
    HOST_REFUSES = "host_refuses"  # skipped after answering everything with 401, 403 or a page
    HOST_TIME = "host_time"  # skipped when the time for one host was over
    # fetch-images: the answer
    UNRESOLVED = "unresolved"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"  # silence
    TOO_SLOW = "too_slow"  # data, but not all of it before the deadline
    BROKEN_ANSWER = "broken_answer"  # not HTTP, or cut off
    NOT_FOUND = "not_found"
    HTTP_REFUSED = "http_refused"  # 4xx but 404 and 410
    HTTP_ERROR = "http_error"  # 5xx
    THROTTLED = "throttled"  # 429, or 503 with Retry-After
    BAD_REDIRECT = "bad_redirect"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_MANY_BYTES = "too_many_bytes"
    BAD_ENCODING = "bad_encoding"
    OPTED_OUT = "opted_out"  # X-Robots-Tag, tdm-reservation
    OPTED_OUT_EMBEDDED = "opted_out_embedded"  # IPTC/PLUS Data Mining field inside the image
    NOT_IN_ARCHIVE = "not_in_archive"
    INTERNAL_ERROR = "internal_error"  # the fetcher's own fault; the URL is in the log
    # fetch-images: the image
    UNKNOWN_FORMAT = "unknown_format"
    BROKEN_IMAGE = "broken_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_COSTLY = "too_costly"  # to decode: memory, or work, out of all proportion to its bytes
    TOO_SMALL = "too_small"
    TOO_NARROW = "too_narrow"
    CHANGED_IMAGE = "changed_image"  # not the one that a list names by its digest
    # write-shards
    CONTAMINATED = "contaminated"  # an image of an evaluation set
    DUPLICATE_SAMPLE = "duplicate_sample"
    DUPLICATE_IMAGE = "duplicate_image"
    NO_SCORE = "no_score"  # not among the scores that are filtered by
    LOW_SCORE = "low_score"
    # subset: samples; ids and queries of the lists
    NOT_LISTED = "not_listed"
    NOT_THERE = "not_there"


class LostRows(RuntimeError):
    """A stage's counts do not add up: rows were lost or doubled on the way."""


def drop_counts(thing: str, kept: int, drops: Mapping[str, int]) -> Counts:
    """The counts of one thing, conserved by construction.

    >>> drop_counts("pairs", 3, {"no_query": 2, "over_cap": 0})
    {'pairs/in': 5, 'pairs/kept': 3, 'pairs/drop/no_query': 2}
    """
    counts = {f"{thing}/in": kept + sum(drops.values()), f"{thing}/kept": kept}
    return counts | {f"{thing}/drop/{reason}": number for reason, number in sorted(drops.items()) if number}


def add_counts(*many: Mapping[str, int]) -> Counts:
    """The sum of several counts, name by name.

    >>> add_counts({"a": 1}, {"a": 2, "b": 3})
    {'a': 3, 'b': 3}
    """
    total: Counter[str] = Counter()
    for counts in many:
        total.update(counts)
    return dict(sorted(total.items()))


def check_counts(counts: Mapping[str, int]) -> None:
    """Raises `LostRows` unless in = kept + sum(drops) for everything that was counted in."""
    out: dict[str, int] = defaultdict(int)
    for name, number in counts.items():
        thing, _, kind = name.partition("/")
        if kind == "kept" or kind.startswith("drop/"):
            out[thing] += number
    for thing in out | {name.removesuffix("/in"): 0 for name in counts if name.endswith("/in")}:
        if (entered := counts.get(f"{thing}/in", 0)) != out[thing]:
            raise LostRows(f"{thing}: {entered} came in, but kept and dropped are {out[thing]}")
