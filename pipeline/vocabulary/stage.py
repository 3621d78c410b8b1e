"""Wikipedia dump, page views and WordNet ► the query vocabulary: the stage build-vocab.

In: MediaWiki dumps, page-view files, WordNet. Out, in one folder, what `merging` lists: the queries, their matcher,
and a report.

A unit of work is a run of a dump's streams. The first pass parses and tokenises it once and leaves its words with
their counts, its tokens as numbers, and its titles; the second pass counts bigrams of the words that all units
together keep, from those numbers alone (`counting`). Counts travel as arrays in files and are added up, so
neither the cutting into units nor their order shows in the result.

Source: Radford et al. 2021, section 2.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

from pipeline.base import files
from pipeline.base.stage_folder import Shape, Step
from pipeline.vocabulary.file_views import CountViews, HashTitles
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions
from pipeline.vocabulary.outputs import QUERIES_NAME, MergeSources
from pipeline.vocabulary.plan import check_counted_articles, find_site, hidden_namespaces, plan_vocab
from pipeline.vocabulary.title_views import check_counted_views
from pipeline.vocabulary.total_counts import JoinWords, MergeBigrams, MergeWords, plan_ranges, plan_word_ranges
from pipeline.vocabulary.unit_counts import CountBigrams, CountWords
from vocab.pageviews import Access, check_views
from vocab.synsets import find_wordnet


@dataclass(kw_only=True)
class BuildVocab(VocabOptions):
    """Builds the list of queries from a MediaWiki dump, page views and WordNet."""

    name: ClassVar[str] = "build-vocab"

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
        hidden, case = hidden_namespaces(plan.site), self.words_case
        count_words = CountWords(stage_name=name, tasks=tasks, hidden_namespaces=hidden, case=case)
        yield Step("CountWords", count_words, Shape.MAP, tuple(task.paths.words for task in tasks))
        check_counted_articles(plan)
        if plan.views_tasks:
            if plan.known_titles:
                yield Step("HashTitles", HashTitles(tasks=tasks, output=plan.known_titles), Shape.MAP)
            project = self.project or plan.site.project
            count_views = CountViews(
                stage_name=name,
                tasks=plan.views_tasks,
                project=project,
                access=cast(Access, self.view_access),
                known_titles=plan.known_titles,
            )
            yield Step("CountViews", count_views, Shape.MAP, tuple(task.path for task in plan.views_tasks))
            check_counted_views(plan, project)
        sums = files.join(self.output, "_sums")
        word_ranges = plan_word_ranges(tasks, sums)
        merge_words = MergeWords(
            stage_name=name,
            tasks=tasks,
            ranges=word_ranges,
            min_count=min(self.min_word_count, self.least_bigram_word_count),
            numbers_below=self.numbers_below,
        )
        yield Step("MergeWords", merge_words, Shape.MAP, tuple(task.path for task in word_ranges))
        join_words = JoinWords(
            ranges=word_ranges, output=kept_words, survey=plan.word_survey, threshold=self.min_word_count
        )
        yield Step("JoinWords", join_words, Shape.MAP, (kept_words,))
        count_bigrams = CountBigrams(stage_name=name, tasks=tasks, kept_words=kept_words)
        yield Step("CountBigrams", count_bigrams, Shape.MAP, tuple(task.paths.bigrams for task in tasks))
        ranges = plan_ranges(tasks, kept_words, sums)
        merge_bigrams = MergeBigrams(stage_name=name, tasks=tasks, ranges=ranges, min_count=self.min_bigram_count)
        yield Step("MergeBigrams", merge_bigrams, Shape.MAP, tuple(task.path for task in ranges))
        merge_sources = MergeSources(options=self, plan=plan, ranges=tuple(ranges))
        yield Step("MergeSources", merge_sources, Shape.MAP, (files.join(self.output, QUERIES_NAME),))
