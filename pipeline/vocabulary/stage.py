"""Wikipedia dump, page views and WordNet ► the query vocabulary: the stage build-vocab.

In: MediaWiki dumps, page-view files, WordNet. Out, in one folder: ``queries.parquet`` (`QUERIES`), the same for
people in ``queries.tsv``, the compiled ``matcher/``, and ``damages.tsv``, the places in the dumps that could not be
read.

A unit of work is a run of a dump's streams. The first pass parses and tokenises it once and leaves its words with
their counts, its tokens as numbers, and its titles; the second pass counts bigrams of the words that all units
together keep, from those numbers alone (`counting`). Counts travel as arrays in files and are added up, so
neither the cutting into units nor their order shows in the result.

Source: Radford et al. 2021, section 2.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline import files
from pipeline.drops import CountUnits, UnitReport, report_unit
from pipeline.options import option
from pipeline.schemas import QUERIES
from pipeline.stages import Shape, Stage, Step
from pipeline.tables import read_counts, read_table, write_table
from pipeline.vocabulary.counting import (
    DAMAGES,
    CountBigrams,
    CountTask,
    CountViews,
    CountWords,
    MergeBigrams,
    MergeWords,
    RangeTask,
    ViewsTask,
    file_digest,
    plan_ranges,
    plan_tasks,
)
from vocab.bigrams import BIGRAM_COUNTS, score_bigrams, select_bigrams
from vocab.dump import Site, plan_units, read_index, read_site
from vocab.matcher import compile_matcher
from vocab.normalize import Case, Normalization, normalize_column
from vocab.queries import QueryTable, Source, SourceTables
from vocab.sums import add_up
from vocab.synsets import find_wordnet, read_synset_names
from vocab.titles import (
    TITLES,
    VIEWS,
    check_views,
    follow_redirects,
    only_articles,
    select_titles,
    without_namespaces,
    without_titles,
)
from vocab.wikitext import FILE_AND_CATEGORY

NO_WORDNET = "none"
QUERIES_NAME = "queries.parquet"
_HIDDEN_NAMESPACES = (-2, 6, 14)  # media, file, category


@dataclass(kw_only=True)
class BuildVocab(Stage):
    """Builds the list of queries from a MediaWiki dump, page views and WordNet."""

    name: ClassVar[str] = "build-vocab"

    dump: tuple[str, ...] = option((), "MediaWiki XML dumps (pages-articles): files, folders, globs.", identity=False)
    index: str = option("", "Index of the dump's streams, for one multistream file.", identity=False)
    pageviews: tuple[str, ...] = option((), "Page-view files: hourly, complete, JSON or TSV.", identity=False)
    project: str = option("", "Wiki whose page views count, e.g. en.wikipedia [the dump's own].")
    wordnet: str = option("", "Folder of NLTK data, or none for no WordNet [where NLTK looks].", identity=False)
    output: str = option("", "Folder to write.", under_data="vocab")
    case: str = option("fold", "Whether case makes no difference (fold).", choices=("fold", "sensitive"))
    min_word_count: int = option(100, "Occurrences that make a word a query (CLIP 2.2).", minimum=1)
    numbers_below: int = option(0, "The numbers below this one are queries, too (MetaCLIP: 100).", minimum=0)
    min_bigram_count: int = option(100, "Occurrences that a bigram needs.", minimum=1)
    min_pmi: float = option(5.0, "Bits of mutual information that a bigram needs (MetaCLIP: 30).")
    rank_bigrams: str = option("pmi", "What ranks bigrams: PMI, or PMI normalised.", choices=("pmi", "npmi"))
    max_bigrams: int = option(100_000, "Bigrams at most (MetaCLIP has 100,646).", minimum=0)
    min_views: int = option(70, "Views that make a title a query (MetaCLIP).", minimum=1)
    qualifiers: str = option("strip", "What becomes of the (film) after a title.", choices=("strip", "keep", "drop"))
    articles_only: bool = option(True, "Take no titles but those of articles in the dump.")
    all_lemmas: bool = option(False, "Take every lemma of a WordNet synset, not only its name.")
    max_queries: int = option(500_000, "Queries at most; titles give way first (CLIP 2.2).", minimum=1)
    unit_bytes: int = option(8 << 20, "Bytes of a dump that are one unit of work.", minimum=1024, identity=False)

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if not self.dump:
            raise ValueError("build-vocab: dump must be given")

    def inputs(self) -> list[str]:
        """Dumps, page views and WordNet; looks at the beginning of each, so that a wrong file is told at once."""
        dumps, views = files.expand_inputs(self.dump), files.expand_inputs(self.pageviews)
        if self.index and len(dumps) != 1:
            raise ValueError(f"build-vocab: index belongs to one dump file, and dump names {len(dumps)}")
        project = self.project or find_site(dumps).project
        for path in views:
            with files.open_for_read(path) as file:
                check_views(file, project=project, name=path)
        wordnet = [] if self.wordnet == NO_WORDNET else [find_wordnet(self.wordnet)]
        return [*dumps, *views, *wordnet]

    def steps(self) -> Iterator[Step]:
        """Count words and views file by file, add up; bigrams likewise; then merge the sources."""
        plan = plan_vocab(self)
        name, tasks, kept_words = self.name, plan.tasks, plan.kept_words
        hidden, case = hidden_namespaces(plan.site), cast(Case, self.case)
        count_words = CountWords(stage_name=name, tasks=tasks, hidden_namespaces=hidden, case=case)
        yield Step("CountWords", count_words, Shape.MAP, tuple(task.paths.words for task in tasks))
        if plan.views_tasks:
            project = self.project or plan.site.project
            count_views = CountViews(stage_name=name, tasks=plan.views_tasks, project=project)
            yield Step("CountViews", count_views, Shape.MAP, tuple(task.path for task in plan.views_tasks))
        merge_words = MergeWords(
            stage_name=name,
            tasks=tasks,
            output=kept_words,
            min_count=self.min_word_count,
            numbers_below=self.numbers_below,
        )
        yield Step("MergeWords", merge_words, Shape.MAP, (kept_words,))
        count_bigrams = CountBigrams(stage_name=name, tasks=tasks, kept_words=kept_words)
        yield Step("CountBigrams", count_bigrams, Shape.MAP, tuple(task.paths.bigrams for task in tasks))
        ranges = plan_ranges(tasks, kept_words, files.join(self.output, "_sums"))
        merge_bigrams = MergeBigrams(stage_name=name, tasks=tasks, ranges=ranges, min_count=self.min_bigram_count)
        yield Step("MergeBigrams", merge_bigrams, Shape.MAP, tuple(task.path for task in ranges))
        merge_sources = MergeSources(stage=self, plan=plan, ranges=tuple(ranges))
        yield Step("MergeSources", merge_sources, Shape.MAP, (files.join(self.output, QUERIES_NAME),))


@dataclass(frozen=True, kw_only=True)
class VocabPlan:
    """The files of a run.

    Attributes:
        site: The wiki.
        tasks: Units of the dumps, and where their counts go.
        views_tasks: Page-view files, and where their sums go.
        kept_words: Table of the words that are frequent in all units together.
    """

    site: Site
    tasks: tuple[CountTask, ...]
    views_tasks: tuple[ViewsTask, ...]
    kept_words: str


@dataclass(kw_only=True, eq=False)
class MergeSources(beam.PTransform):
    """Selects from every source, merges, and writes the output of the stage.

    Attributes:
        stage: With its options.
        plan: Its files.
        ranges: Its frequent bigrams.
    """

    stage: BuildVocab
    plan: VocabPlan
    ranges: tuple[RangeTask, ...]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Wires PBegin to PCollection[UnitReport]."""
        return (
            root
            | "Ranges" >> beam.Create([self.ranges])
            | "WriteVocab" >> beam.Map(_write_vocab, self.stage, self.plan).with_output_types(UnitReport)
            | CountUnits(self.stage.name)
        )


def plan_vocab(stage: BuildVocab) -> VocabPlan:
    """Cuts the dumps of a stage into units and names all files."""
    dumps, views = files.expand_inputs(stage.dump), files.expand_inputs(stage.pageviews)
    starts = read_index(stage.index, files.open_for_read) if stage.index else ()
    units = [
        unit
        for path in dumps
        for unit in plan_units(path, files.open_for_read, unit_bytes=stage.unit_bytes, starts=starts)
    ]
    folder = files.join(stage.output, "_views")
    by_digest = {file_digest(path): path for path in views}  # a file given twice counts once
    return VocabPlan(
        site=find_site(dumps),
        tasks=tuple(plan_tasks(units, files.join(stage.output, "_units"))),
        views_tasks=tuple(
            ViewsTask(source=path, path=files.join(folder, f"{digest}.parquet")) for digest, path in by_digest.items()
        ),
        kept_words=files.join(stage.output, "_sums", "words.parquet"),
    )


def find_site(dumps: Sequence[str]) -> Site:
    """The wiki of the first dump that names one.

    Raises:
        NotADump: When one of the files is no dump.
    """
    sites = [read_site(path, files.open_for_read) for path in dumps]
    return next((site for site in sites if site.host), Site())


def hidden_namespaces(site: Site) -> tuple[str, ...]:
    """Names of the namespaces whose links show no text, in English and in the wiki's language."""
    local = {name for key, name in site.namespaces if key in _HIDDEN_NAMESPACES}
    return tuple(sorted(local | set(FILE_AND_CATEGORY)))


def select_sources(stage: BuildVocab, plan: VocabPlan, ranges: Sequence[RangeTask]) -> SourceTables:
    """The rows that each source gives under a stage's options, best first."""
    words = read_table(plan.kept_words)
    num_tokens = (read_counts(plan.kept_words) or {})["tokens"]
    frequent = pa.concat_tables([BIGRAM_COUNTS.empty_table(), *(read_table(task.path) for task in ranges)])
    scored = score_bigrams(frequent, words, num_tokens=num_tokens)
    return SourceTables(
        words=words.sort_by([("count", "descending"), ("word", "ascending")]),
        bigrams=select_bigrams(
            scored, rank_by=stage.rank_bigrams, min_pmi=stage.min_pmi, max_bigrams=stage.max_bigrams
        ),
        titles=_select_titles(stage, plan),
        synsets=_select_synsets(stage),
    )


def _select_titles(stage: BuildVocab, plan: VocabPlan) -> pa.Table:
    views = add_up((read_table(task.path) for task in plan.views_tasks), VIEWS)
    titles = pa.concat_tables([TITLES.empty_table(), *(read_table(task.paths.titles) for task in plan.tasks)])
    views = follow_redirects(views, titles)
    if stage.articles_only:
        views = only_articles(views, titles)
    else:
        views = without_namespaces(views, (name for _, name in plan.site.namespaces))
    views = without_titles(views, [plan.site.main_page])
    return select_titles(views, min_views=stage.min_views, qualifiers=stage.qualifiers, case=cast(Case, stage.case))


def _select_synsets(stage: BuildVocab) -> pa.Table:
    names = [] if stage.wordnet == NO_WORDNET else read_synset_names(stage.wordnet, all_lemmas=stage.all_lemmas)
    normalized = normalize_column(pa.array(names, pa.string()), case=cast(Case, stage.case))
    distinct = pa.table({"synset": normalized.unique()}).sort_by("synset")
    return distinct.filter(pc.not_equal(distinct["synset"], ""))


def _write_vocab(ranges: Sequence[RangeTask], stage: BuildVocab, plan: VocabPlan) -> UnitReport:
    path = files.join(stage.output, QUERIES_NAME)
    counts = read_counts(path)
    if counts is None:
        table = QueryTable.merge(select_sources(stage, plan, ranges), max_queries=stage.max_queries)
        normalization = Normalization(case=cast(Case, stage.case))
        matcher = compile_matcher(table.rows["query"].combine_chunks(), normalization=normalization)
        matcher.save(files.join(stage.output, "matcher"), files.write_bytes_whole)
        with files.write_whole(files.join(stage.output, "queries.tsv")) as file:
            table.write_tsv(file)
        _write_damages(plan.tasks, files.join(stage.output, "damages.tsv"))
        counts = {f"from_{source.name.lower()}s": table.count_source(source) for source in Source}
        counts["queries"] = len(table)
        write_table(path, table.rows, QUERIES, counts)
    return report_unit(QUERIES_NAME, counts)


def _write_damages(units: Sequence[CountTask], path: str) -> None:
    damages = pa.concat_tables([DAMAGES.empty_table(), *(read_table(task.paths.damages) for task in units)])
    rows = damages.sort_by([(name, "ascending") for name in DAMAGES.names])
    options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    with files.write_whole(path) as file:
        pyarrow.csv.write_csv(rows, file, options)
