"""The forms that a finished set may have: how its shards, samples and members are named, as readers of it expect.

``wit400m``, the default, is read by all of them; the others are for tools that go by names. What differs:

    wit400m        00000.tar                            KEY.jpg KEY.json KEY.txt
    img2dataset    00000.tar 00000_stats.json           000000000.jpg … of the shard's and the sample's number
    datacomp       00000000.tar 00000000_stats.json     000000000000.jpg …
    open_clip      00000.tar                            KEY.jpg KEY.txt
    hugging-face   data/train-00000-of-00016.tar        KEY.jpg KEY.json KEY.txt

The shards of the validation split lie in the folder ``validation``, named as the others are; in the Hub's form beside
them. Whatever keys are called, the id of a sample's pair is in the index, and in the JSON, where there is one.

Source: img2dataset 1.47.0, `downloader.compute_key`, `writer`, `logger.write_stats`; DataComp, ``download_upstream.py``
and ``resharder.py``; open_clip 3.3.0, `open_clip_train.data`; Hugging Face Hub, "Dataset repository structure" and
"WebDataset".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.shard_format import PAIR_KEY, TRAIN

FormName = Literal["wit400m", "img2dataset", "open_clip", "datacomp", "hugging-face"]

_DEFAULT: Final = "wit400m"
_SAMPLE_DIGITS: Final = 4  # of a sample's number in its shard, at least, as with img2dataset's 10,000 a shard


class Form(NamedTuple):
    """How a set is named.

    Attributes:
        name: Of the form.
        digits: Of a shard's number, at least; there are more where needed, so that names sort as numbers do.
        is_numbered: Whether keys of samples are their numbers, not the ids of their pairs, and there are statistics of
            each shard, both as img2dataset writes them.
        has_json: Whether samples have JSON.
        tells_split: Whether names of shards say the split and how many there are.
    """

    name: FormName
    digits: int = 5
    is_numbered: bool = False
    has_json: bool = True
    tells_split: bool = False

    def shard_name(self, split: str, number: int, num_shards: int) -> str:
        """The name of a shard, in its folder.

        Args:
            split: Whose it is.
            number: Its place in the split.
            num_shards: How many the split has.

        >>> FORMS["wit400m"].shard_name("train", 7, 250_000), FORMS["datacomp"].shard_name("validation", 7, 9)
        ('000007.tar', 'validation/00000007.tar')
        >>> FORMS["hugging-face"].shard_name("train", 0, 16)
        'data/train-00000-of-00016.tar'
        """
        if self.tells_split:
            digits = max(self.digits, len(str(num_shards)))
            return f"data/{split}-{number:0{digits}d}-of-{num_shards:0{digits}d}.tar"
        name = f"{number:0{max(self.digits, len(str(num_shards - 1)))}d}.tar"
        return name if split == TRAIN else f"{split}/{name}"

    def shard_pattern(self, split: str) -> str:
        """A glob that fits the shards of a split, and none of another.

        >>> [form.shard_pattern("validation") for form in (FORMS["wit400m"], FORMS["hugging-face"])]
        ['validation/*.tar', 'data/validation-*.tar']
        """
        if self.tells_split:
            return f"data/{split}-*.tar"
        return "*.tar" if split == TRAIN else f"{split}/*.tar"

    @property
    def extra_keys(self) -> tuple[str, ...]:
        """Of the JSON of samples, besides `SAMPLE_JSON_KEYS`: texts or null."""
        return (PAIR_KEY, "status", "error_message") if self.is_numbered else ()

    def sample_keys(self, pair_keys: list[str], *, shard: int, num_shards: int, shard_samples: int) -> list[str]:
        """The keys of the samples of a shard.

        Args:
            pair_keys: Ids of their pairs.
            shard: Its number among the shards of all splits.
            num_shards: Of all splits.
            shard_samples: The most that a shard of the set has.

        >>> FORMS["img2dataset"].sample_keys(["", ""], shard=3, num_shards=16, shard_samples=500)
        ['000030000', '000030001']
        """
        if not self.is_numbered:
            return pair_keys
        of_sample = max(_SAMPLE_DIGITS, len(str(shard_samples - 1)))
        of_shard = max(self.digits, len(str(num_shards - 1)))
        return [f"{shard:0{of_shard}d}{number:0{of_sample}d}" for number in range(len(pair_keys))]


FORMS: Final[Mapping[str, Form]] = {
    form.name: form
    for form in (
        Form(_DEFAULT),
        Form("img2dataset", is_numbered=True),
        Form("open_clip", has_json=False),
        Form("datacomp", digits=8, is_numbered=True),
        Form("hugging-face", tells_split=True),
    )
}


def form_of(manifest: Mapping[str, Any]) -> Form:
    """The form of a set, by its manifest, which names it where it is not the default."""
    return FORMS[manifest.get("layout", _DEFAULT)]


def describe_form(form: Form) -> dict[str, str]:
    """What the manifest says of a form."""
    return {} if form.name == _DEFAULT else {"layout": form.name}


def split_of(entry: Mapping[str, Any]) -> str:
    """The split of a shard, by what the manifest says of it."""
    return str(entry.get("split", TRAIN))


def splits_of(manifest: Mapping[str, Any]) -> list[str]:
    """The splits that have shards, that for training first and in any case."""
    return list(dict.fromkeys([TRAIN, *map(split_of, manifest["shards"])]))


def brace_pattern(names: Sequence[str]) -> str:
    """What webdataset and open_clip call some shards of one split, which follow one another.

    >>> brace_pattern(["00000.tar", "00001.tar", "00002.tar"]), brace_pattern(["data/train-00000-of-00001.tar"])
    ('{00000..00002}.tar', 'data/train-{00000..00000}-of-00001.tar')
    """
    (before, first, after), (_, last, _) = (
        re.split(r"(?<!\d)(\d{5,})", name, maxsplit=1) for name in (names[0], names[-1])
    )
    return f"{before}{{{first}..{last}}}{after}"


def shard_patterns(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """What webdataset and open_clip call the shards of each split that has some, and how many samples these hold."""
    found = {}
    for split in splits_of(manifest):
        entries = [entry for entry in manifest["shards"] if split_of(entry) == split]
        if entries:
            found[split] = brace_pattern([entry["name"] for entry in entries]), sum(e["samples"] for e in entries)
    return found


def describe_split(split: str) -> dict[str, str]:
    """What the manifest says of the split of a shard."""
    return {} if split == TRAIN else {"split": split}


def stats_name(shard: str) -> str:
    """The statistics beside a shard.

    >>> stats_name("validation/00007.tar")
    'validation/00007_stats.json'
    """
    return f"{shard.removesuffix('.tar')}_stats.json"


def write_stats(shards: ShardsFolder, shard: str, *, samples: int) -> None:
    """Writes the statistics of a shard.

    They tell of the samples that are there; when they were fetched is not told, for bytes follow from the data alone.
    """
    told = {"count": samples, "successes": samples, "failed_to_download": 0, "failed_to_resize": 0}
    times = {"duration": 0.0, "start_time": 0.0, "end_time": 0.0}
    stats = {**told, **times, "status_dict": {"success": samples}}
    files.write_json(shards.file(stats_name(shard)), stats, sort_keys=False)
