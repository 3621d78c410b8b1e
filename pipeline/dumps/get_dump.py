"""A wiki's dump, the index of its streams and page views, from dumps.wikimedia.org or a mirror, into one folder.

Which files these are is decided once and written to ``WIKI-DATE.json`` in the folder before the first of them is
asked for. So a run that was killed goes on with the same files, however old they are by then, and a run that finds
them all asks nobody.
"""

import os
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pipeline.base.dump_names import PLAN_NAME, FileKind
from pipeline.base.files import read_json, write_json
from pipeline.base.options import check_options, option
from pipeline.dumps.downloads import Client, Manners, NotThere, OtherSize
from pipeline.dumps.partial_files import Download, DownloadFailed, bytes_here, is_there
from pipeline.dumps.server_layout import (
    DUMPS_URL,
    HOURLY_PATH,
    MONTHLY_PATH,
    ListedFile,
    hourly_views,
    is_date,
    monthly_views,
    months_before,
    name_runs,
    parse_dates,
    parse_status,
)
from vocab.kernels.compressed import read_chunks

LATEST = "latest"
_ENDS = ("wiki", "wiktionary", "wikibooks", "wikinews", "wikiquote", "wikisource", "wikiversity", "wikivoyage")
_LATE_MONTHS = 2  # a month's page views come out some days after its end


@dataclass(kw_only=True)
class GetDump:
    """Downloads a wiki's dump, the index of its streams and page views."""

    name: ClassVar[str] = "get-dump"

    wiki: str = option("simplewiki", "Wiki, by the name of its database: enwiki, dewiki, enwiktionary…")
    date: str = option("", f"Dump, YYYYMMDD, or {LATEST} [the one in the folder, else the newest that is finished].")
    views: Literal["monthly", "hourly", "none"] = option("monthly", "Page-view files to get.")
    num_views: int = option(1, "Months of page views; of hourly files, days (24 files each).", minimum=1)
    base_url: str = option(DUMPS_URL, "Server of the dumps: this one or a mirror of it.")
    views_url: str = option("", f"Folder of the page views [BASE_URL{MONTHLY_PATH} or BASE_URL{HOURLY_PATH}].")
    output: str = option("", "Folder to write.", under_data="dumps")
    contact: str = option("", "Your e-mail or URL, for the user agent; Wikimedia may refuse who gives none.")
    connections: int = option(2, "Files under way at a time; Wikimedia wants few.", minimum=1, maximum=4)
    retries: int = option(5, "Tries in a row, after the first, that bring nothing new.", minimum=0)
    backoff_s: float = option(1.0, "Pause before the second try; doubled for each further one.", minimum=0)
    timeout_s: float = option(60.0, "Longest silence of a server.", minimum=0.1)
    max_wait_s: float = option(600.0, "Longest pause granted to a server that asks for one.", minimum=0)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        check_options(self)
        if not re.fullmatch("[a-z0-9_]+", self.wiki):
            raise ValueError(f"get-dump: wiki must be the name of a database, like simplewiki, not {self.wiki!r}")
        if self.date not in ("", LATEST) and not is_date(self.date):
            raise ValueError(f"get-dump: date must be YYYYMMDD or {LATEST}, not {self.date!r}")
        for name, url in (("base-url", self.base_url), ("views-url", self.views_url)):
            if url and not re.match(r"https?://[^/]", url):
                raise ValueError(f"get-dump: {name} must be an http or https URL, not {url!r}")
        if "://" in self.output:
            raise ValueError(f"get-dump: output must be a folder of this machine, not {self.output!r}")

    @property
    def manners(self) -> Manners:
        """How servers are asked."""
        return Manners(
            contact=self.contact,
            connections=self.connections,
            timeout_s=self.timeout_s,
            retries=self.retries,
            backoff_s=self.backoff_s,
            max_wait_s=self.max_wait_s,
        )

    def url_of(self, file: ListedFile) -> str:
        """The whole address of a file."""
        base = self.base_url
        if file.kind is FileKind.PAGEVIEWS:
            path = HOURLY_PATH if self.views == "hourly" else MONTHLY_PATH
            base = self.views_url or base.rstrip("/") + path
        return base.rstrip("/") + file.url


class Plan(NamedTuple):
    """The files of a dump."""

    wiki: str
    date: str
    views: str
    num_views: int
    files: tuple[ListedFile, ...]
    missing: tuple[str, ...] = ()  # names of page-view files that the server has not, or has without a row

    @classmethod
    def read(cls, path: str) -> Self:
        """Reads a plan.

        Raises:
            ValueError: When the file is no plan.
        """
        try:
            content: dict[str, Any] = read_json(path)
            files = tuple(ListedFile(FileKind(row.pop("kind")), **row) for row in content.pop("files"))
            return cls(files=files, missing=tuple(content.pop("missing", ())), **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: not the list of a dump's files ({error}); remove it") from error

    def write(self, path: str) -> None:
        """Writes the plan."""
        content = self._asdict() | {"files": [file._asdict() for file in self.files]}
        write_json(path, content, sort_keys=False)

    def paths(self, kind: FileKind, folder: str) -> list[str]:
        """Where its files of a kind are."""
        return [os.path.join(folder, file.name) for file in self.files if file.kind is kind]

    def downloads(self, options: GetDump) -> list[Download]:
        """Its files as downloads."""
        return [
            Download(
                options.url_of(file),
                os.path.join(options.output, file.name),
                file.size,
                f"sha1:{file.sha1}" if file.sha1 else "",
            )
            for file in self.files
        ]

    def without(self, names: Collection[str]) -> Self:
        """The plan without some page-view files, which are missing.

        Raises:
            NotThere: When there were page views, and none is left.
        """
        left = tuple(file for file in self.files if file.name not in names)
        missing = tuple(sorted({*self.missing, *names}))
        _check_some_views(left, missing)
        return self._replace(files=left, missing=missing)

    def warning(self) -> str:
        """What is missing of the page views, in a sentence; "" when nothing is."""
        if not self.missing:
            return ""
        wanted = len(self.missing) + len(self.paths(FileKind.PAGEVIEWS, ""))
        return (
            f"{len(self.missing)} of {wanted} page-view files are not on the server, or are empty: "
            f"{', '.join(name_runs(self.missing))}; their views do not count"
        )

    def build_flags(self, folder: str) -> list[str]:
        """The flags by which build-vocab takes the files; an index goes with a dump of one file."""
        dumps, indexes, views = (self.paths(kind, folder) for kind in FileKind)
        flags = ["--dump", *dumps]
        if len(dumps) == 1:
            flags += ["--index", *indexes[:1]]
        return [*flags, "--pageviews", *views] if views else flags


def plan_dump(options: GetDump) -> Plan:
    """Decides which files to get, or reads what an earlier run decided.

    Raises:
        DownloadFailed: When the server has no such dump, or none that is finished.
    """
    date = options.date or _newest_planned(options)
    path = os.path.join(options.output, f"{options.wiki}-{date}.json")
    if is_date(date) and os.path.exists(path):
        plan = Plan.read(path)
        if (plan.views, plan.num_views) == (options.views, options.num_views):
            return plan
    client = Client(options.manners)
    date, files = _find_dump(client, options, date)
    views, missing = _find_views(client, options, date)
    plan = Plan(options.wiki, date, options.views, options.num_views, (*files, *views), tuple(missing))
    plan.write(_plan_path(plan, options))
    return plan


def _plan_path(plan: Plan, options: GetDump) -> str:
    return os.path.join(options.output, f"{plan.wiki}-{plan.date}.json")


def get_files(plan: Plan, options: GetDump) -> Plan:
    """Gets the files of a plan that are not there.

    Returns:
        The plan, without page-view files that the server turned out not to have, or to have without a row.

    Raises:
        DownloadFailed: When one of the others cannot be had, or there is no room for them.
    """
    missing = [download for download in plan.downloads(options) if not is_there(download)]
    if not missing:
        return plan
    needed = sum(max(0, download.size - bytes_here(download)) for download in missing)
    free = shutil.disk_usage(options.output).free
    if needed > free:
        raise DownloadFailed(f"not enough room in {options.output}: it takes {needed:,} bytes, {free:,} are free")
    views = set(plan.paths(FileKind.PAGEVIEWS, options.output))
    may_lack = {download for download in missing if download.path in views}
    try:
        lacking = Client(options.manners).get_all(missing, may_lack=may_lack)
    except OtherSize as error:
        raise DownloadFailed(
            f"{error}; to begin anew with what is there now, remove {_plan_path(plan, options)}"
        ) from error
    empty = [download for download in may_lack if download not in lacking and _holds_nothing(download.path)]
    if lacking or empty:
        plan = plan.without({os.path.basename(download.path) for download in [*lacking, *empty]})
        plan.write(_plan_path(plan, options))
    return plan


def _holds_nothing(path: str) -> bool:
    """Whether a compressed file is whole and has no byte in it."""
    with open(path, "rb") as file:
        try:
            return not any(read_chunks(file))
        except OSError:  # it is damaged, which who reads it says
            return False


def _newest_planned(options: GetDump) -> str:
    names = os.listdir(options.output) if os.path.isdir(options.output) else []
    found = filter(None, map(PLAN_NAME.fullmatch, names))
    return max((match["date"] for match in found if match["wiki"] == options.wiki), default=LATEST)


def _find_dump(client: Client, options: GetDump, date: str) -> tuple[str, Sequence[ListedFile]]:
    """The date of a dump and its files."""
    folder = f"{options.base_url.rstrip('/')}/{options.wiki}/"
    dates = _listed_dates(client, options, folder) if date == LATEST else [date]
    for day in dates:
        try:
            status = client.read(f"{folder}{day}/dumpstatus.json")
        except NotThere:
            continue
        if files := parse_status(status, wiki=options.wiki, dump_date=day):
            return day, files
    listed = ", ".join(_listed_dates(client, options, folder)) or "none"
    wanted = "" if date == LATEST else f" of {date}"
    raise NotThere(f"{folder} has no finished multistream dump{wanted}; it lists: {listed}")


def _listed_dates(client: Client, options: GetDump, folder: str) -> list[str]:
    try:
        return parse_dates(client.read(folder))
    except NotThere as error:
        hint = "" if options.wiki.endswith(_ENDS) else f"; did you mean {options.wiki}wiki?"
        raise NotThere(f"{options.base_url} has no wiki {options.wiki} ({error}){hint}") from error


def _find_views(client: Client, options: GetDump, date: str) -> tuple[list[ListedFile], list[str]]:
    """The page views before a dump, with their sizes, and the names of those among them that are missing."""
    if options.views == "none":
        return [], []
    found: list[ListedFile] = []
    missing: list[str] = []
    if options.views == "hourly":
        wanted, number = hourly_views(date, num_days=options.num_views), None
    else:
        months = months_before(date, options.num_views + _LATE_MONTHS)
        wanted, number = [monthly_views(month) for month in months], options.num_views
    for file in wanted:
        try:
            found.append(_with_size(client, options, file))
        except NotThere:
            if found or number is None:  # before that, a month is not out yet
                missing.append(file.name)
        if len(found) == number:
            break
    _check_some_views(found, missing or [file.name for file in wanted])
    return found, missing


def _check_some_views(files: Sequence[ListedFile], missing: Sequence[str]) -> None:
    if missing and not any(file.kind is FileKind.PAGEVIEWS for file in files):
        raise NotThere(
            f"there are no page views of this time ({', '.join(name_runs(missing))}); "
            "take others by --views, or another --date"
        )


def _with_size(client: Client, options: GetDump, file: ListedFile) -> ListedFile:
    return file._replace(size=client.size(options.url_of(file)))
