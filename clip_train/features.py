"""Images and texts to unit features, batch by batch: what evaluation and use start from.

In: a model, images or texts. Out: features ``[items, embed_dim]``, float32, unit norm, on the model's device.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.data.decode import Preprocess, normalize_pixels, read_image
from clip_train.models.clip import Clip
from clip_train.models.text import trim_padding


@torch.inference_mode()
def encode_texts(model: Clip, texts: Sequence[str], *, batch_size: int = 256, truncate: bool = False) -> Tensor:
    """Features of texts.

    Raises:
        InputError: When a text is too long and `truncate` is false.
    """
    model.eval()
    features = [model.logit_scale.new_empty(0, model.config.embed_dim)]
    for start in range(0, len(texts), batch_size):
        ids = trim_padding(model.tokenize(texts[start : start + batch_size], truncate=truncate))
        features.append(normalize(model.encode_text(ids).float(), dim=-1))
    return torch.cat(features)


@torch.inference_mode()
def encode_images(model: Clip, images: Iterable[str | bytes | Image.Image], *, batch_size: int = 256) -> Tensor:
    """Features of images given as paths, encoded bytes or Pillow images.

    Raises:
        InputError: When one cannot be read.
    """
    model.eval()
    preprocess = Preprocess(model.config.image.image_size)
    features = [model.logit_scale.new_empty(0, model.config.embed_dim)]
    remaining = iter(images)
    while batch := list(islice(remaining, batch_size)):
        pixels = torch.stack([preprocess.pixels(read_image(image)) for image in batch])
        images_in = normalize_pixels(pixels.to(model.device))
        features.append(normalize(model.encode_image(images_in).float(), dim=-1))
    return torch.cat(features)
