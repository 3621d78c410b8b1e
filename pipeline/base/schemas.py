"""Every table between two stages, declared once: Arrow schema, a comment a column.

A pair keeps its columns on its way through the stages and gains some at each; `pair_id` is its identity.
"""

import pyarrow as pa

from pipeline.base.shard_format import UID

PAIR_ID = pa.binary(16)
LOOKS = pa.binary(61)  # what a picture looks like (`pipeline.pixels.looks`)

# Columns of any table whose values seldom repeat: Parquet's dictionaries of them would cost time and space.
DISTINCT = frozenset(
    {
        "pair_id",
        "key",
        UID,
        "image_url",
        "url",
        "text",
        "caption",
        "sha256",
        "phash",
        "looks",
        "offset",
        "query",
        "query_id",
        "cut",
    }
)

PAIRS = pa.schema(
    [
        pa.field("pair_id", PAIR_ID, nullable=False),  # blake2b-128 of (canonical image URL, NUL, text)
        pa.field("image_url", pa.string(), nullable=False),  # absolute, canonical
        pa.field("text", pa.string(), nullable=False),  # white space collapsed
        pa.field("text_source", pa.string(), nullable=False),  # alt, figcaption, title, og, table column…
        pa.field("page_url", pa.string()),  # page it was found on
        pa.field("language", pa.string()),  # of the page, as declared
        pa.field("source_file", pa.string(), nullable=False),  # base name of the input file
    ]
)

_QUERY_IDS = pa.list_(pa.field("element", pa.int32(), nullable=False))

PROVENANCE = ("text_source", "page_url", "language", "source_file")  # of a pair, from its page to the end

# Beside a table of pairs, row for row (`pipeline.base.matched_tables`).
MATCHED = pa.schema([pa.field("query_ids", _QUERY_IDS, nullable=False)])  # sorted, unique; empty: the text holds none

_KEPT_FOR = pa.field("kept_for", _QUERY_IDS, nullable=False)  # queries that selected the pair
# How likely a pair with these queries was to be kept: in 1 of so many draws of lots.
_KEEP_PROBABILITY = pa.field("keep_probability", pa.float32(), nullable=False)

BALANCED = pa.schema([*PAIRS, *MATCHED, _KEPT_FOR, _KEEP_PROBABILITY])

CUTS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),  # pairs that hold the query
        pa.field("cut", pa.uint64()),  # largest hash selected; null: all pairs are
        pa.field("kept", pa.int64(), nullable=False),  # min(count, cap)
    ]
)

# The same for a final selection, among the pairs whose image came; `cut` is never null where some were not fetched.
FINAL_CUTS = pa.schema(
    [
        *CUTS,
        pa.field("fetch_cut", pa.uint64()),  # largest hash planned for fetching; null: all pairs were
        pa.field("fetched", pa.int64(), nullable=False),  # pairs planned for fetching
        pa.field("alive", pa.int64(), nullable=False),  # of these with an image
    ]
)

# A balanced pair in its fetch unit, in the order of pair ids.
PLAN = BALANCED

# All texts of an image, where images were balanced; from the fetch plan on it is carried as columns of tables are
# (`carried_columns`). The first is the pair's `text`.
TEXTS = pa.field("texts", pa.list_(pa.field("element", pa.string())))

OK_STATUS = "ok"

# What came of the pairs of a fetch unit; it follows from the plan and the answers alone, not from when or how fast.
RAW_INDEX = pa.schema(
    [
        pa.field("pair_id", PAIR_ID, nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # `OK_STATUS` or a DropReason
        pa.field("offset", pa.int64()),  # of the sample's first tar header in the raw tar
        pa.field("length", pa.int64()),  # bytes of all its members, headers and padding
        pa.field("sha256", pa.binary(32)),  # of the image bytes as fetched
        pa.field("phash", pa.int64()),  # 64-bit perceptual hash
        pa.field("looks", LOOKS),
        pa.field("width", pa.int32()),  # pixels, as stored
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),  # pixels, as fetched
        pa.field("original_height", pa.int32()),
        pa.field("mime", pa.string()),  # of the stored image
        pa.field("bytes", pa.int32()),  # of the stored image
        *(PAIRS.field(name) for name in ("image_url", "text", *PROVENANCE)),
        pa.field("query_ids", _QUERY_IDS, nullable=False),
        _KEPT_FOR,
        _KEEP_PROBABILITY,
        pa.field("http_status", pa.int16()),
    ]
)

# A sample of a final shard, beside the shard, under the names of its JSON.
SHARD_INDEX = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field(UID, pa.string(), nullable=False),  # missing where a column of that name is carried
        pa.field("url", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in PROVENANCE),  # empty where it is not known
        pa.field("query_ids", _QUERY_IDS, nullable=False),
        _KEPT_FOR,
        _KEEP_PROBABILITY,
        pa.field("sha256", pa.string(), nullable=False),  # hexadecimal, of the image bytes as fetched
        pa.field("phash", pa.int64()),
        pa.field("looks", LOOKS),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("original_width", pa.int32(), nullable=False),
        pa.field("original_height", pa.int32(), nullable=False),
        pa.field("mime", pa.string(), nullable=False),
        pa.field("bytes", pa.int32(), nullable=False),  # of the image in the shard
        pa.field("offset", pa.int64(), nullable=False),  # of the sample's first tar header in the shard
        pa.field("length", pa.int64(), nullable=False),  # bytes of all its members, headers and padding
    ]
)

_STRINGS = pa.list_(pa.field("element", pa.string(), nullable=False))

# A sample of a finished set as others are told of it, without its image (export-urls), and may fetch it again.
LISTED = pa.schema(
    [
        *(SHARD_INDEX.field(name) for name in ("key", UID, "url", "caption", *PROVENANCE)),
        pa.field("queries", _STRINGS, nullable=False),  # in the text, in the order of their ids
        pa.field("query_ids", _QUERY_IDS, nullable=False),  # of these
        pa.field("kept_for", _STRINGS, nullable=False),
        _KEEP_PROBABILITY,
        *(SHARD_INDEX.field(name) for name in ("sha256", "phash", "original_width", "original_height")),
    ]
)
