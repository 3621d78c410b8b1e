"""The options of the stage build-vocab, and MetaCLIP's values of them as a preset.

Source: Radford et al. 2021, section 2.2, for the defaults; MetaCLIP v1 (metaclip1/build_metadata.py and
metaclip1/substr_matching.py) for the preset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from pipeline.base.lineage import Stamp
from pipeline.base.options import option
from pipeline.base.whole_stamps import whole_stamp
from pipeline.steps import Stage
from vocab.clitics import NO_CLITICS, check_clitics, clitics_of
from vocab.normalize import METACLIP, Case, Normalization, Style
from vocab.pageviews import Access
from vocab.titles import check_pattern

NO_WORDNET: Final = "none"
KeepOrDrop = Literal["keep", "drop"]


@dataclass(kw_only=True)
class VocabOptions(Stage):
    """What a user may choose; thresholds first select in each source, then its share and the budget cut."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "metaclip": {
            "numbers_below": 100,
            "min_word_count": 100,
            "min_bigram_word_count": 1,
            "min_bigram_count": 1,
            "min_pmi": 30.0,
            "max_bigrams": None,
            "min_views": 70,
            "qualifiers": "keep",
            "articles_only": False,
            "all_lemmas": False,
            "style": "metaclip",
        }
    }

    dump: tuple[str, ...] = option((), "A MediaWiki XML dump (pages-articles), or get-dump's folder.", identity=False)
    index: str = option("", "Index of the streams of a dump of one file [the folder's].", identity=False)
    pageviews: tuple[str, ...] = option(
        (), "Page-view files: hourly, complete, JSON or TSV [the folder's].", identity=False
    )
    views_project: str = option("", "Wiki whose page views count, e.g. en.wikipedia [the dump's own].")
    wordnet: str = option("", "Folder of NLTK data, or none for no WordNet [where NLTK looks].", identity=False)
    output: str = option("", "Folder to write.", under_data="vocab")
    case: Case = option("fold", "Whether case makes no difference (fold).")
    style: Style = option("words", "How queries are searched for: word by word, or as MetaCLIP does.")
    variant: str = option("", "Variant of the wiki's language that is read, e.g. zh-tw [as it is shown to all].")
    captions: bool = option(True, "Count the captions of images, too.")
    clitics: str = option(
        "", "Language whose clitics are words of their own (en: dog's is dog, s), or none [that of the wiki]."
    )
    min_word_count: int = option(100, "Occurrences that make a word a query (CLIP 2.2).", minimum=1)
    max_words: int | None = option(None, "Words at most, the most frequent ones [no limit].", minimum=0)
    numbers_below: int = option(0, "The numbers below this one are queries, too (MetaCLIP: 100).", minimum=0)
    min_bigram_count: int = option(100, "Occurrences that a bigram needs (MetaCLIP: 1).", minimum=1)
    min_bigram_word_count: int | None = option(
        None, "Occurrences that both words of a bigram need (MetaCLIP: 1) [min-word-count].", minimum=1
    )
    number_bigrams: bool = option(True, "Whether one word of a bigram may be a number (Boeing 747).")
    min_pmi: float = option(5.0, "Bits of mutual information that a bigram needs (MetaCLIP: 30).")
    rank_bigrams: Literal["pmi", "npmi"] = option("pmi", "What ranks bigrams: PMI, or PMI normalised.")
    max_bigrams: int | None = option(100_000, "Bigrams at most, the best ones (MetaCLIP has 100,646).", minimum=0)
    min_views: int = option(70, "Views that make a title a query (MetaCLIP).", minimum=1)
    max_titles: int | None = option(None, "Titles at most, the most viewed ones [as many as fit].", minimum=0)
    view_access: Access = option("all", "Whose views count; files that do not tell count all.")
    max_title_chars: int = option(256, "Characters of a title at most (MetaCLIP 2: 256).", minimum=1)
    disambiguation: KeepOrDrop = option("keep", "What becomes of pages that only tell subjects of one name apart.")
    lists: KeepOrDrop = option("keep", "What becomes of lists (List of …, in the wiki's language).")
    drop_titles: tuple[str, ...] = option((), "Regular expressions (RE2); titles that one is found in are dropped.")
    number_titles: KeepOrDrop = option("keep", "What becomes of titles without a letter (1984, 300).")
    qualifiers: Literal["strip", "keep", "drop"] = option("strip", "What becomes of the (film) after a title.")
    articles_only: bool = option(True, "Take no titles but those of articles in the dump.")
    all_lemmas: bool = option(True, "Take every lemma of a WordNet synset, not only the first (MetaCLIP: the first).")
    max_queries: int = option(500_000, "Queries at most; titles give way first (CLIP 2.2).", minimum=1)
    unit_bytes: int | None = option(
        None,
        "Bytes of a dump that are one unit of work [2 to 8 MB; 1,000 units at most].",
        minimum=1024,
        identity=False,
    )

    def __post_init__(self) -> None:
        """Checks the options; does no I/O."""
        super().__post_init__()
        if not self.dump:
            raise ValueError("build-vocab: dump must be given")
        check_clitics(self.clitics, stage="build-vocab", metaclip=self.style == "metaclip")
        for pattern in self.drop_titles:
            try:
                check_pattern(pattern)
            except ValueError as error:
                raise ValueError(f"build-vocab: drop-titles: {error}") from error

    def stamp(self, path: str) -> Stamp:
        """Dumps and page views are read whole, so all their bytes count."""
        return whole_stamp(path)

    def normalization_in(self, language: str) -> Normalization:
        """Which strings count as the same when queries are searched for.

        MetaCLIP's heed case, though its words are counted in lower case.

        Args:
            language: Of the wiki.
        """
        return METACLIP if self.style == "metaclip" else self.counting_in(language)

    def counting_in(self, language: str) -> Normalization:
        """Which strings are one word when those of a wiki are counted."""
        if self.style == "metaclip":
            return Normalization(case=self.case, clitics=NO_CLITICS)
        return Normalization(case=self.case, clitics=self.clitics or clitics_of(language))

    @property
    def least_bigram_word_count(self) -> int:
        """Occurrences that both words of a bigram need."""
        return self.min_word_count if self.min_bigram_word_count is None else self.min_bigram_word_count
