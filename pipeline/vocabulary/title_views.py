"""Page views and the titles of dumps ► the views of every title that may be a query.

In: the sums of all page-view files, the titles of all dumps, the options that rule titles out. Out: `VIEWS`.
"""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.base.tables import count_rows_each, read_table, sum_counts
from pipeline.vocabulary.options import VocabOptions
from pipeline.vocabulary.plan import VocabPlan
from vocab.kernels.sums import add_up
from vocab.page_kinds import disambiguation_titles, list_titles
from vocab.pageviews import VIEWS
from vocab.titles import (
    TITLES,
    follow_redirects,
    only_articles,
    without_disambiguations,
    without_matches,
    without_namespaces,
    without_titles,
)


class OtherWiki(ValueError):
    """The page views are of another wiki than the dump."""


def check_counted_views(plan: VocabPlan) -> None:
    """Checks, when page views are counted, that some were of the wiki.

    Raises:
        OtherWiki: When no file has a row of the wiki, or none a title of the dump.
    """
    if not sum_counts(plan.views.values()).get("view_rows/in"):
        raise OtherWiki(f"no row of {plan.project} is in the page-view files: are they of another wiki than the dump?")
    if plan.known_titles and not any(count_rows_each(plan.views.values())):
        raise OtherWiki("no title in the page-view files is in the dump: are they of another wiki?")


def sum_views(options: VocabOptions, plan: VocabPlan) -> pa.Table:
    """The views of every title that may be a query, views of redirects at their targets."""
    views = add_up(map(read_table, plan.views.values()), VIEWS)
    titles = pa.concat_tables([TITLES.empty_table(), *(read_table(task.paths.titles) for task in plan.tasks)])
    views = follow_redirects(views, titles)
    if options.articles_only:
        views = only_articles(views, titles)
    else:
        views = without_namespaces(views, (name for _, name in plan.site.namespaces))
    views = without_titles(views, [plan.site.main_page])
    if options.disambiguation == "drop":
        views = without_disambiguations(views, titles)
    return without_matches(views, _patterns(options, plan.site.language))


def _patterns(options: VocabOptions, language: str) -> Iterator[str]:
    if options.disambiguation == "drop":
        yield disambiguation_titles(language)
    if options.lists == "drop":
        yield list_titles(language)
    yield from options.drop_titles
