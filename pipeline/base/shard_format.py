"""Names inside and around a shard: the contract between the pipeline that writes shards and whoever reads them.

A shard is a USTAR tar of samples; a sample is three adjacent members that share a key::

    KEY.jpg (or .png, .webp…)  the image          KEY.txt   the text, UTF-8
    KEY.json                   where it came from (`SAMPLE_JSON_KEYS`)

The JSON of every sample has the same keys, and no value is ever null but a carried column's and, where img2dataset's
names were asked for, its ``error_message``: readers like Hugging Face's take the types from the first samples. Beside
the shards lie ``sizes.json`` (shard name to number of samples, as open_clip reads it), ``wids.json`` (the index of the
package wids) and ``manifest.json``. A trained model's scores of samples come back to the pipeline as a folder of
Parquet tables with the columns `SCORE_COLUMNS`, closed by ``scores.json``. Only the standard library is used here.

Source: WebDataset format, https://github.com/webdataset/webdataset; ``url``, ``caption``, ``uid`` and ``key`` are names
of img2dataset's and DataComp's.
"""

from typing import Final

IMAGE_SUFFIXES: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",  # this and what follows only where images are kept as they came, `reencode` never
    "image/avif": "avif",
    "image/bmp": "bmp",
}
TEXT_SUFFIX: Final = "txt"
JSON_SUFFIX: Final = "json"
TRAIN: Final = "train"  # the splits of a set
VALIDATION: Final = "validation"
SHARD_FOLDERS: Final = (VALIDATION, "data")  # in a set, those that may hold shards, by its form
SIZES_NAME: Final = "sizes.json"
WIDS_NAME: Final = "wids.json"
MANIFEST_NAME: Final = "manifest.json"
SCORES_NAME: Final = "scores.json"
SCORE_COLUMNS: Final = ("key", "score")  # a sample's key; the cosine of its image and its text, float32
BOXES: Final = "boxes"  # of faces, in such a table: lists of five numbers, left, top, right, bottom, score, as shares
FACES_BLURRED: Final = "faces_blurred"  # in the JSON of samples, where faces were blurred: how many
UID: Final = "uid"  # a sample's key, or the uid of the table that it came from, if that was carried along
PAIR_KEY: Final = "pair_id"  # the id of a sample's pair, as its key, where samples are called by other names
SAMPLE_JSON_KEYS: Final = (
    "key",
    UID,
    "url",
    "page_url",  # empty where it is not known
    "caption",
    "text_source",
    "language",  # of the page, as it declares it; empty where it does not
    "source_file",  # of the crawl, or the table, that the pair was found in
    "queries",
    "kept_for",
    "keep_probability",
    "sha256",
    "phash",
    "width",
    "height",
    "original_width",
    "original_height",
)


def describe_probability(probability: float) -> float:
    """A probability with as many digits as a float32 has.

    >>> describe_probability(0.3499999940395355)
    0.35
    """
    return float(f"{probability:.7g}")


def raw_name(unit_index: int) -> str:
    """Name, without suffix, of what belongs to a fetch unit.

    >>> raw_name(7)
    'raw-00007'
    """
    return f"raw-{unit_index:05d}"


def sample_key(pair_id: bytes) -> str:
    """Key of a sample in every shard: its pair id as 32 hexadecimal digits, unique and without dots.

    >>> sample_key(bytes(16))
    '00000000000000000000000000000000'
    """
    return pair_id.hex()


def member_name(key: str, suffix: str) -> str:
    """Name of a tar member.

    >>> member_name("00ff", "jpg")
    '00ff.jpg'
    """
    return f"{key}.{suffix}"
