"""What is known of evaluation images ► an index that workers map into memory ► which samples are one of them.

In: tables of `EVALUATED`, and rows of raw indexes. Out: hits, a sample and an image each. A sample is *exactly* an
image when its file was the same (SHA-256), and *nearly* when it looks alike (`pipeline.pixels.looks`, or a perceptual
hash that was given).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.base.arrays import Ints, join_sorted, read_array, write_array
from pipeline.base.drops import Counts
from pipeline.base.folders import StageFolder
from pipeline.base.tables import read_table, write_table
from pipeline.pixels.looks import Looks, looks_array
from pipeline.sharding.selection.alike import AlikeIndex

# By how much a sample may differ from an evaluation image, as a share of its contrast: more than near-duplicates may,
# since what is missed costs more here than what is lost (`benchmarks/decontamination.py`).
DISTANCE: Final = 0.08
_ROWS_AT_ONCE: Final = 1 << 14  # compared with all perceptual hashes that were given: 64 of them fill 8 MB
_HASHES_AT_ONCE: Final = 64

HITS: Final = np.dtype([("row", "<i4"), ("image", "<i4"), ("is_exact", "?")])
Hits = npt.NDArray[np.void]  # of `HITS`
EVALUATION_IMAGES = pa.schema([pa.field("set", pa.int32()), pa.field("name", pa.string())])  # by number


class EvaluationArrays(NamedTuple):
    """The images of all sets, by number: what lies in files.

    Attributes:
        sets: [images], number of the set of each.
        digests: [rows] S32, sorted: SHA-256 of files.
        digest_images: [rows], whose they are.
        phashes: [rows] uint64, of images that are known by a perceptual hash.
        phash_images: [rows], whose they are.
        looks: [rows, LOOKS_BYTES], descriptors of images.
        looks_images: [rows], whose they are.
    """

    sets: Ints
    digests: npt.NDArray[np.bytes_]
    digest_images: Ints
    phashes: npt.NDArray[np.uint64]
    phash_images: Ints
    looks: Looks
    looks_images: Ints


def write_index(tables: Sequence[str], output: str, *, folder: StageFolder) -> Counts:
    """Writes the index of all images that some tables tell of.

    Args:
        tables: Of `EVALUATED`, in order.
        output: Where the names of images go (`EVALUATION_IMAGES`), last.
        folder: Where the arrays go.
    """
    parts = [read_table(path) for path in tables]
    table = pa.concat_tables(parts)
    units = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
    pairs = units.astype(np.int64) << 32 | table["image"].to_numpy()
    _, firsts, images = np.unique(pairs, return_index=True, return_inverse=True)
    named = table.select(EVALUATION_IMAGES.names).take(pa.array(firsts))
    digests, digest_rows = _known_digests(table["sha256"])
    order = np.argsort(digests, kind="stable")
    looks, looks_rows = _known_looks(table["looks"])
    phashes, phash_rows = _known_phashes(table["phash"])
    arrays = EvaluationArrays(
        sets=named["set"].to_numpy(),
        digests=digests[order],
        digest_images=images[digest_rows[order]],
        phashes=phashes,
        phash_images=images[phash_rows],
        looks=looks,
        looks_images=images[looks_rows],
    )
    for name, array in arrays._asdict().items():
        write_array(folder.file(f"{name}.npy"), array)
    write_table(output, named, EVALUATION_IMAGES)
    return {}


class EvaluationIndex:
    """The images of all sets, to find those that samples are.

    Attributes:
        sets: [images], number of the set of each.

    Args:
        arrays: What is known of them.
        mirrored: Whether pictures are alike that are so in a mirror.
    """

    def __init__(self, arrays: EvaluationArrays, *, mirrored: bool = False) -> None:
        self.sets = arrays.sets
        self._arrays = arrays
        self._alike = AlikeIndex(arrays.looks, distance=DISTANCE, mirrored=mirrored)

    def find_hits(self, table: pa.Table, *, phash_distance: int) -> Hits:
        """The evaluation images that samples are, by row and image, each pair once.

        Args:
            table: With ``sha256``, ``phash`` and ``looks`` of samples.
            phash_distance: Bits by which pictures may differ from a perceptual hash that was given.
        """
        arrays = self._arrays
        digests, known = _known_digests(table["sha256"])
        rows, places = join_sorted(digests, arrays.digests)
        found = [_hits(known[rows], arrays.digest_images[places], is_exact=True)]
        if len(arrays.phashes):
            phashes, known = _known_phashes(table["phash"])
            rows, places = near_phashes(phashes, arrays.phashes, distance=phash_distance)
            found.append(_hits(known[rows], arrays.phash_images[places], is_exact=False))
        looks, known = _known_looks(table["looks"])
        rows, places = self._alike.find(looks)
        found.append(_hits(known[rows], arrays.looks_images[places], is_exact=False))
        hits = np.concatenate(found)
        # Of a pair that is found twice the exact find comes first.
        _, firsts = np.unique(hits["row"].astype(np.int64) << 32 | hits["image"], return_index=True)
        return hits[firsts]


def open_index(folder: StageFolder, *, mirrored: bool) -> EvaluationIndex:
    """Opens an index that was written."""
    names = EvaluationArrays._fields
    return EvaluationIndex(
        EvaluationArrays(*(read_array(folder.file(f"{name}.npy")) for name in names)), mirrored=mirrored
    )


def _known_digests(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.bytes_], Ints]:
    """The digests that a column has, and their rows."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return np.frombuffer(b"".join(column.drop_null().to_pylist()), "S32"), rows


def _known_looks(column: pa.ChunkedArray) -> tuple[Looks, Ints]:
    """The descriptors that a column has, and their rows."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return looks_array(column.drop_null()), rows


def _known_phashes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], Ints]:
    """The perceptual hashes that a column has, and their rows."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return column.drop_null().to_numpy().astype(np.int64).view(np.uint64), rows


def near_phashes(wanted: npt.NDArray[np.uint64], known: npt.NDArray[np.uint64], *, distance: int) -> tuple[Ints, Ints]:
    """Pairs of perceptual hashes that differ in few bits: places in `wanted`, and in `known`.

    >>> near_phashes(np.array([7, 1], np.uint64), np.array([3], np.uint64), distance=1)
    (array([0, 1]), array([0, 0]))
    """
    found = []
    for first in range(0, len(known), _HASHES_AT_ONCE):
        for start in range(0, len(wanted), _ROWS_AT_ONCE):
            part = wanted[start : start + _ROWS_AT_ONCE, None] ^ known[None, first : first + _HASHES_AT_ONCE]
            rows, places = np.nonzero(np.bitwise_count(part) <= distance)
            found.append((start + rows, first + places))
    rows, places = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else (np.empty(0, int),) * 2
    return rows, places


def _hits(rows: Ints, images: Ints, *, is_exact: bool) -> Hits:
    hits = np.empty(len(rows), HITS)
    hits["row"], hits["image"], hits["is_exact"] = rows, images, is_exact
    return hits
