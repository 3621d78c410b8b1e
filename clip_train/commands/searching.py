"""The commands embed and retrieve: features of whole shards, and search among them.

In: an options record, shards or texts. Out: a folder of features, or the best samples on stdout and, where asked, as
JSON; an exit code. Started by torchrun, the ranks of embed share the shards.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from clip_train.api import find_model
from clip_train.checkpoint import model_digest
from clip_train.commands.shared import (
    CHECKPOINT_HELP,
    DEVICE_HELP,
    JSON_HELP,
    PRECISIONS,
    encode_shards,
    load_model,
    require,
    write_json,
)
from clip_train.config import InputError
from clip_train.features import encode_images, encode_texts
from clip_train.search.exact import Found, search_exact
from clip_train.search.faiss_index import FLAT, IVF, search_faiss
from clip_train.search.tables import (
    DTYPES,
    FEATURES_NAME,
    FORMATS,
    PARQUET,
    FeatureTables,
    table_path,
    write_features,
)
from clip_train.shard_features import IMAGES, TEXTS
from pipeline.base.options import check_options, option

EXACT = "exact"
BOTH = "both"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Writes the features of shards' images and texts to files, one set a shard; goes on where it was cut short."""

    name: ClassVar[str] = "embed"

    checkpoint: str = option("", CHECKPOINT_HELP)
    output: str = option("", "Folder for the features.")
    features: str = option(BOTH, "What is encoded.", choices=(IMAGES, TEXTS, BOTH))
    format: str = option(
        PARQUET, "parquet: one table a shard; npy: arrays and a table, laid out as by clip-retrieval.", choices=FORMATS
    )
    dtype: str = option("float16", "Type of the numbers in the files.", choices=DTYPES)
    batch_size: int = option(256, "Images or texts encoded at once.", minimum=1)
    precision: str = option("fp32", "bf16: matrix products in bfloat16.", choices=PRECISIONS)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def kinds(self) -> list[str]:
        """What is encoded."""
        return [IMAGES, TEXTS] if self.features == BOTH else [self.features]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrieveConfig:
    """Finds the samples whose features fit texts or an image best, among the files that embed wrote."""

    name: ClassVar[str] = "retrieve"

    checkpoint: str = option("", CHECKPOINT_HELP)
    features: str = option("", "Folder that embed wrote.")
    image: tuple[str, ...] = option((), "Image files or http(s) URLs to search with, after the texts.")
    among: str = option(IMAGES, "What is searched.", choices=(IMAGES, TEXTS))
    top: int = option(10, "Samples shown for each query.", minimum=1)
    index: str = option(
        EXACT,
        "exact: block by block, no index; faiss-flat, faiss-ivf: an index beside the features (extra faiss).",
        choices=(EXACT, FLAT, IVF),
    )
    probes: int = option(32, "Lists of faiss-ivf that are looked into: more find more, and take longer.", minimum=1)
    json: str = option("", JSON_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


def run_embed(config: EmbedConfig, paths: Sequence[str]) -> int:
    """Writes the features of shards."""
    encode_shards(
        config,
        paths,
        closing_name=FEATURES_NAME,
        table_path=partial(table_path, config.output, format=config.format),
        write=partial(write_features, config.output, format=config.format, dtype=config.dtype),
        kinds=config.kinds,
        identity=lambda model: {
            "features": config.kinds,
            "format": config.format,
            "dtype": config.dtype,
            "dim": model.config.embed_dim,
        },
    )
    return 0


def run_retrieve(config: RetrieveConfig, texts: Sequence[str]) -> int:
    """Prints the samples that fit each text and each image best."""
    require(config, "checkpoint", "features")
    queries = [*texts, *config.image]
    if not all(queries) or not queries:
        raise InputError("nothing to search with: give a text, or --image")
    tables = FeatureTables(config.features)
    checkpoint = find_model(config.checkpoint)
    if tables.identity["model"] != model_digest(checkpoint):
        raise InputError(f"{config.features} holds features of another model than {config.checkpoint}")
    model = load_model(checkpoint, config.device)
    found = _search(config, tables, torch.cat([encode_texts(model, texts), encode_images(model, config.image)]))
    figures = []
    for query, cosines, rows in zip(queries, found.cosines.tolist(), found.rows.tolist(), strict=True):
        hits = [(cosine, row) for cosine, row in zip(cosines, rows, strict=True) if row >= 0]
        described = tables.describe([row for _, row in hits])
        print(query)
        for (cosine, _), sample in zip(hits, described, strict=True):
            caption = " ".join((sample.caption or "").split())
            print(f"  {cosine:.4f}  {sample.key}  {caption}  {sample.url or ''}".rstrip())
        samples = [{"cosine": cosine, **sample._asdict()} for (cosine, _), sample in zip(hits, described, strict=True)]
        figures.append({"query": query, "samples": samples})
    write_json(config.json, figures)
    return 0


def _search(config: RetrieveConfig, tables: FeatureTables, queries: Tensor) -> Found:
    if config.index == EXACT:
        return search_exact(tables, config.among, queries, top=config.top)
    return search_faiss(tables, config.among, queries, top=config.top, index=config.index, num_probes=config.probes)
