"""Wikipedia dump, page views and WordNet ► the query vocabulary: the stage build-vocab.

In: MediaWiki dumps, page-view files, WordNet. Out, in one folder (`VocabFolder`): the queries, their matcher, and a
report.

A unit of work is a run of a dump's streams. The first pass parses and tokenises it once and leaves its words with
their counts, its tokens as numbers, and its titles; the second pass counts bigrams of the words that all units
together keep, from those numbers alone (`unit_counts`). Counts travel in tables and are added up (`total_counts`), so
neither the cutting into units nor their order shows in the result.

Source: Radford et al. 2021, section 2.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from pipeline.base import files
from pipeline.base.folders import VocabFolder
from pipeline.steps import MapUnits, Step, Steps
from pipeline.vocabulary.file_views import count_file_views, write_known_titles
from pipeline.vocabulary.given import check_sources, find_files
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions
from pipeline.vocabulary.outputs import check_queries, is_word_query, write_vocab
from pipeline.vocabulary.plan import VocabPlan, check_counted_articles, find_site, plan_vocab
from pipeline.vocabulary.room import estimate_room
from pipeline.vocabulary.title_views import check_counted_views
from pipeline.vocabulary.total_counts import (
    join_words,
    merge_bigrams,
    merge_words,
    plan_bigram_ranges,
    plan_word_ranges,
)
from pipeline.vocabulary.unit_counts import count_unit_bigrams, count_unit_words
from vocab.kernels.chunks import load_kernels
from vocab.pageviews import check_views
from vocab.site import Site
from vocab.synsets import find_wordnet
from vocab.wikitext.prose import Edition

_MERGE_GIB: Final = 16.0  # ranges of 32 million words or bigrams, and all titles with their views, in one process


@dataclass(kw_only=True)
class BuildVocab(VocabOptions):
    """Builds the list of queries from a MediaWiki dump, page views and WordNet."""

    name: ClassVar[str] = "build-vocab"
    format: ClassVar[int] = VocabOptions.format + 2
    operand: ClassVar[str] = "dump"

    def inputs(self) -> list[str]:
        """Dumps, page views and WordNet; looks at the beginning of each, so that a wrong file is told at once."""
        given = find_files(self)
        check_sources(self, given)
        if self.index and len(given.dumps) != 1:
            raise ValueError(f"build-vocab: index belongs to one dump file, and dump names {len(given.dumps)}")
        site = find_site(given.dumps)
        self._edition(site)
        project = self.views_project or site.project
        files.each(lambda path: _look_at_views(path, project), given.views)
        wordnet = [] if self.wordnet == NO_WORDNET else [find_wordnet(self.wordnet)]
        return [*given.dumps, *given.views, *wordnet]

    def room_bytes(self) -> int:
        """See `Stage.room_bytes`."""
        return estimate_room(self)

    def steps(self) -> Steps:
        """Count words and views file by file, add up; bigrams likewise; then merge the sources."""
        plan = plan_vocab(self)
        count_words = MapUnits(
            units=plan.tasks,
            output_of=lambda task: task.paths.words,
            work=partial(
                count_unit_words,
                edition=self._edition(plan.site),
                case=plan.counting.case,
                clitics=plan.counting.clitics,
            ),
        )
        yield Step("CountWords", count_words, prepare=load_kernels)
        check_counted_articles(plan)
        if plan.views:
            yield tuple(self._count_views(plan))
            check_counted_views(plan)
        word_ranges = plan_word_ranges(plan.tasks, plan.sums)
        merge = MapUnits(
            units=word_ranges,
            output_of=lambda words: words.kept,
            work=partial(
                merge_words,
                tables=count_words.outputs,
                min_count=min(self.min_word_count, self.least_bigram_word_count),
                numbers_below=self.numbers_below,
                all_numbers=self.number_bigrams,
            ),
        )
        join = MapUnits(
            units=[word_ranges],
            output_of=lambda _: plan.kept_words,
            work=partial(join_words, survey=plan.word_survey, threshold=self.min_word_count),
        )
        count_bigrams = MapUnits(
            units=plan.tasks,
            output_of=lambda task: task.paths.bigrams,
            work=partial(count_unit_bigrams, kept_words=plan.kept_words),
        )
        yield (
            Step("MergeWords", merge, ram_gib=_MERGE_GIB),
            Step("JoinWords", join, ram_gib=_MERGE_GIB),
            Step("CountBigrams", count_bigrams),
        )
        is_sure = is_word_query(self, plan)
        if not is_sure:
            check_queries(self, plan, None)
        merge_ranges = MapUnits(
            units=plan_bigram_ranges(plan.tasks, plan.kept_words),
            output_of=lambda bounds: plan.sums.table("bigrams-{:019d}-{:019d}".format(*bounds)),
            work=partial(
                merge_bigrams,
                tables=count_bigrams.outputs,
                kept_words=plan.kept_words,
                min_count=self.min_bigram_count,
                least_lettered=1 if self.number_bigrams else 2,
            ),
        )
        write = MapUnits(
            units=[plan],
            output_of=lambda _: VocabFolder(self.output).queries,
            work=partial(write_vocab, options=self, bigrams=merge_ranges.outputs),
        )
        last = [Step("MergeBigrams", merge_ranges, ram_gib=_MERGE_GIB), Step("MergeSources", write, ram_gib=_MERGE_GIB)]
        if is_sure:
            yield tuple(last)
        else:
            yield last[0]
            check_queries(self, plan, merge_ranges.outputs)
            yield last[1]

    def _edition(self, site: Site) -> Edition:
        """The wiki, and what of its articles is read; an error when its language has not the wanted variant."""
        try:
            return Edition.of_site(site, variant=self.variant, captions=self.captions)
        except ValueError as error:
            raise ValueError(f"build-vocab: {error}") from error

    def _count_views(self, plan: VocabPlan) -> Iterator[Step]:
        if plan.known_titles:
            titles = [task.paths.titles for task in plan.tasks]
            known = MapUnits(units=[titles], output_of=lambda _: plan.known_titles, work=write_known_titles)
            yield Step("HashTitles", known)
        count = partial(count_file_views, project=plan.project, access=self.view_access, known_titles=plan.known_titles)
        yield Step("CountViews", MapUnits(units=list(plan.views), output_of=plan.views.__getitem__, work=count))


def _look_at_views(path: str, project: str) -> None:
    with files.open_for_read(path) as file:
        check_views(file, project=project, name=path)
