"""Image URLs to checked images, out of web archives instead of the network.

In: archives, each with the table of its images (`index_images`), and URLs. Out: for each URL its `Fetched`, by the
checks that a live answer gets, redirects followed inside the archives. Of several records that answer a URL the first
with an image is taken, in the order of the archives.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.drops import DropReason
from pipeline.base.tables import read_table
from pipeline.fetching.answers import MAX_REDIRECTS, Fetched, Normalize, Store, classify_status
from pipeline.fetching.rules import FetchRules
from pipeline.web.archives.records import IMAGE_INDEX, ArchiveReader, ArchiveRecord
from pipeline.web.optouts import is_opted_out

_NUMBER: Final = "archive"  # column: position of the archive in the list
Row = dict[str, Any]  # of `IMAGE_INDEX`, and the archive's number


def read_archive_index(index_paths: Sequence[str]) -> pa.Table:
    """The image tables of several archives, one after another, with a column for the archive's number."""
    tables = [IMAGE_INDEX.append(pa.field(_NUMBER, pa.int32())).empty_table()]
    for number, path in enumerate(index_paths):
        table = read_table(path)
        tables.append(table.append_column(_NUMBER, pa.repeat(pa.scalar(number, pa.int32()), table.num_rows)))
    return pa.concat_tables(tables)


def find_records(index: pa.Table, urls: Iterable[str]) -> dict[str, Row | None]:
    """Where the images of URLs lie, redirects followed.

    Args:
        index: As `read_archive_index` gives it.
        urls: Canonical image URLs.

    Returns:
        The record that answers each URL, or None.
    """
    answers: dict[str, Row] = {}
    wanted = dict.fromkeys(urls)
    found: dict[str, Row | None] = {}
    ends = {url: url for url in wanted}  # where the redirects of each URL have led so far
    for _ in range(MAX_REDIRECTS + 1):
        unknown = pa.array([end for end in ends.values() if end not in answers], pa.string())
        answers |= _first_answers(index.filter(pc.is_in(index["canonical_url"], unknown)))
        found |= {url: answers.get(end) for url, end in ends.items()}
        ends = {url: row["location"] for url in ends if (row := found[url]) and row["location"]}
    return found | dict.fromkeys(ends)


def fetch_archived(
    urls: Iterable[str],
    rules: FetchRules,
    *,
    archives: Sequence[str],
    index: pa.Table,
    normalize: Normalize,
    store: Store,
) -> None:
    """Reads the images of URLs, archive by archive, and hands each to `store`.

    Args:
        urls: Distinct canonical URLs.
        rules: Opt-outs and the byte cap.
        archives: Paths, in the order of their numbers in `index`.
        index: As `read_archive_index` gives it.
        normalize: Checks the bytes of an image.
        store: Takes a URL and what came of it.
    """
    places: dict[int, dict[tuple[str, int], list[str]]] = {}
    for url, row in find_records(index, urls).items():
        if row is None:
            store(url, Fetched(DropReason.NOT_IN_ARCHIVE))
        else:
            records = places.setdefault(row[_NUMBER], {})
            records.setdefault((row["member"], row["offset"]), []).append(url)
    for number, records in sorted(places.items()):
        with ArchiveReader(archives[number]) as reader:
            for (member, offset), record_urls in sorted(records.items()):
                fetched = check_record(reader.open_record(member, offset), rules, normalize)
                for url in record_urls:
                    store(url, fetched)


def check_record(record: ArchiveRecord, rules: FetchRules, normalize: Normalize) -> Fetched:
    """What came of the answer in a record."""
    if record.status is not None and (refusal := classify_status(record.status, can_wait=False)):
        return Fetched(refusal, record.status)
    reservation = next(iter(record.header_values("tdm-reservation")), None)
    if is_opted_out(record.header_values("x-robots-tag"), reservation, noindex=rules.respect_noindex):
        return Fetched(DropReason.OPTED_OUT, record.status)
    body = record.payload(rules.max_bytes)
    return Fetched(body if isinstance(body, DropReason) else normalize(body), record.status)


def _first_answers(rows: pa.Table) -> dict[str, Row]:
    """The row to take for each URL: the first image, else the first redirect, else the first refusal."""
    best: dict[str, Row] = {}
    for row in sorted(rows.to_pylist(), key=_rank):
        best.setdefault(row["canonical_url"], row)
    return best


def _rank(row: Row) -> int:
    """Smaller is better; rows of one rank stay in the order of the archives."""
    if row["location"]:
        return 1
    return 0 if row["status"] in (None, 200) else 2
