"""Which samples are held out for validation, told from the picture alone.

Pictures are told apart by their perceptual hash, or by the digest of the file where there is none: so the copies of a
picture, byte for byte or re-encoded with the same hash, are all on one side, whatever their texts and addresses, in
this run and the next. A larger share holds all that a smaller one does.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SPLIT_COLUMNS: Final = ("phash", "sha256")


def in_validation(table: pa.Table, share: float) -> npt.NDArray[np.bool_]:
    """Which rows are held out: [rows].

    Args:
        table: With the columns ``phash`` (int64 or null) and ``sha256`` (32 bytes).
        share: Of pictures, 0 to 1.

    >>> table = pa.table({"phash": [7, None, 7], "sha256": pa.array([bytes(32), b"x" * 32, b"y" * 32], pa.binary(32))})
    >>> [in_validation(table, share).tolist() for share in (0, 0.1, 0.5, 1)]
    [[False, False, False], [False, False, False], [True, False, True], [True, True, True]]
    """
    digests = table["sha256"].combine_chunks()
    start = digests.offset * digests.type.byte_width
    data = np.frombuffer(digests.buffers()[1] or b"", ">u8", offset=start, count=4 * len(digests))
    hashes = data.reshape(-1, 4)[:, 0].astype(np.uint64)
    known = pc.is_valid(table["phash"]).to_numpy()
    hashes[known] = table["phash"].drop_null().to_numpy().view(np.uint64)
    # 53 bits, so that a share is compared as the float that it is.
    return (_mix(hashes) >> np.uint64(11)).astype(np.float64) < share * 2.0**53


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Words whose bits all depend on all bits of others; no two become equal.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.
    """
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
