"""The tokenizer of a Hugging Face encoder: texts to token ids, its file.

In: texts. Out: int32 ids ``[texts, context]``: what the encoder's own file says, its padding behind the text.
"""

import os
from collections.abc import Sequence

import numpy as np
import tokenizers
import torch
from torch import Tensor

from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.tokenizers.texts import check_context, list_texts

ENCODER_TOKENIZER_NAME = "tokenizer.json"
_PAD_TOKENS = ("[PAD]", "<pad>")


class EncoderTokenizer:
    """The tokenizer of a Hugging Face encoder: word pieces with [CLS] and [SEP], or what its file says.

    Attributes:
        pad_id: The id behind short texts.
    """

    def __init__(self, encoder: tokenizers.Tokenizer) -> None:
        encoder.no_padding()
        encoder.no_truncation()
        self._encoder = encoder
        self.pad_id = next((pad for token in _PAD_TOKENS if (pad := encoder.token_to_id(token)) is not None), 0)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return int(self._encoder.get_vocab_size())

    def tokenize(self, texts: str | Sequence[str], context_length: int = 77, *, truncate: bool = False) -> Tensor:
        """Token ids for the text tower.

        Args:
            texts: One text or several.
            context_length: Columns of the result.
            truncate: Cut a text that is too long (its closing token stays the last) instead of raising.

        Returns:
            ``[texts, context_length]`` int32, padded with `pad_id`.

        Raises:
            InputError: When a text is too long and `truncate` is false, or something is no text or no context.
        """
        check_context(context_length)
        texts = list_texts(texts)
        out = np.full((len(texts), context_length), self.pad_id, dtype=np.int32)
        for row, text, encoding in zip(out, texts, self._encoder.encode_batch_fast(texts), strict=True):
            ids = encoding.ids
            if len(ids) > context_length:
                if not truncate:
                    raise InputError(
                        f"text of {len(ids)} tokens is longer than the context of {context_length}: {text!r:.80}"
                    )
                ids = [*ids[: context_length - 1], ids[-1]]
            row[: len(ids)] = ids
        return torch.from_numpy(out)

    def save(self, path: str) -> None:
        """Writes the tokenizer's file."""
        self._encoder.save(path)

    @classmethod
    def load(cls, folder: str) -> "EncoderTokenizer":
        """Reads the tokenizer of an encoder's folder; one without ``tokenizer.json`` needs `transformers`.

        Raises:
            InputError: When there is none.
        """
        path = os.path.join(folder, ENCODER_TOKENIZER_NAME)
        if not os.path.isfile(path):
            transformers = import_extra("transformers", extra="hf", needed_for=f"{folder}: a tokenizer of this kind")
            try:
                slow = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                return cls(slow.backend_tokenizer)
            except (OSError, ValueError, AttributeError) as error:
                raise InputError(f"{folder}: no tokenizer ({str(error).splitlines()[0]})") from error
        try:
            return cls(tokenizers.Tokenizer.from_file(path))
        except Exception as error:  # the library raises nothing more precise
            raise InputError(f"{path}: not a tokenizer's file ({error})") from error
