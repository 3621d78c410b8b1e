"""Made-up balanced pairs whose columns are as long, and repeat as often, as those of pairs off the web."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import list_column
from pipeline.base.schemas import BALANCED

NUM_WORDS = 20_000
NUM_HOSTS = 200_000
NUM_QUERIES = 500_000
QUERIES_A_PAIR = 3.5
TEXT_WORDS = 12
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def make_up_balanced(num_rows: int, seed: int) -> pa.Table:
    """Pairs with image URLs of about 100 characters, texts and page URLs of about 80, and hosts that follow Zipf's law.

    Args:
        num_rows: How many.
        seed: Others with another number.
    """
    rng = np.random.default_rng(seed)
    words = make_up_words()

    def draw() -> pa.Array:
        return words.take(pa.array((NUM_WORDS * rng.random(num_rows) ** 3).astype(np.int64)))

    def join(separator: str, *parts: pa.Array | str) -> pa.Array:
        return pc.binary_join_element_wise(*parts, separator)

    ranks = (NUM_HOSTS ** rng.random(num_rows)).astype(np.int64)
    hosts = join("", words.take(pa.array(ranks % NUM_WORDS)), pa.array(ranks).cast(pa.string()), ".example")
    marks = pa.array([f"{mark:016x}" for mark in rng.integers(0, 1 << 62, num_rows).tolist()])
    images = join("-", draw(), draw(), draw(), draw(), marks)
    lengths = rng.geometric(1 / QUERIES_A_PAIR, num_rows)
    query_ids = (NUM_QUERIES * rng.random(int(lengths.sum())) ** 4).astype(np.int32)
    firsts = query_ids[np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)]
    columns = {
        "pair_id": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), num_rows, [None, pa.py_buffer(rng.bytes(16 * num_rows))]
        ),
        "image_url": join("/", join("", "https://images.", hosts), draw(), draw(), join("", images, ".jpg")),
        "text": join(" ", *(draw() for _ in range(TEXT_WORDS))),
        "text_source": pa.array(["alt", "figcaption"]).take(pa.array((rng.random(num_rows) < 0.1).astype(np.int8))),
        "page_url": join("/", join("", "https://www.", hosts), draw(), draw(), join("-", *(draw() for _ in range(6)))),
        "source_file": pa.repeat(pa.scalar(f"CC-MAIN-20260101000000-{seed:05d}.warc.gz"), num_rows),
        "language": pa.nulls(num_rows, pa.string()),
        "query_ids": list_column(lengths, query_ids),
        "kept_for": list_column(np.ones(num_rows, np.int64), firsts),
        "keep_probability": pa.array(rng.random(num_rows), pa.float32()),
    }
    return pa.table({name: columns[name] for name in BALANCED.names}).cast(BALANCED)


def make_up_words() -> pa.Array:
    rng = np.random.default_rng(0)
    return pa.array(["".join(rng.choice(LETTERS, 2 + number % 9)) for number in range(NUM_WORDS)])
