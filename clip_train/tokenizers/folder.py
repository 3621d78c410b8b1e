"""The tokenizer of a model, whichever kind it is, and its file in a folder.

In: a folder. Out: a `TextTokenizer`: our BPE (``tokenizer.txt``), or the tokenizer of a Hugging Face encoder
(``tokenizer.json``).
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from clip_train.tokenizers.bpe import TOKENIZER_NAME, ClipTokenizer
from clip_train.tokenizers.encoder import ENCODER_TOKENIZER_NAME, EncoderTokenizer

TOKENIZER_NAMES = (TOKENIZER_NAME, ENCODER_TOKENIZER_NAME)


class TextTokenizer(Protocol):
    """What makes the ids of a text tower."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def pad_id(self) -> int:
        """The id behind short texts."""

    def tokenize(self, texts: str | Sequence[str], context_length: int = 77, *, truncate: bool = False) -> Tensor:
        """Ids ``[texts, context_length]`` int32, padded behind the text."""

    def save(self, path: str) -> None:
        """Writes the file that it is read from."""


def save_tokenizer(tokenizer: TextTokenizer, folder: str) -> None:
    """Writes a tokenizer's file into a folder, under the name that says its kind."""
    name = TOKENIZER_NAME if isinstance(tokenizer, ClipTokenizer) else ENCODER_TOKENIZER_NAME
    tokenizer.save(os.path.join(folder, name))


def find_tokenizer(folder: str) -> TextTokenizer | None:
    """The tokenizer in a folder; None when there is none."""
    if os.path.isfile(os.path.join(folder, TOKENIZER_NAME)):
        return ClipTokenizer.load(os.path.join(folder, TOKENIZER_NAME))
    if os.path.isfile(os.path.join(folder, ENCODER_TOKENIZER_NAME)):
        return EncoderTokenizer.load(folder)
    return None


def tokenizer_digest(folder: str) -> str:
    """What tells the tokenizer in a folder from others."""
    digest = hashlib.sha256()
    for name in TOKENIZER_NAMES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()
