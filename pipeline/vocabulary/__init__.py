"""Wikipedia dump, page views and WordNet ► the query vocabulary: the stage build-vocab.

stage, options               wiring, and what a user may choose
plan                         the files of a run
unit_counts ► total_counts   words and bigrams: of each unit ► of all
file_views ► title_views     page views: of each file ► of the titles that may be queries
selected_sources ► outputs   what each source gives ► the queries, and all that the stage leaves behind
survey ► report              what the report shows of a source ► the page (by sections, plots, page)
What a word, a bigram, a title and a synset is, says the package `vocab`.
"""

from pipeline.vocabulary.stage import BuildVocab as BuildVocab
