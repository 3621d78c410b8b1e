"""The table that img2dataset writes beside a tar, for those who read its data sets: a row for each pair of a unit.

In: the index of a unit (`RAW_INDEX`), and what cameras wrote down. Out: `PEER_TABLE`, row for row with the index: names
and types as of img2dataset 1.47, our statuses as its error messages.
Source: img2dataset, "File types in output" (README); a shard of it.
"""

from collections.abc import Collection, Mapping
from typing import Final

import pyarrow as pa

from pipeline.base.schemas import OK_STATUS

PEER_TABLE: Final = pa.schema(
    [
        pa.field("caption", pa.string()),  # the text of the pair
        pa.field("url", pa.string()),
        pa.field("key", pa.string()),
        pa.field("status", pa.string()),  # success, failed_to_download or failed_to_resize
        pa.field("error_message", pa.string()),  # our status, if it is no success
        pa.field("width", pa.int32()),  # pixels, as stored; null where nothing is, as what follows
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("exif", pa.string()),  # JSON, an object
        pa.field("sha256", pa.string()),  # hexadecimal, of the bytes as fetched
    ]
)
_SAME_COLUMNS: Final = ("key", "width", "height", "original_width", "original_height")


def describe_index(index: pa.Table, *, exif: Mapping[str, str], unfit: Collection[str]) -> pa.Table:
    """The table of a unit.

    Args:
        index: Of the unit.
        exif: What cameras wrote down, as JSON, by the keys of samples.
        unfit: Statuses for which the image itself was at fault.
    """
    statuses = index["status"].to_pylist()
    failures = ["failed_to_resize" if status in unfit else "failed_to_download" for status in statuses]
    columns = {
        "caption": index["text"],
        "url": index["image_url"],
        "status": ["success" if s == OK_STATUS else failure for s, failure in zip(statuses, failures, strict=True)],
        "error_message": [None if status == OK_STATUS else status for status in statuses],
        "exif": [exif.get(key) for key in index["key"].to_pylist()],
        "sha256": [digest.hex() if digest else None for digest in index["sha256"].to_pylist()],
    }
    columns |= {name: index[name] for name in _SAME_COLUMNS}
    return pa.table({name: columns[name] for name in PEER_TABLE.names}, PEER_TABLE)
