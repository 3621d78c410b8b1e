"""The formats by name: which one a path is in, and what reads and writes it.

In: a path and, where the files do not say it, how to read them. Out: a model; or a model into a path.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Final, Literal

from clip_train.config import Activation, ModelConfig
from clip_train.errors import InputError
from clip_train.exchange import hugging_face, open_clip
from clip_train.exchange.clip_tokenizer import read_tokenizer_files
from clip_train.exchange.openai import ARCHIVE_FACTS, infer_config, read_flat, write_openai
from clip_train.exchange.weights import Weights, read_weights
from clip_train.models.clip import Clip
from clip_train.tokenizers.bpe import ClipTokenizer

ModelFormat = Literal["hf", "open-clip", "openai"]
WRITERS: Mapping[ModelFormat, Callable[[Clip, str], None]] = {
    "hf": hugging_face.write_hugging_face,
    "open-clip": open_clip.write_open_clip,
    "openai": write_openai,
}
AUTO: Final = "auto"
_QUICK: Final = "quickgelu"


def detect_format(path: str) -> ModelFormat:
    """The format of a folder or a file; a bare state dict of open_clip's and of OpenAI's cannot be told apart.

    Raises:
        InputError: When the path does not say.
    """
    if os.path.isfile(os.path.join(path, open_clip.CONFIG_NAME)):
        return "open-clip"
    if os.path.isfile(os.path.join(path, hugging_face.CONFIG_NAME)):
        return "hf"
    if os.path.isdir(path):
        raise InputError(f"{path}: no {hugging_face.CONFIG_NAME} and no {open_clip.CONFIG_NAME}")
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file or folder")
    if path.endswith(".safetensors"):
        return "open-clip"
    weights = read_weights(path)
    if weights.is_archive or any(name in weights.tensors for name in ARCHIVE_FACTS):
        return "openai"
    raise InputError(f"{path}: weights alone do not say whose they are; give --format open-clip or openai")


def read_model(
    path: str,
    *,
    format: Literal["auto", ModelFormat] = AUTO,
    config: str = "",
    activation: Literal["auto", Activation] = AUTO,
    tokenizer: str = "",
) -> Clip:
    """A model from another format.

    Args:
        path: A folder or a file.
        format: One of `ModelFormat`, or `AUTO`.
        config: open_clip's configuration of a bare file of weights.
        activation: Non-linearity that a bare file of weights was trained with; `AUTO`: QuickGELU for OpenAI's; for
            open_clip's what the file's name or the run's says, else GELU, and that it was so taken is told.
        tokenizer: Merges file, for weights that come without one.

    Raises:
        InputError: When it cannot be read, is no CLIP model, or does what the towers here do not.
    """
    known = detect_format(path) if format == AUTO else format
    if known == "hf" or os.path.isdir(path):
        if config or activation != AUTO:
            raise InputError(f"{path} says itself what it is; --config and --activation are for bare files")
        model = hugging_face.read_hugging_face(path) if known == "hf" else _read_open_clip_folder(path)
    else:
        model = _read_bare(path, read_weights(path), format=known, config=config, activation=activation)
    if tokenizer:
        model = _with_tokenizer(model, ClipTokenizer.load(tokenizer))
    return model


def write_model(model: Clip, output: str, *, format: ModelFormat) -> None:
    """Writes a model in another format.

    Raises:
        InputError: When the format cannot hold it, or there is something at `output`.
    """
    WRITERS[format](model, output)


def _read_open_clip_folder(path: str) -> Clip:
    config = open_clip.read_open_clip_config(os.path.join(path, open_clip.CONFIG_NAME))
    names = open_clip.WEIGHTS_NAMES
    found = [file for name in names if os.path.isfile(file := os.path.join(path, name))]
    if not found:
        raise InputError(f"{path}: none of {', '.join(names)}")
    return read_flat(read_weights(found[0]).tensors, config, where=found[0], tokenizer=read_tokenizer_files(path))


def _read_bare(
    path: str, weights: Weights, *, format: ModelFormat, config: str, activation: Literal["auto", Activation]
) -> Clip:
    known: ModelConfig
    if config:
        known = open_clip.read_open_clip_config(config)
    else:
        flat = {name.removeprefix("text."): tensor for name, tensor in weights.tensors.items()}
        used = _usual_activation(path, weights, format) if activation == AUTO else activation
        known = infer_config(flat, activation=used, where=path)
    return read_flat(weights.tensors, known, where=path)


def _usual_activation(path: str, weights: Weights, format: ModelFormat) -> Activation:
    """The non-linearity of weights that do not say it; of open_clip's it is told on stderr, for either may be meant."""
    if format == "openai":
        return "quick_gelu"
    says_quick = any(_QUICK in re.sub(r"[-_]", "", name).lower() for name in (os.path.basename(path), weights.name))
    found: Activation = "quick_gelu" if says_quick else "gelu"
    why = "as its name says" if says_quick else "open_clip's usual one"
    other = "gelu" if says_quick else "quick_gelu"
    print(
        f"{path}: weights do not say their non-linearity; taken as {found}, {why} (else give --activation {other})",
        file=sys.stderr,
    )
    return found


def _with_tokenizer(model: Clip, tokenizer: ClipTokenizer) -> Clip:
    if tokenizer.vocab_size != model.config.text.vocab_size:
        raise InputError(f"the tokenizer has {tokenizer.vocab_size} ids, the weights {model.config.text.vocab_size}")
    model.tokenizer = tokenizer
    return model
