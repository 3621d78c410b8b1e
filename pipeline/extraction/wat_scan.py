"""Blocks of a WAT ► pages, by compiled code as far as they are written in the usual way.

In: inflated bytes, some whole records and a part of one. Out: what `parse_wat` says of each whole record, in order, and
where the next begins. Machine code finds the records and what is wanted in their JSON, and writes it down as lines
(`vocab.kernels.wat_records`); here they become candidates. A record in which anything is unusual goes to `parse_wat`.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.base.drops import DropReason
from pipeline.extraction.candidates import Candidate, Page
from pipeline.extraction.image_references import PLACEHOLDER_STARTS, is_placeholder
from pipeline.extraction.page_metadata import NAMES, NO_CANDIDATE, find_card_images, page_resolver, resolve_find
from pipeline.extraction.pages import PageRules
from pipeline.extraction.wat import PLAIN_CHARACTERS, make_candidate, parse_wat, read_image
from pipeline.extraction.wat_page import Link, unescape
from pipeline.web.archives.streaming import USUAL_NAMES
from pipeline.web.optouts import header_opt_out
from pipeline.web.urls import UrlResolver
from vocab.kernels import wat_records as kernel

Outcome = Page | DropReason | None

_MAX_RECORDS: Final = 4096  # of one call
_MAX_IMAGES: Final = 4096  # of a page; one that has more is read by `parse_wat`
_MAX_SIGNALS: Final = 256
_LINE_BYTES: Final = 4 << 20
_NUM_TEXTS: Final = 10

_FIELDS: Final = kernel.make_names(USUAL_NAMES)
_NAMES: Final = kernel.make_names(NAMES)
_PLAIN: Final = np.isin(np.arange(256), np.frombuffer(PLAIN_CHARACTERS.encode(), np.uint8)).astype(np.uint8)
_STARTS: Final = np.frombuffer("".join(sorted(PLACEHOLDER_STARTS)).encode(), np.uint8)
_NO_RESOLVER: Final = UrlResolver("")  # for pages that need none
_LINK_DECODER: Final = msgspec.json.Decoder(Link)


class WatScanner:
    """Reads blocks, into the same memory each time."""

    def __init__(self, rules: PageRules) -> None:
        self._rules = rules
        self._data: tuple[bytearray, npt.NDArray[np.uint8]] | None = None
        self._records = np.empty((_MAX_RECORDS, kernel.NUM_COLUMNS), np.int64)
        self._lines = np.empty(_LINE_BYTES, np.uint8)
        self._images = np.empty((_MAX_IMAGES, kernel.NUM_SCRATCH), np.int64)
        self._signals = np.empty((_MAX_SIGNALS, kernel.NUM_SCRATCH), np.int64)
        self._texts = np.empty((_NUM_TEXTS, 3), np.int64)
        self._seen = np.empty(max(table.shape[0] * table.shape[1] for table in (_FIELDS, _NAMES)), np.uint8)
        self._done = np.empty(3, np.int64)

    def scan(self, data: bytearray, first: int, last: int) -> tuple[list[Outcome], int]:
        """Reads the whole records of a block.

        Args:
            data: The block.
            first: Where the first record begins.
            last: Where the block ends.

        Returns:
            What each record says, and where the first one begins that is not read.
        """
        if self._data is None or self._data[0] is not data:
            self._data = (data, np.frombuffer(data, np.uint8))
        kernel.read_records(
            self._data[1], first, last, int(self._rules.all_texts), _FIELDS, _NAMES, _PLAIN, _STARTS, self._records,
            self._lines, self._images, self._signals, self._texts, self._seen, self._done,
        )  # fmt: skip
        num_records, behind, line_bytes = self._done.tolist()
        return self._make_outcomes(data, self._records[:num_records].tolist(), line_bytes), behind

    def _make_outcomes(self, data: bytearray, records: Sequence[list[int]], line_bytes: int) -> list[Outcome]:
        try:
            lines = str(self._lines[:line_bytes].data, "utf-8").split("\n")
        except UnicodeDecodeError:
            return [
                parse_wat(bytes(data[record[kernel.FIRST] : record[kernel.BEHIND]]), self._rules) for record in records
            ]
        outcomes: list[Outcome] = []
        at = 0
        for verdict, first, behind, *numbers in records:
            if verdict == kernel.NOTHING:
                outcomes.append(None)
            elif verdict == kernel.PAGE:
                outcomes.append(_make_page(lines, at, numbers, self._rules))
                at += 2 + 2 * sum(numbers[:3])
            else:
                outcomes.append(parse_wat(bytes(data[first:behind]), self._rules))
        return outcomes


def _make_page(lines: list[str], at: int, numbers: Sequence[int], rules: PageRules) -> Page | DropReason:
    """Makes a page of its lines; see `vocab.kernels.wat_records.read_records`.

    Args:
        lines: Those of many pages.
        at: Where those of this one begin.
        numbers: Of its meta elements, header lines, images with texts, those among them that take a closer look, and
            images without.
        rules: How pages are read.
    """
    num_metas, num_headers, num_images, num_long, num_bare = numbers
    url, base = lines[at], lines[at + 1]
    first_header = at + 2 + 2 * num_metas
    first_image = first_header + 2 * num_headers
    behind = first_image + 2 * num_images
    metas = [(lines[place], unescape(lines[place + 1])) for place in range(at + 2, first_header, 2)]
    if num_headers:
        metas += zip(lines[first_header:first_image:2], lines[first_header + 1 : first_image : 2], strict=True)
    if metas and header_opt_out(metas, noindex=rules.noindex):
        return DropReason.OPTED_OUT
    addresses, texts = lines[first_image:behind:2], lines[first_image + 1 : behind : 2]
    cards = list(find_card_images(metas))
    is_plain = not num_long and not any(card.text for card in cards)
    resolver = _NO_RESOLVER if is_plain else page_resolver(url=url, base=unescape(base))
    if num_long:
        candidates = list(_read_images(addresses, texts, resolver, rules))
    else:
        candidates = [*map(make_candidate, zip(addresses, texts, repeat("alt")))]
    candidates += [resolve_find(card, resolver.resolve) for card in cards]
    candidates += [NO_CANDIDATE] * num_bare
    return Page(url, "", candidates)


def _read_images(
    addresses: Sequence[str], texts: Sequence[str], resolver: UrlResolver, rules: PageRules
) -> Iterator[Candidate]:
    """The candidates of images of which some take a closer look."""
    for address, text in zip(addresses, texts, strict=True):
        if not address:
            yield from read_image(_LINK_DECODER.decode(text), resolver, rules)
        elif address[0] == kernel.PLACEHOLDER_MARK:
            yield Candidate(_judge_placeholder(address[1:]), text, "alt")
        else:
            yield make_candidate((address, text, "alt"))


def _judge_placeholder(address: str) -> str | DropReason:
    return DropReason.PLACEHOLDER if is_placeholder(address) else address


def load_scanner(rules: PageRules) -> WatScanner | None:
    """A reader of blocks, where machine code can be had; it pays from some hundred pages on."""
    return None if kernel.read_records.find_obstacle() else WatScanner(rules)
