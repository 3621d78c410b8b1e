"""The files that build-vocab is given: by name one by one, or as a folder that get-dump has filled."""

from pipeline.base.dump_names import GivenFiles, sort_files
from pipeline.base.files import expand_inputs
from pipeline.vocabulary.options import NO_WORDNET, VocabOptions


def find_files(options: VocabOptions) -> GivenFiles:
    """The dumps, the index and the page views; what an option names goes before what lies beside the dump.

    Raises:
        FileNotFoundError: When a file is not there.
        ValueError: When the dumps are not those of one dump, or there is none.
    """
    try:
        given = sort_files(expand_inputs(options.dump), wants_views=not options.pageviews)
    except ValueError as error:
        raise ValueError(f"build-vocab: dump: {error}") from error
    return GivenFiles(given.dumps, options.index or given.index, expand_inputs(options.pageviews) or given.views)


def check_sources(options: VocabOptions, given: GivenFiles) -> None:
    """Checks that something may give queries.

    Raises:
        ValueError: When all sources are switched off, or are not there.
    """
    takes_titles = given.views and options.max_titles != 0
    if options.max_words == 0 and options.max_bigrams == 0 and not takes_titles and options.wordnet == NO_WORDNET:
        raise ValueError(
            "build-vocab: nothing is left to give queries: max-words is 0, max-bigrams is 0, wordnet is 'none', "
            + ("max-titles is 0" if given.views else "and there are no pageviews")
        )
