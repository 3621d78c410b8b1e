"""The files of a run of build-vocab: dumps cut into units, page views, and where their counts go; what was in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.base import files
from pipeline.base.folders import StageFolder
from pipeline.base.tables import sum_counts
from pipeline.vocabulary.given import find_files
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.unit_counts import CountTask, choose_unit_bytes, file_digest, plan_tasks
from vocab.dump import plan_units, read_index, read_site
from vocab.normalize import ENGLISH, Normalization
from vocab.site import Site
from vocab.wiki_names import names_of


class NoArticle(ValueError):
    """The dumps have not one article."""


@dataclass(frozen=True, kw_only=True)
class VocabPlan:
    """The files of a run.

    Attributes:
        site: The wiki.
        normalization: How queries are searched for.
        counting: What is one word where words are counted.
        project: The wiki whose page views count.
        tasks: Units of the dumps, and where their counts go.
        views: Page-view files, and where the views in each go.
        known_titles: Table of the titles whose views count; empty: all.
        kept_words: Table of the words that are frequent in all units together.
        word_survey: What is known of all words, the rare ones as well.
        sums: Folder of what is added up range by range.
    """

    site: Site
    normalization: Normalization = ENGLISH
    counting: Normalization = ENGLISH
    project: str
    tasks: tuple[CountTask, ...]
    views: Mapping[str, str]
    known_titles: str
    kept_words: str
    word_survey: str
    sums: StageFolder


def plan_vocab(options: VocabOptions) -> VocabPlan:
    """Cuts the dumps into units and names all files."""
    given = find_files(options)
    dumps, view_files = given.dumps, given.views
    starts = read_index(given.index, files.open_for_read) if given.index else ()
    unit_bytes = options.unit_bytes or choose_unit_bytes(dumps)
    units = [
        unit for path in dumps for unit in plan_units(path, files.open_for_read, unit_bytes=unit_bytes, starts=starts)
    ]
    folder, site = StageFolder(options.output), find_site(dumps)
    language = names_of(site).language
    units_folder, views, sums = (StageFolder(folder.working(name)) for name in ("units", "views", "sums"))
    by_digest = {file_digest(path): path for path in view_files}  # a file given twice counts once
    return VocabPlan(
        site=site,
        normalization=options.normalization_in(language),
        counting=options.counting_in(language),
        project=options.views_project or site.project,
        tasks=tuple(plan_tasks(units, units_folder)),
        views={path: views.table(digest) for digest, path in by_digest.items()},
        known_titles=views.table("titles") if options.articles_only else "",
        kept_words=sums.table("words"),
        word_survey=sums.file("words.json"),
        sums=sums,
    )


def check_counted_articles(plan: VocabPlan) -> None:
    """Checks, when words are counted, that they came from somewhere: a dump may be cut off after its head.

    Raises:
        NoArticle: When no unit has an article.
    """
    counts = sum_counts(task.paths.words for task in plan.tasks)
    if not counts.get("wiki_pages/kept"):
        dumps = ", ".join(sorted({task.unit.path for task in plan.tasks}))
        drops = [f"{name}: {number:,}" for name, number in counts.items() if "/drop/" in name and number]
        found = ", ".join(drops) or "no page at all"
        raise NoArticle(f"{dumps}: no article in it ({found}); is it cut short, or no pages-articles dump?")


def find_site(dumps: Sequence[str]) -> Site:
    """The wiki that dumps are of: that of the first that tells its address, else what the first one tells.

    Raises:
        NotADump: When one of the files is no dump.
        ValueError: When two are of different wikis.
    """
    sites = files.each(lambda path: read_site(path, files.open_for_read), dumps)
    for name in ("host", "database"):
        named = [(path, getattr(site, name)) for path, site in zip(dumps, sites, strict=True) if getattr(site, name)]
        for path, wiki in named[1:]:
            first, known = named[0]
            if wiki != known:
                raise ValueError(
                    f"build-vocab: dump must name files of one wiki: {first} is of {known}, {path} of {wiki}"
                )
    return next((site for site in sites if site.host), sites[0] if sites else Site())
