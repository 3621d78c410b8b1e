"""Trains, evaluates and uses CLIP models on WebDataset shards; needs no Beam."""

from clip_train.api import available_models, classify, create_model, load, tokenize
from clip_train.config import InputError, ModelConfig, TrainConfig
from clip_train.data.decode import Preprocess
from clip_train.features import encode_images, encode_texts
from clip_train.models.clip import Clip
from clip_train.tokenizer import ClipTokenizer, train_tokenizer

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
