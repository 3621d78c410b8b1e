"""What lies where on dumps.wikimedia.org and its mirrors: the dates of dumps, the files of one, page views.

In: the folder listing of a wiki and the ``dumpstatus.json`` of a date, as bytes. Out: the files to get, each with its
address below the server's base, and with its size and SHA-1 where the server states them.

Source: https://meta.wikimedia.org/wiki/Data_dumps; https://phabricator.wikimedia.org/T147177 (``dumpstatus.json``);
https://dumps.wikimedia.org/other/pageview_complete/readme.html; https://dumps.wikimedia.org/other/pageviews/readme.html.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from pipeline.base.dump_names import FileKind

DUMPS_URL = "https://dumps.wikimedia.org"
MONTHLY_PATH = "/other/pageview_complete/monthly"
HOURLY_PATH = "/other/pageviews"

_DONE = "done"
# A wiki that is dumped in parts has them joined by a second job; only small wikis have the plain job alone.
_JOBS = ("articlesmultistreamdumprecombine", "articlesmultistreamdump")
_NAME = r"%s-%s-pages-articles-multistream(?P<index>-index)?\d*\.(?:xml|txt)(?:-p\d+p\d+)?\.bz2"
_HOURS = 24
_HOUR = re.compile(r"pageviews-(?P<day>\d{8})-(?P<hour>\d{2})0000\.gz")
_DATE_FOLDER = re.compile(rb'href="(?:[^"]*/)?(\d{8})/?"')


class BadListing(ValueError):
    """What a server lists is not what dumps.wikimedia.org lists."""


class ListedFile(NamedTuple):
    """A file on the server."""

    kind: FileKind
    url: str  # below the base of its kind: begins with "/"
    size: int = 0  # bytes; 0: not stated
    sha1: str = ""  # hexadecimal; "": not stated

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


def parse_dates(listing: bytes) -> list[str]:
    """The dates of a wiki's dumps, newest first, from the page that lists its folders.

    >>> parse_dates(b'<a href="../">..</a> <a href="20260401/">a</a> <a href="/x/20260420/">b</a> <a href="latest/">')
    ['20260420', '20260401']
    """
    return sorted({found.decode() for found in _DATE_FOLDER.findall(listing)}, reverse=True)


def parse_status(text: bytes, *, wiki: str, dump_date: str) -> list[ListedFile]:
    """The dump of a date and the index of its streams, from ``dumpstatus.json``; nothing while they are in the making.

    Args:
        text: The JSON.
        wiki: Name of the database, e.g. "simplewiki".
        dump_date: YYYYMMDD.

    Returns:
        One dump and one index, or as many parts of each; by name.

    Raises:
        BadListing: When it is something else.
    """
    try:
        jobs = json.loads(text)["jobs"]
        finished = [jobs[name]["files"] for name in _JOBS if jobs.get(name, {}).get("status") == _DONE]
        listed = [(file["url"], int(file["size"]), file.get("sha1", "")) for file in (finished or [{}])[0].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BadListing(f"the dumpstatus.json of {wiki} {dump_date} is not one ({problem})") from error
    name = re.compile(_NAME % (re.escape(wiki), dump_date))
    files = []
    for url, size, sha1 in sorted(listed):
        found = name.fullmatch(url.rpartition("/")[2])
        if not found or not url.startswith("/"):
            raise BadListing(f"the dumpstatus.json of {wiki} {dump_date} lists {url!r}, no part of a multistream dump")
        files.append(ListedFile(FileKind.INDEX if found["index"] else FileKind.DUMP, url, size, sha1))
    return files


def months_before(dump_date: str, number: int) -> list[str]:
    """The last months that were over when a dump was made, the latest first, as YYYYMM.

    >>> months_before("20260120", 2)
    ['202512', '202511']
    """
    day, months = _parse_date(dump_date), []
    for _ in range(number):
        day = day.replace(day=1) - timedelta(days=1)
        months.append(f"{day:%Y%m}")
    return months


def monthly_views(month: str) -> ListedFile:
    """The views by people (no crawlers) in a month, of all wikis.

    >>> monthly_views("202603").url
    '/2026/2026-03/pageviews-202603-user.bz2'
    """
    year, number = month[:4], month[4:]
    return ListedFile(FileKind.PAGEVIEWS, f"/{year}/{year}-{number}/pageviews-{month}-user.bz2")


def hourly_views(dump_date: str, *, num_days: int) -> list[ListedFile]:
    """The views of every hour of the days before a dump, of all wikis.

    >>> files = hourly_views("20260401", num_days=1)
    >>> len(files), files[0].url, files[-1].url[-28:]
    (24, '/2026/2026-03/pageviews-20260331-000000.gz', 'pageviews-20260331-230000.gz')
    """
    days = [_parse_date(dump_date) - timedelta(days=back) for back in range(num_days, 0, -1)]
    return [
        ListedFile(FileKind.PAGEVIEWS, f"/{day:%Y}/{day:%Y-%m}/pageviews-{day:%Y%m%d}-{hour:02d}0000.gz")
        for day in days
        for hour in range(_HOURS)
    ]


def name_runs(names: Sequence[str]) -> list[str]:
    """Names of page-view files, those of whole days as days, those of hours in a row as the first and the last.

    >>> hours = [file.name for file in hourly_views("20260401", num_days=2)]
    >>> name_runs([*hours[:24], *hours[30:33], hours[40]])
    ['all of 20260330', '20260331 at 6 to 8', '20260331 at 16']
    >>> name_runs(["pageviews-202603-user.bz2"])
    ['pageviews-202603-user.bz2']
    """
    hours: dict[str, list[int]] = {}
    others = []
    for name in sorted(names):
        if found := _HOUR.fullmatch(name):
            hours.setdefault(found["day"], []).append(int(found["hour"]))
        else:
            others.append(name)
    return [*others, *(run for day, its in hours.items() for run in _name_hours(day, its))]


def _name_hours(day: str, hours: Sequence[int]) -> Iterator[str]:
    if len(hours) == _HOURS:
        yield f"all of {day}"
        return
    starts = [hour for hour in hours if hour - 1 not in hours]
    ends = [hour for hour in hours if hour + 1 not in hours]
    for start, end in zip(starts, ends, strict=True):
        yield f"{day} at {start}" + (f" to {end}" if end > start else "")


def is_date(text: str) -> bool:
    """Whether a text is a day as YYYYMMDD.

    >>> is_date("20260401"), is_date("20260431"), is_date("2026-04-01")
    (True, False, False)
    """
    try:
        return bool(re.fullmatch(r"\d{8}", text) and _parse_date(text))
    except ValueError:
        return False


def _parse_date(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))
