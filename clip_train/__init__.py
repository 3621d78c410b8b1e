"""Trains, evaluates and uses CLIP models on WebDataset shards; needs no Beam."""

from clip_train.api import available_models, classify, create_model, load, tokenize
from clip_train.config import ModelConfig, TrainConfig
from clip_train.data.decode import Preprocess
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.tokenizers.bpe import ClipTokenizer, train_tokenizer
from clip_train.use.features import encode_images, encode_texts

__all__ = [
    "Clip",
    "ClipTokenizer",
    "InputError",
    "ModelConfig",
    "Preprocess",
    "TrainConfig",
    "available_models",
    "classify",
    "create_model",
    "encode_images",
    "encode_texts",
    "load",
    "tokenize",
    "train_tokenizer",
]
