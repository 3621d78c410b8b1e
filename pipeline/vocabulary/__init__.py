"""Wikipedia dump, page views and WordNet ► the query vocabulary: the stage build-vocab.

counting  the words and bigrams of a dump, unit by unit      wordnet  getting WordNet      stage  options and wiring
What a word, a bigram, a title and a synset is, says the package `vocab`.
"""

from pipeline.vocabulary.stage import BuildVocab as BuildVocab
