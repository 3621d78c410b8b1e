"""Our tokenizer as the files of transformers' ``CLIPTokenizer``, and back.

In: a tokenizer, or a folder with ``tokenizer.json`` or with ``vocab.json`` and ``merges.txt``. Out: those files, or a
tokenizer with the same ids. The reader over there does not repair broken Unicode and HTML entities as ours does.

Source: transformers' CLIPTokenizer; CLIP's vocabulary (bytes, bytes that end a word, merges, start, end).
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from clip_train.errors import InputError
from clip_train.files import read_json, read_section, write_json
from clip_train.tokenizers.bpe import END_TOKEN, START_TOKEN, ClipTokenizer

_WHOLE_NAME, _VOCABULARY_NAME, _MERGES_NAME = "tokenizer.json", "vocab.json", "merges.txt"


def write_tokenizer_files(tokenizer: ClipTokenizer, folder: str, *, context_length: int) -> None:
    """Writes vocabulary, merges and settings."""
    specials = {"bos_token": START_TOKEN, "eos_token": END_TOKEN, "unk_token": END_TOKEN, "pad_token": END_TOKEN}
    write_json(os.path.join(folder, _VOCABULARY_NAME), tokenizer.vocabulary)
    with open(os.path.join(folder, _MERGES_NAME), "w", encoding="utf-8", newline="\n") as file:
        file.write("#version: 0.2\n")
        file.writelines(f"{left} {right}\n" for left, right in tokenizer.merges)
    write_json(os.path.join(folder, "special_tokens_map.json"), specials)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": context_length, "do_lower_case": True}
    write_json(os.path.join(folder, "tokenizer_config.json"), {**settings, **specials})


def read_tokenizer_files(folder: str) -> ClipTokenizer | None:
    """The tokenizer in a folder; None when there is none.

    Raises:
        InputError: When it is not a CLIP tokenizer: another vocabulary than its merges make.
    """
    if os.path.isfile(os.path.join(folder, _WHOLE_NAME)):
        path = os.path.join(folder, _WHOLE_NAME)
        values = read_json(path)
        model = read_section(values, "model", where=path)
        try:
            added = {token["content"]: token["id"] for token in values.get("added_tokens") or ()}
            return _make_tokenizer(model.get("merges") or (), {**(model.get("vocab") or {}), **added}, path)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a tokenizer's file") from error
    if os.path.isfile(os.path.join(folder, _VOCABULARY_NAME)):
        path = os.path.join(folder, _VOCABULARY_NAME)
        return _make_tokenizer(_read_merges(os.path.join(folder, _MERGES_NAME)), read_json(path), path)
    return None


def _read_merges(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line for line in file.read().splitlines() if line and not line.startswith("#version")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no merges ({error})") from error


def _make_tokenizer(merges: Sequence[Any], vocabulary: Mapping[str, int], path: str) -> ClipTokenizer:
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    try:
        tokenizer = ClipTokenizer([(left, right) for left, right in pairs])
    except ValueError as error:
        raise InputError(f"{path}: not CLIP's kind of merges") from error
    if tokenizer.vocabulary != dict(vocabulary):
        raise InputError(f"{path}: not CLIP's kind of vocabulary (bytes, bytes that end a word, merges, start, end)")
    return tokenizer
