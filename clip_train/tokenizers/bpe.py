"""CLIP's lower-cased byte-level BPE: texts to token ids, its training, its file.

In: texts. Out: int32 ids ``[texts, context]``: start token, the text, end token, zeros.
The file is a list of merges, one a line below a header, as OpenAI's ``bpe_simple_vocab_16e6.txt.gz``; ids follow
from it: 256 bytes, 256 bytes that end a word, the merges, start, end. The end token has the largest id, which is
what the text tower looks for. A text that spells a special token is split like any other text.

Source: Sennrich et al. 2016 (byte-pair encoding); Radford et al. 2021, section 2.4; CLIP's simple_tokenizer for
the cleaning, the split pattern and the order of ids.
"""

import gzip
import html
import json
import zlib
from collections.abc import Iterable, Sequence

import ftfy
import numpy as np
import regex
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, trainers

from clip_train.errors import InputError
from clip_train.tokenizers.texts import check_context, list_texts

TOKENIZER_NAME = "tokenizer.txt"
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"
SPLIT_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

_WORD_END = "</w>"
_HEADER = "#version: clip_train 1"
_NUM_OPENAI_MERGES = 48_894  # OpenAI's file lists more than its models use: 49,408 - 512 - 2
_SYMBOL_BASE = 0xE000  # private use area: one character for each of the 512 symbols while training
_SPLIT = regex.compile(SPLIT_PATTERN)


def clean_text(text: str) -> str:
    r"""Repairs broken Unicode and HTML entities, collapses white space, lower-cases.

    >>> clean_text("  Tom &amp;amp; Jerry\n")
    'tom & jerry'
    """
    # plain ASCII needs no repair, and repair is most of the time
    if not (text.isascii() and text.isprintable()) or "&" in text:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class ClipTokenizer:
    """A byte-level BPE given by its merges.

    Attributes:
        merges: Pairs of symbols, in the order in which they were learned.
        vocab_size: Number of ids, start and end included.
        start_id: The id before every text.
        end_id: The id after every text; the largest.
        pad_id: The id behind the end.
    """

    pad_id = 0

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.merges = list(merges)
        symbols = _byte_symbols()
        self._tokens = [*symbols, *(s + _WORD_END for s in symbols), *(a + b for a, b in merges)]
        self.start_id = len(self._tokens)
        self.end_id = self.start_id + 1
        self.vocab_size = self.end_id + 1
        vocabulary = {token: token_id for token_id, token in enumerate(self._tokens)}
        try:
            model = models.BPE(vocab=vocabulary, merges=self.merges, end_of_word_suffix=_WORD_END)
        except Exception as error:  # the library raises nothing more precise
            raise InputError(f"merges that do not build on each other ({error})") from error
        self._encoder = tokenizers.Tokenizer(model)
        self._encoder.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(SPLIT_PATTERN), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of every token, start and end under the names of CLIP's published vocabulary."""
        return {token: token_id for token_id, token in enumerate([*self._tokens, START_TOKEN, END_TOKEN])}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts without start and end."""
        encodings = self._encoder.encode_batch_fast([clean_text(text) for text in texts])
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The cleaned text of some ids; start and end are left out, words are separated by one space."""
        byte_of = {symbol: byte for byte, symbol in _bytes_to_symbols().items()}
        words = "".join(self._tokens[i] for i in ids if i < self.start_id).split(_WORD_END)
        decoded = [bytes(byte_of[symbol] for symbol in word).decode(errors="replace") for word in words]
        return " ".join(decoded).strip()

    def tokenize(self, texts: str | Sequence[str], context_length: int = 77, *, truncate: bool = False) -> torch.Tensor:
        """Token ids for the text tower.

        Args:
            texts: One text or several.
            context_length: Columns of the result.
            truncate: Cut a text that is too long (its last id is then the end token) instead of raising.

        Returns:
            ``[texts, context_length]`` int32, padded with 0.

        Raises:
            InputError: When a text is too long and `truncate` is false, or something is no text or no context.
        """
        check_context(context_length)
        texts = list_texts(texts)
        out = np.zeros((len(texts), context_length), dtype=np.int32)
        for row, text, ids in zip(out, texts, self.encode(texts), strict=True):
            if len(ids) + 2 > context_length:
                if not truncate:
                    raise InputError(
                        f"text of {len(ids) + 2} tokens is longer than the context of {context_length}: {text!r:.80}"
                    )
                ids = ids[: context_length - 2]
            row[: len(ids) + 2] = [self.start_id, *ids, self.end_id]
        return torch.from_numpy(out)

    def save(self, path: str) -> None:
        """Writes the merges file."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(_HEADER + "\n")
            file.writelines(f"{left} {right}\n" for left, right in self.merges)

    @classmethod
    def load(cls, path: str) -> "ClipTokenizer":
        """Reads a merges file, ours or OpenAI's, plain or gzip.

        Raises:
            InputError: When the file is missing or no merges file.
        """
        try:
            with open(path, "rb") as file:
                content = file.read()
            if content.startswith(b"\x1f\x8b"):
                content = gzip.decompress(content)
            header, *lines = content.decode().splitlines()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        except (ValueError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: not a merges file") from error
        merges = [tuple(line.split(" ")) for line in lines if line]
        if "#version" not in header or any(len(merge) != 2 for merge in merges):
            raise InputError(f"{path}: not a merges file")
        if not header.startswith(_HEADER):
            merges = merges[:_NUM_OPENAI_MERGES]
        try:
            return cls([(left, right) for left, right in merges])
        except InputError as error:
            raise InputError(f"{path}: not a merges file: {error}") from error


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> ClipTokenizer:
    """Learns the merges of a tokenizer; the same texts in any order give the same merges.

    Each of the 512 symbols is one character while training, so that the trainer knows all of them beforehand:
    it numbers symbols that it meets on the way in no fixed order, and breaks ties by number.

    Args:
        texts: Texts in natural spelling.
        vocab_size: Most ids wanted, the 512 symbols and 2 special tokens included; fewer when the texts are few.
    """
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        initial_alphabet=[chr(_SYMBOL_BASE + symbol) for symbol in range(512)],
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator((_spell_as_symbols(clean_text(text)) for text in texts), trainer)
    learned = json.loads(learner.to_str())["model"]["merges"][: vocab_size - 514]
    return ClipTokenizer([(_read_symbols(left), _read_symbols(right)) for left, right in learned])


def _spell_as_symbols(text: str) -> str:
    words = (word.encode() for word in _SPLIT.findall(text))
    return " ".join(
        "".join(chr(_SYMBOL_BASE + byte) for byte in word[:-1]) + chr(_SYMBOL_BASE + 256 + word[-1]) for word in words
    )


def _read_symbols(characters: str) -> str:
    symbol_of = _bytes_to_symbols()
    numbers = [ord(character) - _SYMBOL_BASE for character in characters]
    return "".join(symbol_of[n % 256] + (_WORD_END if n >= 256 else "") for n in numbers)


def _byte_symbols() -> list[str]:
    return list(_bytes_to_symbols().values())


def _bytes_to_symbols() -> dict[int, str]:
    """A printable character for every byte, in CLIP's order of ids: printable bytes first, as themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
