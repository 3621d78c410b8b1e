"""Text towers: token ids to features in the shared space.

In: ids ``[batch, length]``, any length up to the context. Out: features ``[batch, embed_dim]``, not normalised.
No tower looks at the padding behind a text: the transformer is causal and read at the end token, the bag of words
holds what lies between start and end. So `trim_padding` cuts a batch to its longest text and changes no feature, and
the transformer computes nothing at all for padding: it packs the texts one behind another.

Source: Radford et al. 2019 (GPT-2); Radford et al. 2021, sections 2.3-2.4; CLIP's model.py for the initialisation;
Mikolov et al. 2013 (CBOW).
"""

import torch
from torch import Tensor, nn

from clip_train.config import CbowConfig, TextTransformerConfig
from clip_train.models.attention import Transformer
from clip_train.models.packing import PackedTexts, end_positions, pack_texts


def text_lengths(ids: Tensor, pad_id: int = 0) -> Tensor:
    """The tokens of each text without the padding behind it, ``[batch]`` int64.

    >>> text_lengths(torch.tensor([[7, 0, 9, 0], [7, 9, 0, 0]])).tolist()
    [3, 2]
    """
    columns = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    return ((ids != pad_id) * columns).amax(dim=-1)


def trim_padding(ids: Tensor, pad_id: int = 0) -> Tensor:
    """The columns up to the end of the longest text of a batch; features stay the same."""
    return ids[:, : int(text_lengths(ids, pad_id).max())] if len(ids) else ids


class TextTransformer(nn.Module):
    """A causal transformer read at the end token."""

    def __init__(self, config: TextTransformerConfig, embed_dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = Transformer(config.width, config.layers, config.heads, config.activation)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        width, layers = self.text_projection.shape[0], len(self.transformer.blocks)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.transformer.blocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=(2 * layers * width) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=(2 * layers * width) ** -0.5)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, ids: Tensor | PackedTexts) -> Tensor:
        """Features in the shared space."""
        tokens, packing = ids if isinstance(ids, PackedTexts) else pack_texts(ids)
        x = self.token_embedding(tokens) + self.positional_embedding[packing.columns]
        x = self.transformer.read_packed(x, packing)
        features: Tensor = self.ln_final(x) @ self.text_projection
        return features


class BagOfWords(nn.Module):
    """The mean of the embeddings of a text's tokens, start and end left out, whatever their order."""

    def __init__(self, config: CbowConfig, embed_dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.EmbeddingBag(config.vocab_size, config.width, mode="mean")
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.text_projection, std=config.width**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Features in the shared space; a text without words gives the same ones as any other such text."""
        columns = torch.arange(ids.shape[1], device=ids.device)
        ends = end_positions(ids)
        is_word = (columns > 0) & (columns < ends[:, None])
        counts = is_word.sum(dim=1)
        means = self.token_embedding(ids[is_word], counts.cumsum(0) - counts)
        features: Tensor = self.ln_final(means) @ self.text_projection
        return features
