"""The package in a few calls: load a model, tokenize, encode, classify.

In: a preset's name or a checkpoint, images, texts. Out: models, ids, features, probabilities::

    model, preprocess = clip_train.load("runs/mine")
    probabilities = clip_train.classify(model, ["cat.jpg"], ["a fat red cat", "not a fat red cat"])

    image = preprocess(Image.open("cat.jpg")).unsqueeze(0)
    ids = clip_train.tokenize(["a cat", "a dog"])
    logits_per_image, logits_per_text = model(image, ids)
"""

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, get_args

import torch
from torch import Tensor

from clip_train.config import InferencePrecision, hint_at
from clip_train.data.decode import Preprocess
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS, find_preset, preset_name
from clip_train.tokenizers.bpe import ClipTokenizer
from clip_train.tokenizers.folder import TextTokenizer, find_tokenizer, tokenizer_digest
from clip_train.tokenizers.texts import check_context, list_texts
from clip_train.training.checkpoint import find_checkpoint, load_tokenizer, load_weights, read_info
from clip_train.training.distributed import choose_device
from clip_train.use.features import ReadableImage, encode_images, encode_texts

TOKENIZER_VARIABLE = "CLIP_TRAIN_TOKENIZER"
CONTEXT_LENGTH: Final = 77  # as in CLIP
_LOADED: dict[str, "_Found"] = {}  # by content: the tokenizers of the models that `load` gave in this process


def available_models() -> list[str]:
    """Names of the presets that `create_model` knows."""
    return list(PRESETS)


def create_model(name: str, *, device: str | torch.device = "auto", tokenizer: TextTokenizer | None = None) -> Clip:
    """A model with random weights.

    Args:
        name: A preset in any spelling (``vit-b-32``, ``ViT-B/32``), or a JSON file with a model configuration.
        device: ``cpu``, ``cuda``…; ``auto`` takes a GPU when there is one.
        tokenizer: Decides the size of the vocabulary; without it the preset's, and only token ids go in.

    Raises:
        InputError: For an unknown name.
    """
    config = find_preset(_path_of(name, "a model")).model
    if tokenizer is not None:
        config = config.with_text(vocab_size=tokenizer.vocab_size)
    return Clip(config, tokenizer).to(choose_device(device))


def find_model(name_or_path: str | os.PathLike[str]) -> str:
    """The checkpoint that `load` takes.

    Raises:
        InputError: When there is none.
    """
    name_or_path = _path_of(name_or_path, "a model")
    if os.path.isdir(name_or_path):
        return find_checkpoint(name_or_path)
    if preset_name(name_or_path) is not None:
        raise InputError(f"{name_or_path} names a model without weights: train it, or use create_model for random ones")
    hint = hint_at(name_or_path, PRESETS)
    raise InputError(f"{name_or_path}: no folder of a run or a checkpoint, and no known model{hint}")


def load(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device = "auto",
    jit: bool = False,
    *,
    precision: InferencePrecision = "auto",
) -> tuple[Clip, Preprocess]:
    """A trained model and the preprocessing of its images.

    Args:
        name_or_path: A checkpoint, or the folder of a run (then its newest one). A preset's name is refused: no
            weights come with this package.
        device: ``cpu``, ``cuda``…; ``auto`` takes a GPU when there is one.
        jit: As `clip.load` has it; only False, for there are no scripted models here.
        precision: What features are computed in; see `Clip.precision`.

    Raises:
        InputError: When there is no such checkpoint, it is broken, or an option is not one of those here.
    """
    if jit:
        raise InputError("jit True: models here are not scripted; torch.compile(model) makes one faster")
    if precision not in get_args(InferencePrecision):
        raise InputError(f"precision must be one of {', '.join(get_args(InferencePrecision))}, not {precision!r}")
    checkpoint = find_model(name_or_path)
    config = read_info(checkpoint).model
    model = Clip(config, load_tokenizer(checkpoint)).to(choose_device(device))
    load_weights(checkpoint, model)
    model.precision = precision
    _remember_tokenizer(checkpoint, model)
    return model.eval(), Preprocess(config.image.image_size)


def tokenize(
    texts: str | Sequence[str],
    context_length: int | None = None,
    truncate: bool = False,
    *,
    tokenizer: Clip | TextTokenizer | str | os.PathLike[str] | None = None,
) -> Tensor:
    """Token ids of texts.

    Ids mean something only to a model that was trained with their tokenizer. Where none is given, it is that of the
    models that `load` gave before; they must agree. Where none was loaded, the environment variable
    ``CLIP_TRAIN_TOKENIZER`` names it.

    Args:
        texts: One text or several.
        context_length: Columns of the result; 77 by itself, or as many as the model, or the folder of one, takes.
        truncate: Cut a text that is too long (its last id is then the end token) instead of raising.
        tokenizer: A model, a tokenizer, the folder of a run, a checkpoint or an encoder, or a merges file (OpenAI's
            for weights that come from OpenAI).

    Returns:
        ``[texts, context_length]`` int32 on the CPU, padded behind the text.

    Raises:
        InputError: When there is no tokenizer or more than one, a text is too long and `truncate` is false, more
            tokens are asked for than the model takes, or something is no text.
    """
    found = _default_tokenizer() if tokenizer is None else _find_tokenizer(tokenizer)
    if context_length is None:
        context_length = min(CONTEXT_LENGTH, found.max_context)
    check_context(context_length)
    if context_length > found.max_context:
        raise InputError(f"context_length {context_length} is more than the {found.max_context} tokens the model takes")
    return found.tokenizer.tokenize(texts, context_length, truncate=truncate)


@torch.inference_mode()
def classify(model: Clip, images: ReadableImage | Iterable[ReadableImage], texts: str | Sequence[str]) -> Tensor:
    """How well each text fits an image compared with the other texts.

    Args:
        model: A model with its tokenizer.
        images: One or several; each a path, an http(s) URL, encoded bytes or a Pillow image.
        texts: At least one text.

    Returns:
        Probabilities ``[images, texts]``; rows sum to 1.

    Raises:
        InputError: When there is no text, one is too long, or an image cannot be read.
    """
    texts = list_texts(texts)
    if not texts:
        raise InputError("no text to choose from")
    cosines = encode_images(model, images) @ encode_texts(model, texts).T
    return (model.logit_scale.exp() * cosines).softmax(dim=-1)


class _Found(NamedTuple):
    tokenizer: TextTokenizer
    max_context: int = sys.maxsize  # of the model that it was found with


def _remember_tokenizer(checkpoint: str, model: Clip) -> None:
    if model.tokenizer is not None:
        key = tokenizer_digest(checkpoint)
        context = min(model.config.text.context_length, _LOADED[key].max_context if key in _LOADED else sys.maxsize)
        _LOADED[key] = _Found(model.tokenizer, context)


def _default_tokenizer() -> _Found:
    if len(_LOADED) == 1:
        return next(iter(_LOADED.values()))
    if _LOADED:
        raise InputError(
            f"which tokenizer? {len(_LOADED)} models with different ones were loaded; give tokenizer=MODEL"
        )
    if path := os.environ.get(TOKENIZER_VARIABLE):
        return _read_tokenizer(path)
    raise InputError(
        f"which tokenizer? Load a model, give tokenizer=, a model or a path, or name a path in {TOKENIZER_VARIABLE}"
    )


def _find_tokenizer(given: Clip | TextTokenizer | str | os.PathLike[str]) -> _Found:
    if isinstance(given, str | os.PathLike):
        return _read_tokenizer(os.fspath(given))
    if isinstance(given, Clip):
        if given.tokenizer is None:
            raise InputError("the model has no tokenizer: create it with one, or load a checkpoint")
        return _Found(given.tokenizer, given.config.text.context_length)
    if not hasattr(given, "tokenize"):
        raise InputError(f"a tokenizer must be a model, a tokenizer or a path, not {type(given).__name__}")
    return _Found(given)


def _path_of(given: Any, what: str) -> str:
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{what} must be a name or a path, not {type(given).__name__} {given!r:.40}")
    return str(os.fspath(given))


@functools.lru_cache(maxsize=8)  # reading CLIP's 48,894 merges takes longer than tokenizing a hundred texts
def _read_tokenizer(path: str) -> _Found:
    if not os.path.isdir(path):
        return _Found(ClipTokenizer.load(path))
    folder = path if find_tokenizer(path) is not None else find_checkpoint(path)
    tokenizer = find_tokenizer(folder)
    if tokenizer is None:
        raise InputError(f"{folder}: no tokenizer")
    try:
        return _Found(tokenizer, read_info(folder).model.text.context_length)
    except InputError:  # an encoder's folder: a tokenizer, and no model of ours
        return _Found(tokenizer)
