"""The command tokenizer: texts to the merges of a tokenizer.

In: an options record. Out: a file of merges; a line on stdout; an exit code.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar

from clip_train.commands.shared_options import require
from clip_train.data.shards import ShardReader, list_shards
from clip_train.evaluate.labelled import holds_shards
from clip_train.files import make_folder, read_lines
from clip_train.tokenizers.bpe import train_tokenizer
from pipeline.base.options import check_options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Trains a tokenizer on the texts of shards or of text files."""

    name: ClassVar[str] = "tokenizer"

    train: tuple[str, ...] = option((), "Shards, or UTF-8 text files with one text a line.")
    output: str = option("", "File for the merges.")
    vocab_size: int = option(49_408, "Most token ids: bytes, merges, start and end.", minimum=515)
    max_texts: int = option(1_000_000, "Texts read from each path, first to last.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)


def run_tokenizer(config: TokenizerConfig, _: Sequence[str]) -> int:
    """Trains a tokenizer and writes its merges."""
    require(config, "train", "output")
    make_folder(os.path.dirname(config.output) or ".")
    texts = (text for path in config.train for text in _texts_of(path, config.max_texts))
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size)
    tokenizer.save(config.output)
    print(f"{len(tokenizer.merges)} merges, {tokenizer.vocab_size} ids, {config.output}")
    return 0


def _texts_of(path: str, limit: int) -> list[str]:
    if holds_shards(path):
        return list(ShardReader(list_shards([path]), max_open=1).texts(limit))
    return read_lines(path)[:limit]
