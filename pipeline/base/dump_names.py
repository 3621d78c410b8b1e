"""What the files in a folder of dumps are, told by the names that Wikimedia and get-dump give them.

In: paths. Out: which are parts of a dump, indexes of its streams, page views, and get-dump's lists of files; for the
list of a dump, whether all it names is there. What has another name is taken for a dump, and looked at when it is read.

Source: https://meta.wikimedia.org/wiki/Data_dumps; https://dumps.wikimedia.org/other/pageview_complete/readme.html.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.base import files

PLAN_NAME: Final = re.compile(r"(?P<wiki>[a-z0-9_]+)-(?P<date>\d{8})\.json")
_DUMP_NAME: Final = re.compile(
    r"(?P<wiki>[a-z0-9_]+)-(?P<date>\d{8}|latest)-(?P<form>pages-[a-z-]*?)(?P<index>-index)?(?P<part>\d+)?"
    r"\.(?:xml|txt)(?:-p\d+p\d+)?(?P<packing>\.[a-z0-9]+)?"
)
_VIEWS_NAME: Final = re.compile(r"page(?:views|counts)-(?P<date>\d{6,8})-(?P<hour>\d{6})?.*")
_PACKED: Final = ".bz2"  # what the offsets of an index are of


class FileKind(StrEnum):
    """What a file is for."""

    DUMP = "dump"
    INDEX = "index"
    PAGEVIEWS = "pageviews"


@dataclass(frozen=True)
class GivenFiles:
    """The files of one dump.

    Attributes:
        dumps: The dump, or its parts.
        index: Of the streams of a dump of one file; "": none is known.
        views: Page views.
    """

    dumps: list[str]
    index: str
    views: list[str]


class _Name(NamedTuple):
    """What the name of a dump says."""

    of: str  # wiki and date
    form: str  # which pages, and whether it is a part
    part: str
    packing: str


def sort_files(paths: Sequence[str], *, wants_views: bool = True) -> GivenFiles:
    """Tells what each of some files is; where get-dump's list is among them, it says which page views belong there.

    Args:
        paths: Of the files.
        wants_views: Whether page views are looked for.

    Raises:
        ValueError: When none is a dump, they are of two, or hold one twice, or get-dump has not finished.
    """
    by_kind: dict[str, list[str]] = {}
    for path in paths:
        by_kind.setdefault(_kind_of(files.basename(path)), []).append(path)
    dumps, indexes, views = (by_kind.get(kind, []) for kind in FileKind)
    if not dumps:
        raise ValueError(f"no dump among {_list(paths)}")
    of = _check_one_dump(dumps)
    plans = [path for path in by_kind.get("plan", []) if files.basename(path) == f"{of}.json"]
    views = views if wants_views else []
    for plan in plans:
        listed = _listed(plan, {FileKind.DUMP, *([FileKind.PAGEVIEWS] if wants_views else [])})
        if missing := sorted(listed - set(map(files.basename, [*dumps, *views]))):
            raise ValueError(f"get-dump has not finished: {_list(missing)} of {plan} is not there; run it again")
        views = [path for path in views if files.basename(path) in listed]
    if not plans and len({_span(path) for path in views}) > 1:
        raise ValueError(f"page views of different spans of time, which count twice ({_list(views)}): name one kind")
    return GivenFiles(dumps, _index_of(dumps, indexes), views)


def find_date(name: str) -> str:
    """The day or the month that a file is of, by its name; "" where that says nothing.

    >>> find_date("enwiki-20260501-pages-articles-multistream.xml.bz2"), find_date("pageviews-20260430-010000.gz")
    ('2026-05-01', '2026-04-30')
    >>> find_date("pageviews-202604-user.bz2"), find_date("enwiki-latest-pages-articles.xml.bz2"), find_date("a.xml")
    ('2026-04', 'latest', '')
    """
    found = _DUMP_NAME.fullmatch(name) or _VIEWS_NAME.fullmatch(name)
    digits = found["date"] if found else ""
    return "-".join(filter(None, (digits[:4], digits[4:6], digits[6:]))) if digits.isdigit() else digits


def _kind_of(name: str) -> str:
    if PLAN_NAME.fullmatch(name):
        return "plan"
    if _VIEWS_NAME.fullmatch(name):
        return FileKind.PAGEVIEWS
    found = _DUMP_NAME.fullmatch(name)
    return FileKind.INDEX if found and found["index"] else FileKind.DUMP


def _parse_name(path: str) -> _Name | None:
    found = _DUMP_NAME.fullmatch(files.basename(path))
    if not found:
        return None
    part = found["part"] or ""
    form = found["form"] + (" in parts" if part else "")
    return _Name(f"{found['wiki']}-{found['date']}", form, part, found["packing"] or "")


def _check_one_dump(dumps: Sequence[str]) -> str:
    """Checks that files are, by their names, those of one dump; gives its wiki and date, or "".

    Raises:
        ValueError: When they are not.
    """
    named = {path: name for path in dumps if (name := _parse_name(path))}
    if len(every := sorted({name.of for name in named.values()})) > 1:
        raise ValueError(f"these are the dumps of {' and '.join(every)}: give the files of one")
    first: dict[str, str] = {}
    for path, name in named.items():
        first.setdefault(name.form, path)
        stem = path.removesuffix(name.packing) if name.packing else path
        if (other := first.setdefault(stem, path)) != path:
            raise ValueError(f"one dump twice, {other} and {path}: give one of them")
    forms = sorted({name.form for name in named.values()})
    if len(forms) > 1:
        raise ValueError(f"one dump in {len(forms)} forms, {_list([first[form] for form in forms])}: give one of them")
    return every[0] if every else ""


def _listed(plan: str, kinds: Collection[str]) -> set[str]:
    """The names of the files of some kinds in get-dump's list.

    Raises:
        ValueError: When it is none.
    """
    try:
        return {row["url"].rpartition("/")[2] for row in files.read_json(plan)["files"] if row["kind"] in kinds}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{plan}: not get-dump's list of files ({error}); remove it") from error


def _index_of(dumps: Sequence[str], indexes: Sequence[str]) -> str:
    """The index of a dump of one file."""
    name = _parse_name(dumps[0])
    if len(dumps) > 1 or name is None or name.part or name.packing != _PACKED:
        return ""
    fitting = [path for path in indexes if (of := _parse_name(path)) and of[:3] == name[:3]]
    return fitting[0] if fitting else ""


def _span(path: str) -> tuple[int, bool]:
    found = _VIEWS_NAME.fullmatch(files.basename(path))
    return (len(found["date"]), found["hour"] is not None) if found else (0, False)


def _list(names: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
