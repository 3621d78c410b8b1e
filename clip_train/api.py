"""The package in a few calls: load a model, encode, classify.

In: a preset's name or a checkpoint, images, texts. Out: models, features, probabilities::

    model, preprocess = clip_train.load("runs/mine")
    probabilities = clip_train.classify(model, ["cat.jpg"], ["a fat red cat", "not a fat red cat"])

    image = preprocess(Image.open("cat.jpg")).unsqueeze(0)
    logits_per_image, logits_per_text = model(image, model.tokenize(["a cat", "a dog"]))
"""

from collections.abc import Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor

from clip_train.checkpoint import find_checkpoint, load_tokenizer, load_weights, read_info
from clip_train.config import InputError
from clip_train.data.decode import Preprocess
from clip_train.distributed import choose_device
from clip_train.features import encode_images, encode_texts
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS, find_preset, preset_name
from clip_train.tokenizing import TextTokenizer


def available_models() -> list[str]:
    """Names of the presets that `create_model` knows."""
    return list(PRESETS)


def create_model(name: str, *, device: str = "auto", tokenizer: TextTokenizer | None = None) -> Clip:
    """A model with random weights.

    Args:
        name: A preset in any spelling (``vit-b-32``, ``ViT-B/32``), or a JSON file with a model configuration.
        device: ``cpu``, ``cuda``…; ``auto`` takes a GPU when there is one.
        tokenizer: Decides the size of the vocabulary; without it the preset's, and only token ids go in.

    Raises:
        InputError: For an unknown name.
    """
    config = find_preset(name).model
    if tokenizer is not None:
        config = config.with_text(vocab_size=tokenizer.vocab_size)
    return Clip(config, tokenizer).to(choose_device(device))


def load(path: str, device: str = "auto") -> tuple[Clip, Preprocess]:
    """A trained model and the preprocessing of its images.

    Args:
        path: A checkpoint, or the folder of a run (then its newest one).
        device: ``cpu``, ``cuda``…; ``auto`` takes a GPU when there is one.

    Raises:
        InputError: When there is no such checkpoint or it is broken.
    """
    if preset_name(path) is not None:
        raise InputError(f"{path} names a model without weights: train it, or use create_model for random ones")
    checkpoint = find_checkpoint(path)
    config = read_info(checkpoint).model
    model = Clip(config, load_tokenizer(checkpoint)).to(choose_device(device))
    load_weights(checkpoint, model)
    return model.eval(), Preprocess(config.image.image_size)


@torch.inference_mode()
def classify(model: Clip, images: Iterable[str | bytes | Image.Image], texts: Sequence[str]) -> Tensor:
    """How well each text fits an image compared with the other texts.

    Args:
        model: A model with its tokenizer.
        images: Paths, encoded bytes or Pillow images.
        texts: At least one text.

    Returns:
        Probabilities ``[images, texts]``; rows sum to 1.

    Raises:
        InputError: When there is no text, one is too long, or an image cannot be read.
    """
    if not texts:
        raise InputError("no text to choose from")
    cosines = encode_images(model, images) @ encode_texts(model, texts).T
    return (model.logit_scale.exp() * cosines).softmax(dim=-1)
