"""Image URLs to checked images, out of web archives instead of the network.

In: URLs, and where in which archives their records lie (`pipeline.fetching.lookup`). Out: for each URL its `Fetched`,
by the checks that a live answer gets.
"""

import time
from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.base.drops import DropReason
from pipeline.fetching.answers import Fetched, Normalize, Store, classify_status
from pipeline.fetching.lookup import hash_urls
from pipeline.fetching.rules import FetchRules
from pipeline.web.archives.records import ArchiveReader, ArchiveRecord
from pipeline.web.optouts import header_opt_out


def fetch_archived(
    urls: Sequence[str],
    rules: FetchRules,
    *,
    archives: Mapping[str, str],
    records: pa.Table,
    normalize: Normalize,
    store: Store,
) -> None:
    """Reads the images of URLs, archive by archive, and hands each to `store`.

    Args:
        urls: Distinct canonical URLs.
        rules: Opt-outs and the byte cap.
        archives: Path of each archive, by its name.
        records: Where the images lie (`RECORDS`); a URL that has no row is in no archive.
        normalize: Checks the bytes of an image.
        store: Takes a URL and what came of it.
    """
    waiting = dict(zip(hash_urls(pa.array(urls, pa.string())).to_pylist(), urls, strict=True))
    places: dict[str, dict[tuple[str, int], list[str]]] = {}
    for row in records.to_pylist():
        url = waiting.pop(row["url"])
        places.setdefault(row["archive"], {}).setdefault((row["member"], row["offset"]), []).append(url)
    for url in waiting.values():
        store(url, Fetched(DropReason.NOT_IN_ARCHIVE))
    for name, its_records in sorted(places.items()):
        with ArchiveReader(archives[name]) as reader:
            for (member, offset), record_urls in sorted(its_records.items()):
                fetched = check_record(reader.open_record(member, offset), rules, normalize)
                for url in record_urls:
                    store(url, fetched)


def check_record(record: ArchiveRecord, rules: FetchRules, normalize: Normalize) -> Fetched:
    """What came of the answer in a record."""
    if record.status is not None and (refusal := classify_status(record.status, can_wait=False)):
        return Fetched(refusal, record.status)
    if header_opt_out(record.headers, noindex=rules.respect_noindex, now_s=time.time()):
        return Fetched(DropReason.OPTED_OUT, record.status)
    body = record.payload(rules.max_bytes)
    return Fetched(body if isinstance(body, DropReason) else normalize(body), record.status)
