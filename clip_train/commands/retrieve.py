"""The command retrieve: the samples that fit a text or an image best, among the features that embed wrote.

In: an options record, texts. Out: the best samples on stdout and, where asked, as JSON; an exit code.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor

from clip_train.api import find_model
from clip_train.commands.shared_options import (
    CHECKPOINT_HELP,
    DEVICE_HELP,
    JSON_HELP,
    load_model,
    require,
    write_figures,
)
from clip_train.errors import InputError
from clip_train.training.checkpoint import model_digest
from clip_train.use.features import encode_images, encode_texts
from clip_train.use.search.exact import Found, search_exact
from clip_train.use.search.faiss_index import IndexKind, search_faiss
from clip_train.use.search.feature_files import FeatureTables
from clip_train.use.shard_features import IMAGES, Kind
from pipeline.base.options import check_options, option

EXACT: Final = "exact"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrieveConfig:
    """Finds the samples whose features fit texts or an image best, among the files that embed wrote."""

    name: ClassVar[str] = "retrieve"

    checkpoint: str = option("", CHECKPOINT_HELP)
    features: str = option("", "Folder that embed wrote.")
    image: tuple[str, ...] = option((), "Image files or http(s) URLs to search with, after the texts.")
    among: Kind = option(IMAGES, "What is searched.")
    top: int = option(10, "Samples shown for each query.", minimum=1)
    index: Literal["exact", IndexKind] = option(
        EXACT,
        "exact: block by block, no index; faiss-flat, faiss-ivf: an index beside the features (extra faiss).",
    )
    probes: int = option(32, "Lists of faiss-ivf that are looked into: more find more, and take longer.", minimum=1)
    json: str = option("", JSON_HELP)
    device: str = option("auto", DEVICE_HELP)

    def __post_init__(self) -> None:
        check_options(self)


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
    write_figures(config.json, figures)
    return 0


def _search(config: RetrieveConfig, tables: FeatureTables, queries: Tensor) -> Found:
    if config.index == EXACT:
        return search_exact(tables, config.among, queries, top=config.top)
    return search_faiss(tables, config.among, queries, top=config.top, index=config.index, num_probes=config.probes)
