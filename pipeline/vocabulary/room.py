"""How much room the work of build-vocab takes on a disk at its fullest: units, sums and what is written last.

Source: own measurements. The counts of a dump take 0.74 of its size as bz2; other ratios follow from the sizes of one
excerpt of English Wikipedia in the other formats. All bigrams of all words take twice the size of the bz2 besides.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.base import files
from pipeline.vocabulary.given import find_files
from pipeline.vocabulary.options import VocabOptions
from vocab.kernels.compressed import detect_compression

_SHARE: Final = 0.74  # of the size as bz2
_SHARE_OF_ALL_BIGRAMS: Final = 2.0
_BZ2_BYTES: Final[Mapping[str, float]] = {"none": 0.28, "gzip": 0.80, "zstd": 0.82, "xz": 1.05, "7z": 1.05}  # a byte


def estimate_room(options: VocabOptions) -> int:
    """Bytes that the work takes in the output folder, about."""
    as_bz2 = sum(files.each(_bz2_bytes, find_files(options).dumps))
    counts_all = options.least_bigram_word_count == 1
    return round(as_bz2 * (_SHARE + (_SHARE_OF_ALL_BIGRAMS if counts_all else 0.0)))


def _bz2_bytes(path: str) -> float:
    """The size of a dump, as large as it would be as bz2."""
    with files.open_for_read(path) as file:
        compression = detect_compression(file)
    return files.file_size(path) * _BZ2_BYTES.get(str(compression), 1.0)
