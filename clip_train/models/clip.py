"""The CLIP model: two towers, one shared space, one learned temperature.

In: normalised images ``[batch, 3, side, side]`` and token ids ``[batch, length]``. Out: features or logits.
A new kind of tower is registered in `IMAGE_TOWERS` or `TEXT_TOWERS` beside its configuration class.

Source: Radford et al. 2021, section 2.3 and figure 3; temperature 0.07 from Wu et al. 2018, scale at most 100.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clip_train.config import (
    CbowConfig,
    EfficientNetConfig,
    HuggingFaceTextConfig,
    InferencePrecision,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    TimmConfig,
    VisionTransformerConfig,
)
from clip_train.errors import InputError
from clip_train.models.efficientnet import EfficientNet
from clip_train.models.hugging_face import HuggingFaceText
from clip_train.models.inputs import check_ids, check_images
from clip_train.models.packing import PackedTexts, pack_texts
from clip_train.models.precision import inference_products
from clip_train.models.resnet import ModifiedResNet
from clip_train.models.text import BagOfWords, TextTransformer
from clip_train.models.timm_tower import TimmTower
from clip_train.models.tower import ImageTower
from clip_train.models.vision import VisionTransformer
from clip_train.tokenizers.folder import TextTokenizer

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
MAX_LOGIT_SCALE = math.log(100)

IMAGE_TOWERS: Mapping[type, Callable[[Any, int], ImageTower]] = {
    VisionTransformerConfig: VisionTransformer,
    ResNetConfig: ModifiedResNet,
    EfficientNetConfig: EfficientNet,
    TimmConfig: TimmTower,
}
TEXT_TOWERS: Mapping[type, Callable[[Any, int], nn.Module]] = {
    TextTransformerConfig: TextTransformer,
    CbowConfig: BagOfWords,
    HuggingFaceTextConfig: HuggingFaceText,
}


class Clip(nn.Module):
    """An image tower and a text tower trained to agree.

    Attributes:
        config: What the towers are.
        tokenizer: What made the ids the model was trained on; None when only tensors go in.
        precision: What features are computed in without gradients, unless an autocast is active; ``auto`` is bf16 on
            GPUs and fp32 on CPUs. Features come out in the type of the weights.

    Raises:
        InputError: When a tower needs a package that is missing, or the tokenizer is made for another text tower.
    """

    def __init__(self, config: ModelConfig, tokenizer: TextTokenizer | None = None) -> None:
        super().__init__()
        if tokenizer is not None:
            _check_tokenizer(tokenizer, config)
        self.config = config
        self.tokenizer = tokenizer
        self.precision: InferencePrecision = "auto"
        self.visual = IMAGE_TOWERS[type(config.image)](config.image, config.embed_dim)
        self.text = TEXT_TOWERS[type(config.text)](config.text, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    def tokenize(self, texts: str | Sequence[str], *, truncate: bool = False) -> Tensor:
        """Token ids ``[texts, context]`` of the model's own tokenizer, on its device.

        Raises:
            InputError: When the model has no tokenizer, or a text is too long and `truncate` is false.
        """
        if self.tokenizer is None:
            raise InputError("the model has no tokenizer: create it with one, or load a checkpoint")
        ids = self.tokenizer.tokenize(texts, self.config.text.context_length, truncate=truncate)
        return ids.to(self.device)

    def encode_image(self, images: Tensor) -> Tensor:
        """Image features ``[batch, embed_dim]``, not normalised.

        Raises:
            InputError: When the images are not normalised floats of the model's size, on its device.
        """
        check_images(images, side=self.config.image.image_size, device=self.device)
        return self._encode(self.visual, images.to(self.logit_scale.dtype), len(images))

    def pack_texts(self, ids: Tensor, *, few_shapes: bool = False) -> Tensor | PackedTexts:
        """Ids as the text tower likes them best: packed, where it takes that, else as they are.

        Done before the ids go to a GPU it spares waiting for the GPU to count them. With `few_shapes` batches of all
        lengths come in few shapes, for a tower that is compiled for each.
        """
        return pack_texts(ids, few_shapes=few_shapes) if isinstance(self.text, TextTransformer) else ids

    def encode_text(self, ids: Tensor | PackedTexts) -> Tensor:
        """Text features ``[batch, embed_dim]``, not normalised; packed ids are for the text transformer only.

        Raises:
            InputError: When the ids are longer than the context, or of another vocabulary.
        """
        if isinstance(ids, PackedTexts):
            return self._encode(self.text, ids, ids.packing.num_read)
        text = self.config.text
        check_ids(ids, context_length=text.context_length, vocab_size=text.vocab_size, device=self.device)
        return self._encode(self.text, ids, len(ids))

    def _encode(self, tower: Callable[[Any], Tensor], inputs: Tensor | PackedTexts, number: int) -> Tensor:
        if not number:  # some towers cannot tell the shape of nothing
            return self.logit_scale.new_empty(0, self.config.embed_dim)
        is_own = not torch.is_grad_enabled() and not torch.is_autocast_enabled(self.device.type)
        with inference_products(self.device, self.precision):
            features = tower(inputs)
        return features.to(self.logit_scale.dtype) if is_own else features

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled cosines: ``[images, texts]``, and the same transposed."""
        image_features = normalize(self.encode_image(images).float(), dim=-1)
        text_features = normalize(self.encode_text(ids).float(), dim=-1)
        logits = self.logit_scale.exp() * image_features @ text_features.T
        return logits, logits.T

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps the scale at or below 100, as the paper does after each step."""
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


def _check_tokenizer(tokenizer: TextTokenizer, config: ModelConfig) -> None:
    if tokenizer.vocab_size > config.text.vocab_size:
        raise InputError(f"the tokenizer has {tokenizer.vocab_size} ids, the text tower {config.text.vocab_size}")
    if tokenizer.pad_id != config.text.pad_id:
        raise InputError(f"the tokenizer pads with id {tokenizer.pad_id}, the text tower with {config.text.pad_id}")
