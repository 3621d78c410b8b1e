"""Fetch units ► their images, many units at once, in one worker.

In: numbers of units. Out: each unit when all of its URLs have an answer, ready to be written. The network is served by
a thread of its own; a unit is opened when the hosts of those that are open do not fill the places there are, so that a
host that is slow, or must be waited for, keeps its unit open and nobody else waiting.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_table
from pipeline.fetching.answers import Normalize
from pipeline.fetching.crawler import Crawler, run_loop
from pipeline.fetching.paces import Paces, paces_path
from pipeline.fetching.rules import FetchRules
from pipeline.fetching.site_files import SiteFile, read_site_files, write_site_files
from pipeline.fetching.unit import FetchUnit, read_known, waits_of
from pipeline.fetching.work_files import tell_work
from pipeline.web.blocklists import Blocklists
from pipeline.web.urls import url_host

_KEPT_EVERY_S: Final = 30.0
_TOLD: Final = "_site_files"
_MOST_OPEN: Final = 64  # units of a worker: their URLs and answers are held in memory
_ENDED: Final = None


def fetch_together(
    units: Sequence[int],
    *,
    plans: StageFolder,
    index_of: Callable[[int], str],
    rules: FetchRules,
    normalize: OnWorker[Normalize],
    queries: OnWorker[pa.Array],
    blocked: OnWorker[Blocklists],
    again: Collection[str] = (),
    img2dataset_names: bool = False,
    watch: str,
) -> Generator[tuple[int, Callable[[str], Counts]], None, None]:
    """Fetches units side by side.

    Args:
        units: Their numbers.
        plans: Tables of `PLAN`, by the names of units.
        index_of: Path of a unit's index.
        rules: How the network may be used.
        normalize: Checks the bytes of an image.
        queries: Query strings, by query id.
        blocked: What is neither asked for nor kept.
        again: Statuses of an earlier run that are not final.
        img2dataset_names: Whether samples are described under img2dataset's names, too.
        watch: Folder where it is told how far the worker is.

    Yields:
        A unit's number, and what writes it to the path of its index; as soon as its last URL has an answer.
    """
    done: queue.SimpleQueue[tuple[int, FetchUnit, dict[str, float]] | Exception | None] = queue.SimpleQueue()

    keep_changed = rules.changed_images == "keep"

    def open_unit(unit: int) -> _Opened:
        name, index = raw_name(unit), index_of(unit)
        plan = read_table(plans.table(name))
        told = files.join(plans.path, _TOLD, f"{name}.parquet")
        return _Opened(
            FetchUnit(name, plan, read_known(index, plan), again, blocked.get(), keep_changed),
            told,
            read_site_files(told, now_s=time.time()) if files.exists(told) else [],
            files.read_json(waits_of(index)) if files.exists(waits_of(index)) else {},
        )

    crew = _Crew(units, open_unit, rules, normalize.get(), paces_path(plans.path), done, watch)
    thread = threading.Thread(target=crew.run, name="network", daemon=True)
    thread.start()
    try:
        while (item := done.get()) is not _ENDED:
            if isinstance(item, Exception):
                raise item
            unit, fetched, waits = item
            yield unit, partial(_write, fetched, queries, waits, img2dataset_names)
    finally:
        crew.stop()
        thread.join()


def _write(
    unit: FetchUnit, queries: OnWorker[pa.Array], waits: Mapping[str, float], img2dataset_names: bool, index: str
) -> Counts:
    return unit.write(index, queries=queries.get(), waits=waits, img2dataset_names=img2dataset_names)


class _Opened(NamedTuple):
    """A unit, and what an earlier run was told by its hosts.

    Attributes:
        unit: The unit.
        told: Where it is kept what its hosts tell, until it is written.
        site_files: What they told.
        waits: Those that want to be left alone, until when.
    """

    unit: FetchUnit
    told: str
    site_files: list[SiteFile]
    waits: dict[str, float]


class _Crew:
    """The thread that serves the network."""

    def __init__(
        self,
        units: Sequence[int],
        open_unit: Callable[[int], _Opened],
        rules: FetchRules,
        normalize: Normalize,
        paces: str,
        done: "queue.SimpleQueue[Any]",
        watch: str,
    ) -> None:
        self._units = units
        self._open_unit = open_unit
        self._rules = rules
        self._normalize = normalize
        self._paces = paces
        self._done = done
        self._watch = watch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_stopped = False

    def run(self) -> None:
        """Fetches all units."""
        try:
            run_loop(self._fetch_all)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            self._done.put(_first_of(group))
        except Exception as error:
            self._done.put(error)
        finally:
            self._done.put(_ENDED)

    def stop(self) -> None:
        """Gives up what is under way."""
        self._is_stopped = True
        if self._loop is not None and self._main is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._main.cancel)

    async def _fetch_all(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._is_stopped:  # before there was a loop to be told
            return
        places = asyncio.Semaphore(_MOST_OPEN)
        paces = Paces(self._paces)
        try:
            async with (
                Crawler(self._rules, self._normalize, paces) as crawler,
                tell_work(self._watch, lambda: crawler.work),
                asyncio.TaskGroup() as group,
            ):
                for unit in self._units:
                    await places.acquire()
                    await crawler.hungry.wait()
                    opened = await asyncio.to_thread(self._open_unit, unit)
                    crawler.hungry.clear()
                    group.create_task(self._fetch(crawler, unit, opened, places))
                    await asyncio.sleep(0)
        finally:
            paces.close()

    async def _fetch(self, crawler: Crawler, number: int, opened: _Opened, places: asyncio.Semaphore) -> None:
        unit = opened.unit
        hosts = {url_host(url) for url in unit.urls}
        crawler.remember(opened.site_files)
        crawler.respect(opened.waits)
        keeper = asyncio.create_task(_keep_site_files(crawler, hosts, opened.told))
        try:
            await crawler.fetch(unit.urls, unit.store)
        finally:
            keeper.cancel()
        self._done.put((number, unit, crawler.waits(hosts)))
        places.release()


async def _keep_site_files(crawler: Crawler, hosts: Collection[str], told: str) -> None:
    """Writes down from time to time what the hosts of a unit told, for a run that goes on where this one ends."""
    num_kept = 0
    while True:
        await asyncio.sleep(_KEPT_EVERY_S)
        site_files = crawler.site_files(hosts)
        if len(site_files) > num_kept:
            num_kept = len(site_files)
            await asyncio.to_thread(write_site_files, told, site_files)


def _first_of(group: BaseExceptionGroup) -> Exception:
    """The first error of a group that is none itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(str(error))
