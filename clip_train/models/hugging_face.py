"""Text towers of the package transformers: token ids of the encoder's own tokenizer to the shared space.

In: ids ``[batch, length]``, padded behind the text. Out: features ``[batch, embed_dim]``, not normalised.
Any encoder that `AutoModel` builds and that gives one state a token will do: BERT, RoBERTa, DistilBERT….

Source: Devlin et al. 2018 (BERT), Liu et al. 2019 (RoBERTa); Radford et al. 2021, section 2.4.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clip_train.config import HuggingFaceTextConfig
from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.models.text import text_lengths


class HuggingFaceText(nn.Module):
    """An encoder read at its first token or at the mean of all, with a projection."""

    def __init__(self, config: HuggingFaceTextConfig, embed_dim: int) -> None:
        super().__init__()
        self.encoder = _build_encoder({**config.encoder, "vocab_size": config.vocab_size}, config.context_length)
        self._pad_id = config.pad_id
        self._pooling = config.pooling
        width = self.encoder.config.hidden_size
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Features in the shared space."""
        columns = torch.arange(ids.shape[1], device=ids.device)
        is_token = columns < text_lengths(ids, self._pad_id)[:, None]
        states: Tensor = self.encoder(input_ids=ids.long(), attention_mask=is_token.long()).last_hidden_state
        if self._pooling == "cls":
            pooled = states[:, 0]
        else:
            weights = is_token.to(states.dtype)[:, :, None]
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return pooled @ self.text_projection.to(pooled.dtype)


def load_encoder_weights(tower: nn.Module, folder: str) -> None:
    """Gives a tower's encoder the weights of a folder that `transformers` wrote.

    Raises:
        InputError: When the tower is another kind, or the folder holds no such encoder.
    """
    if not isinstance(tower, HuggingFaceText):
        raise InputError(f"{folder}: only a text tower of kind hugging-face takes an encoder's weights")
    transformers = import_extra("transformers", extra="hf", needed_for="an encoder of transformers")
    try:
        loaded = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no encoder of transformers ({str(error).splitlines()[0]})") from error
    state = {name: tensor for name, tensor in loaded.state_dict().items() if not name.startswith("pooler.")}
    try:
        tower.encoder.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{folder}: weights of another encoder ({str(error).splitlines()[-1].strip()})") from error


def _build_encoder(values: Mapping[str, Any], context_length: int) -> Any:
    transformers = import_extra("transformers", extra="hf", needed_for="a text tower of kind hugging-face")
    options = dict(values)
    model_type = options.pop("model_type", None)
    if model_type is None:
        raise InputError("the encoder's configuration has no model_type; give the config.json of its folder")
    try:
        encoder_config = transformers.AutoConfig.for_model(model_type, **options)
        encoder = transformers.AutoModel.from_config(encoder_config)
    except (ValueError, TypeError) as error:
        raise InputError(f"transformers cannot build the encoder {model_type!r} ({error})") from error
    positions = getattr(encoder_config, "max_position_embeddings", None)
    if positions is not None and context_length > positions:
        raise InputError(f"context-length {context_length} is more than the encoder's {positions} positions")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # its output is not read, and parameters without gradient stop data parallelism
    return encoder
