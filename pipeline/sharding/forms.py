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

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pipeline.base import files
from pipeline.base.folders import ShardsFolder
from pipeline.base.shard_format import TRAIN

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


def describe_split(split: str) -> dict[str, str]:
    """What the manifest says of the split of a shard."""
    return {} if split == TRAIN else {"split": split}


def stats_name(shard: str) -> str:
    """The statistics beside a shard.

    >>> stats_name("validation/00007.tar")
    'validation/00007_stats.json'
    """
    return f"{shard.removesuffix('.tar')}_stats.json"


def files_of(form: Form, shard: str) -> list[str]:
    """The files of one shard: itself, its index, and its statistics where there are any."""
    return [shard, shard.removesuffix(".tar") + ".parquet", *([stats_name(shard)] if form.is_numbered else [])]


def write_stats(shards: ShardsFolder, form: Form, shard: str, *, samples: int) -> None:
    """Writes the statistics of a shard, where the form has them.

    They tell of the samples that are there; when they were fetched is not told, for bytes follow from the data alone.
    """
    if form.is_numbered:
        told = {"count": samples, "successes": samples, "failed_to_download": 0, "failed_to_resize": 0}
        times = {"duration": 0.0, "start_time": 0.0, "end_time": 0.0}
        stats = {**told, **times, "status_dict": {"success": samples}}
        files.write_json(shards.file(stats_name(shard)), stats, sort_keys=False)
