"""The folders that stages leave behind, a class each: which file in it is what. No file name is spelled elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.base import files
from pipeline.base.lineage import read_stage, stage_stamp
from pipeline.base.shard_format import MANIFEST_NAME, SHARD_FOLDERS, SIZES_NAME, TRAIN, VALIDATION, WIDS_NAME

_TABLE_SUFFIX = ".parquet"
_RAW_INDEX_SUFFIX = ".index.parquet"
_TAR_SUFFIX = ".tar"
_DIGEST_CHARS = 8  # of a folder, in the names of what comes from it


@dataclass(frozen=True)
class StageFolder:
    """The folder of a stage.

    Attributes:
        path: Where it lies.
    """

    path: str

    def file(self, *names: str) -> str:
        """A file in it."""
        return files.join(self.path, *names)

    def working(self, name: str, *names: str) -> str:
        """A file or folder that is gone when the stage is done."""
        return self.file(f"_{name}", *names)

    def table(self, name: str) -> str:
        """The table of a unit.

        Args:
            name: Of the unit, without suffix.
        """
        return self.file(name + _TABLE_SUFFIX)

    def finished_files(self, suffix: str) -> list[str]:
        """The files with a suffix that a finished stage left here, sorted by name.

        Raises:
            FileNotFoundError: When the stage has not finished here.
        """
        read_stage(self.path)
        return files.list_files(self.path, suffix)


def table_name(path: str) -> str:
    """The name of a table without folder and suffix: that of its unit.

    >>> table_name("data/pairs/crawl.warc.gz-00ff.parquet")
    'crawl.warc.gz-00ff'
    """
    return files.basename(path).removesuffix(_TABLE_SUFFIX)


VOCAB_MAKERS: Final = ("build-vocab", "import-vocab")  # the stages that leave a `VocabFolder`


class VocabFolder(StageFolder):
    """What build-vocab and import-vocab leave."""

    @property
    def queries(self) -> str:
        """Table of the queries (`QUERIES`)."""
        return self.table("queries")

    @property
    def queries_tsv(self) -> str:
        """The same for people."""
        return self.file("queries.tsv")

    @property
    def matcher(self) -> str:
        """Folder of the compiled queries."""
        return self.file("matcher")

    @property
    def imports(self) -> str:
        """Where the queries of own lists are from; build-vocab leaves none."""
        return self.table("imports")

    @property
    def damages(self) -> str:
        """The places in the dumps that could not be read."""
        return self.file("damages.tsv")

    @property
    def report(self) -> str:
        """The report, a page."""
        return self.file("report.html")


class PairsFolder(StageFolder):
    """What extract-pairs leaves: tables of `PAIRS`."""

    @property
    def tables(self) -> list[str]:
        """All of them; raises FileNotFoundError when the stage has not finished here."""
        return self.finished_files(_TABLE_SUFFIX)


class MatchedFolder(PairsFolder):
    """What match-pairs leaves: tables of `MATCHED`, under the names of the tables of pairs."""

    @property
    def counts(self) -> str:
        """How many pairs hold each query, [num_queries] int64."""
        return self.file("counts.npy")


class By(StrEnum):
    """What a selection is made of."""

    PAIR = "pair"
    IMAGE = "image"  # of its texts those that a query selected
    IMAGE_MATCHED = "image, matched texts"  # all that hold a query


class BalancedFolder(StageFolder):
    """What balance-pairs and top-up-pairs leave: tables of `BALANCED`; and balance-final: tables of `RAW_INDEX`."""

    @property
    def tables(self) -> list[str]:
        """All tables of pairs; raises FileNotFoundError when the stage has not finished here."""
        return [path for path in self.finished_files(_TABLE_SUFFIX) if path != self.cuts]

    @property
    def cuts(self) -> str:
        """What the cap did to every query (`CUTS` or `FINAL_CUTS`)."""
        return self.table("cuts")

    @property
    def rule(self) -> str:
        """What the pairs were selected by."""
        return self.file("rule.json")

    @property
    def by(self) -> By:
        """What was selected: pairs, where the rule does not say."""
        return By(files.read_json(self.rule).get("by", By.PAIR) if files.exists(self.rule) else By.PAIR)


class RawFolder(StageFolder):
    """What fetch-images leaves: raw tars and their indexes."""

    @property
    def indexes(self) -> list[str]:
        """Tables of `RAW_INDEX`; raises FileNotFoundError when the stage has not finished here."""
        return self.finished_files(_RAW_INDEX_SUFFIX)

    def index(self, name: str) -> str:
        """The index of a unit."""
        return self.file(name + _RAW_INDEX_SUFFIX)

    def tar(self, name: str) -> str:
        """The tar of a unit."""
        return self.file(name + _TAR_SUFFIX)


def raw_unit_name(index: str) -> str:
    """The name of the unit that an index belongs to.

    >>> raw_unit_name("data/raw/raw-00007.index.parquet")
    'raw-00007'
    """
    return files.basename(index).removesuffix(_RAW_INDEX_SUFFIX)


class RawUnit(NamedTuple):
    """A raw tar and its index, of one of several folders.

    Attributes:
        name: Unlike that of any other; it follows from the content of the folder.
        index_file: Path of its `RAW_INDEX`.
        tar: Path of the tar.
    """

    name: str
    index_file: str
    tar: str


def folder_digest(folder: str) -> str:
    """What the names of files from a finished folder begin with where those of several come together."""
    return str(stage_stamp(folder)["digest"])[:_DIGEST_CHARS]


def raw_units(folders: Sequence[str]) -> list[RawUnit]:
    """The raw tars of finished folders, sorted by name: the order in which folders are given does not matter.

    Raises:
        FileNotFoundError: When the stage has not finished in a folder.
        ValueError: When two folders hold the same.
    """
    digests = {folder: folder_digest(folder) for folder in folders}
    if len(set(digests.values())) < len(folders):
        raise ValueError(f"the same raw tars are given twice: {', '.join(folders)}")
    units = [
        RawUnit(f"{digest}-{raw_unit_name(index)}", index, raw_tar_of(index))
        for folder, digest in digests.items()
        for index in RawFolder(folder).indexes
    ]
    return sorted(units)


def raw_tar_of(index: str) -> str:
    """The tar beside an index.

    >>> raw_tar_of("data/raw/raw-00007.index.parquet")
    'data/raw/raw-00007.tar'
    """
    return index.removesuffix(_RAW_INDEX_SUFFIX) + _TAR_SUFFIX


class ShardsFolder(StageFolder):
    """What write-shards leaves; the shards are named by `shard_format`."""

    @property
    def sizes(self) -> str:
        """Samples of every shard."""
        return self.file(SIZES_NAME)

    @property
    def manifest(self) -> str:
        """All shards, with their digests."""
        return self.file(MANIFEST_NAME)

    def sizes_beside(self, shard: str) -> str:
        """Samples of every shard in the folder of one, by that one's name."""
        return self.file(*shard.split("/")[:-1], SIZES_NAME)

    @property
    def wids(self) -> str:
        """The index of the package wids, of the training split."""
        return self.wids_of(TRAIN)

    def wids_of(self, split: str) -> str:
        """The index of the package wids, of a split."""
        return self.file(WIDS_NAME if split == TRAIN else f"{split}-{WIDS_NAME}")

    @property
    def readme(self) -> str:
        """The data card in words, and what Hugging Face reads."""
        return self.file("README.md")

    @property
    def card(self) -> str:
        """Folder of the data card's tables."""
        return self.file("card")

    @property
    def query_counts(self) -> str:
        """How many pairs every query had, was given and got."""
        return self.file("card", "query_counts.parquet")

    @property
    def funnel(self) -> str:
        """Counts and options of every stage."""
        return self.file("card", "funnel.json")

    @property
    def value_counts(self) -> str:
        """How many samples have which host, language, size and so on."""
        return self.file("card", "values.parquet")

    @property
    def score_counts(self) -> str:
        """How many samples have which score, of those that samples were chosen by."""
        return self.file("card", "scores.parquet")

    @property
    def about(self) -> str:
        """What people say of the set, and versions of the software that made it."""
        return self.file("card", "about.json")

    @property
    def decontamination(self) -> str:
        """What became of the evaluation sets that samples were compared with, if they were."""
        return self.file("card", "decontamination.json")

    @property
    def page(self) -> str:
        """The data card as a page."""
        return self.file("card.html")

    @property
    def croissant(self) -> str:
        """What machines are told of the set."""
        return self.file("croissant.json")

    @property
    def removals(self) -> str:
        """What was removed, when and why."""
        return self.file("removals.jsonl")

    @property
    def about_all(self) -> list[str]:
        """The files that tell of all shards; which of them are there depends."""
        told = [self.manifest, *self.all_sizes, *self.all_wids, self.readme, self.page, self.croissant, self.removals]
        return [*told, self.query_counts, self.value_counts, self.score_counts, self.funnel, self.about]

    @property
    def all_sizes(self) -> list[str]:
        """Where samples of every shard may be told: in each folder that may hold shards."""
        return [self.file(*names, SIZES_NAME) for names in ((), *((folder,) for folder in SHARD_FOLDERS))]

    @property
    def all_wids(self) -> list[str]:
        """Where the indexes of the package wids may be: one for each split."""
        return [self.wids_of(split) for split in (TRAIN, VALIDATION)]

    def index(self, shard: str) -> str:
        """The index of a shard, by the shard's name."""
        return self.table(shard.partition(".")[0])
