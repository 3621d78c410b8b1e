"""What the hashes of texts are made of: constants that compiled queries depend on, so that they must never change."""

import hashlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

BYTE_VALUES: Hashes = np.frombuffer(hashlib.shake_256(b"values of the 256 bytes").digest(256 * 8), "<u8")
TOKEN_MULTIPLIER = 0xD1B54A32D192ED03  # any odd number without a pattern; the bytes' one is chosen for each table
