"""The stage fetch-images: its options and its steps.

In: balanced pairs, the vocabulary, and web archives if images are to come from those. Out: ``raw-NNNNN.tar`` with
``raw-NNNNN.index.parquet``, by `pipeline.fetching.unit`. No image byte is shuffled.
"""

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import pyarrow as pa

from pipeline.base import files
from pipeline.base.carried_columns import carried_by, with_carried
from pipeline.base.drops import Counts, DropReason
from pipeline.base.folders import VOCAB_MAKERS, BalancedFolder, By, RawFolder, StageFolder, VocabFolder
from pipeline.base.lineage import Kinship, read_stage
from pipeline.base.on_worker import OnWorker
from pipeline.base.options import option
from pipeline.base.schemas import CUTS, PLAN
from pipeline.base.shard_format import raw_name
from pipeline.base.tables import read_column, read_table, write_table
from pipeline.fetching.answers import Normalize
from pipeline.fetching.archived import fetch_archived
from pipeline.fetching.crew import fetch_together
from pipeline.fetching.grouped_rows import join_tables
from pipeline.fetching.listed import (
    check_lists,
    list_parts,
    listed_schema,
    load_query_ids,
    merge_queries,
    query_strings,
    write_balanced,
    write_queries,
)
from pipeline.fetching.lookup import archive_names
from pipeline.fetching.paces import remove_paces
from pipeline.fetching.planning import (
    HOST_BUCKETS,
    choose_unit_urls,
    count_hosts,
    group_units,
    open_routed,
    order_of_work,
    read_unit_plan,
    routed_file,
    units_a_group,
    write_plans,
    write_routes,
)
from pipeline.fetching.resolver import parse_redirection
from pipeline.fetching.rules import FetchRules, check_contact, check_proxy, parse_retry
from pipeline.fetching.searching import Planned, group_table, search_archives
from pipeline.fetching.unit import ImageSource, fetch_unit
from pipeline.fetching.work_files import WATCH
from pipeline.pixels.images import CheckedImage, ImageRules, normalize_image, prepare_pixels
from pipeline.steps import CrewUnits, MapUnits, Stage, Step, Steps, SumUnits
from pipeline.web.blocklists import Blocklists, BlockOptions

_FEW_IMAGES: Final = 20  # of which nothing can be said


@dataclass(kw_only=True)
class FetchImages(FetchRules, ImageRules, BlockOptions, Stage):
    """Fetches the images of balanced pairs, politely, or takes them from web archives; checks and stores them."""

    name: ClassVar[str] = "fetch-images"
    format: ClassVar[int] = Stage.format + 6

    balanced: str = option(
        "", "Folder of balanced pairs.", under_data="balanced", made_by=("balance-pairs", "top-up-pairs")
    )
    vocab: str = option("", "Folder of the vocabulary.", under_data="vocab", made_by=VOCAB_MAKERS)
    from_list: tuple[str, ...] = option(
        (),
        "Instead of balanced pairs: tables that export-urls wrote, or of your own with columns url and caption.",
        identity=False,
    )
    output: str = option("", "Folder to write.", under_data="raw")
    from_archive: tuple[str, ...] = option(
        (), "WARC or WACZ files to take the images from; the network is left alone.", identity=False
    )
    unit_urls: int = option(
        0,
        "Pairs in a fetch unit, the piece of work that is resumed; 0: a 64th of all pairs, 100 at least and 10,000 at "
        "most, which gives the same units on every machine.",
        minimum=0,
    )

    img2dataset_names: bool = option(
        False,
        "Describe samples under img2dataset's names too (caption, key, status, error_message, exif), and units by the "
        "tables that it writes beside its tars.",
    )
    retry: tuple[str, ...] = option(
        (),
        "In a folder that is done, ask again for what failed: connect, timeout, 5xx, 429, robots, broken, or a status.",
        identity=False,
    )
    min_success: float = option(
        0.1,
        "Share of images that must come, or the command ends with exit code 4.",
        minimum=0,
        maximum=1,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if self.from_list:
            self.balanced = self.vocab = ""  # where they would lie is of no account
        for text in self.connect_to:
            try:
                parse_redirection(text)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error
        if not self.from_archive:
            check_contact(self.contact)
            check_proxy(self.proxy)
        elif self.retry:
            raise ValueError(f"retry: {', '.join(self.retry)}: archives hold what they hold, see from-archive")
        parse_retry(self.retry)

    def inputs(self) -> list[str]:
        """The balanced pairs and the queries, or the tables of a list; and the archives."""
        if not self.from_list:
            return [self.balanced, self.vocab, *self._archives()]
        check_lists(self._lists())
        return [*self._lists(), *self._archives()]

    @property
    def works_again(self) -> bool:
        """With `retry`: those of its URLs that failed in passing are asked for once more."""
        return bool(self.retry)

    def verdict(self, counts: Counts) -> str:
        """Whether so little came that the network, or the list of URLs, must have been at fault."""
        wanted, kept = counts.get("images/in", 0), counts.get("images/kept", 0)
        if self.from_archive or wanted < _FEW_IMAGES or kept >= self.min_success * wanted:
            return ""
        worst = max((n, name) for name, n in counts.items() if name.startswith("images/drop/"))
        reason = worst[1].rpartition("/")[2]
        return (
            f"only {kept:,} of {wanted:,} images came, most often for: {reason} ({worst[0]:,}). If that has passed, "
            f"--retry {reason} asks for them again; --min-success allows as few"
        )

    def kin(self) -> list[Kinship]:
        """The balanced pairs hold numbers of the vocabulary's queries."""
        return [] if self.from_list else [Kinship(self.balanced, self.vocab)]

    def steps(self) -> Steps:
        """Plan; find the images in the archives, if there are any; fetch, lanes of hosts side by side."""
        raw = RawFolder(self.output)
        wanted = yield from (self._read_lists(raw) if self.from_list else self._read_balanced())
        plans, schema, num_pairs = StageFolder(raw.working("plan")), wanted.schema, wanted.num_pairs
        sources = join_tables(wanted.tables, num_rows=num_pairs)
        hosts = plans.file("hosts.npy")
        yield Step("CountHosts", SumUnits(units=sources, array_of=count_hosts, size=HOST_BUCKETS, output=hosts))
        unit_urls = choose_unit_urls(num_pairs, asked=self.unit_urls)
        plan = OnWorker(read_unit_plan, hosts, unit_urls=unit_urls)
        group_size = units_a_group(unit_urls)
        groups = group_units(plan.get().num_units, size=group_size)
        route = MapUnits(
            units=list(enumerate(sources)),
            output_of=lambda source: routed_file(plans, source[0]),
            work=partial(write_routes, plan=plan, group_size=group_size, schema=schema),
        )
        routed = OnWorker(open_routed, plans, len(sources), num_groups=len(groups))
        write = MapUnits(
            units=groups,
            output_of=partial(group_table, plans),
            work=partial(write_plans, routed=routed, plans=plans, schema=schema, by_image=wanted.by_image),
        )
        yield Step("RouteRows", route), Step("PlanUnits", write)
        lanes = plan.get().lanes()
        queries = wanted.queries
        blocked = self.hand_out_lists(raw.working("lists", "lists.json"))
        if self.from_archive:
            archives, paths = archive_names(self._archives()), raw.working("records", "archives.json")
            files.write_json(paths, archives)
            records = yield from search_archives(archives, Planned(plans, groups, group_size, num_pairs), raw)
            source = OnWorker(open_archives, self, paths, records, blocked)
            work = partial(
                fetch_unit,
                plans=plans,
                source=source,
                queries=queries,
                blocked=blocked,
                img2dataset_names=self.img2dataset_names,
                keep_changed=self.changed_images == "keep",
            )
            units = MapUnits(units=order_of_work(lanes), output_of=partial(unit_index, raw), work=work)
            yield Step("FetchUnits", units, prepare=prepare_pixels)
            return
        watch = raw.working(WATCH)
        crew = partial(
            fetch_together,
            plans=plans,
            index_of=partial(unit_index, raw),
            rules=self,
            normalize=OnWorker(open_checks, self, blocked),
            queries=queries,
            blocked=blocked,
            again=parse_retry(self.retry),
            img2dataset_names=self.img2dataset_names,
            watch=watch,
        )
        fetch = CrewUnits(
            units=order_of_work(lanes),
            output_of=partial(unit_index, raw),
            crew=crew,
            lane_of=lambda unit: int(lanes[unit]),
        )
        yield Step("FetchUnits", fetch, watch=watch, prepare=prepare_pixels)
        remove_paces(plans.path)

    def _read_balanced(self) -> Generator[Any, Any, "_Wanted"]:
        """What was selected."""
        yield from ()
        balanced = BalancedFolder(self.balanced)
        return _Wanted(
            balanced.tables,
            with_carried(PLAN, carried_by([balanced.tables])),
            read_stage(self.balanced)["counts"].get("pairs/kept", 0),
            OnWorker(read_column, VocabFolder(self.vocab).queries, "query"),
            by_image=balanced.by is not By.PAIR,
        )

    def _read_lists(self, raw: RawFolder) -> Generator[Any, Any, "_Wanted"]:
        """What a list names: its queries first, which stay beside the raw tars, then its rows."""
        lists = self._lists()
        carried, parts = check_lists(lists), list_parts(lists)
        found, rows = (StageFolder(raw.working("list", name)) for name in ("queries", "rows"))
        find = MapUnits(units=parts, output_of=lambda part: found.table(part.name), work=write_queries)
        yield Step("FindQueries", find)
        cuts = BalancedFolder(raw.path).cuts
        write_table(cuts, merge_queries(find.outputs), CUTS)
        read = MapUnits(
            units=parts,
            output_of=lambda part: rows.table(part.name),
            work=partial(write_balanced, ids=OnWorker(load_query_ids, cuts), carried=carried),
        )
        made = yield Step("ReadLists", read)
        num_rows = sum(counts.get("rows/kept", 0) for counts in made.values())
        return _Wanted(list(read.outputs), listed_schema(carried), num_rows, OnWorker(query_strings, cuts))

    def _lists(self) -> list[str]:
        return files.expand_inputs(self.from_list)

    def _archives(self) -> list[str]:
        return files.expand_inputs(self.from_archive)


class _Wanted(NamedTuple):
    """What is to be fetched.

    Attributes:
        tables: Of pairs.
        schema: Of their plans.
        num_pairs: Of all tables, about.
        queries: Query strings, by query id.
        by_image: Whether the pairs of an image are one row of a plan.
    """

    tables: list[str]
    schema: pa.Schema
    num_pairs: int
    queries: OnWorker[pa.Array]
    by_image: bool = False


def unit_index(raw: RawFolder, unit: int) -> str:
    """Where the index of a unit goes."""
    return raw.index(raw_name(unit))


def open_archives(stage: FetchImages, paths: str, records: StageFolder, blocked: OnWorker[Blocklists]) -> ImageSource:
    """Images that come from archives.

    Args:
        stage: The options.
        paths: A JSON file, the path of every archive by its name.
        records: Tables of `RECORDS`, by the names of units.
        blocked: What is not kept.
    """
    normalize, archives = open_checks(stage, blocked), files.read_json(paths)
    return lambda name, urls, store: fetch_archived(
        urls, stage, archives=archives, records=read_table(records.table(name)), normalize=normalize, store=store
    )


def open_checks(stage: FetchImages, blocked: OnWorker[Blocklists]) -> Normalize:
    """What looks at the bytes of images."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # broken metadata of images off the web
    normalize, lists = partial(normalize_image, rules=stage), blocked.get()
    return partial(normalize_unlisted, normalize=normalize, lists=lists) if lists.lists_images else normalize


def normalize_unlisted(source: bytes, *, normalize: Normalize, lists: Blocklists) -> CheckedImage | DropReason:
    """An image that is on no list, by its bytes or its looks, made uniform; or why it is refused."""
    if lists.has_bytes(source):
        return DropReason.BLOCKED
    image = normalize(source)
    return DropReason.BLOCKED if isinstance(image, CheckedImage) and lists.has_looks(image.phash) else image
