"""Tokenizers of Hugging Face encoders, read from their folder, and the tokenizer of a checkpoint."""

import sys

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from clip_train.errors import InputError
from clip_train.tokenizers.bpe import train_tokenizer
from clip_train.tokenizers.encoder import EncoderTokenizer
from clip_train.tokenizers.folder import find_tokenizer, save_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "##s"]


def write_word_pieces(folder, words=WORDS):
    """Writes a small tokenizer of BERT's kind, with padding and truncation on as published ones have it."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [(word, words.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=specials)
    tokenizer.enable_padding(pad_id=words.index("[PAD]"), length=20)
    tokenizer.enable_truncation(4)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_texts_become_word_pieces_between_special_tokens_padded_behind(tmp_path):
    tokenizer = EncoderTokenizer.load(str(write_word_pieces(tmp_path)))
    assert tokenizer.tokenize(["A cat", "cats dogs a"], 8).tolist() == [
        [2, 4, 5, 3, 0, 0, 0, 0],
        [2, 5, 7, 6, 7, 4, 3, 0],
    ]
    assert (tokenizer.vocab_size, tokenizer.pad_id) == (8, 0)
    assert tokenizer.tokenize("a", 4).tolist() == [[2, 4, 3, 0]]


def test_the_pad_token_is_looked_up(tmp_path):
    tokenizer = EncoderTokenizer.load(str(write_word_pieces(tmp_path, [*WORDS[1:], "[PAD]"])))
    assert tokenizer.pad_id == 7
    assert tokenizer.tokenize("cat", 5).tolist() == [[1, 4, 2, 7, 7]]


def test_a_text_that_is_too_long_is_refused_or_cut_before_its_closing_token(tmp_path):
    tokenizer = EncoderTokenizer.load(str(write_word_pieces(tmp_path)))
    with pytest.raises(InputError, match="text of 7 tokens is longer than the context of 4: 'a cat a dog a'"):
        tokenizer.tokenize("a cat a dog a", 4)
    assert tokenizer.tokenize("a cat a dog a", 4, truncate=True).tolist() == [[2, 4, 5, 3]]


def test_a_tokenizer_that_is_saved_is_found_again_whichever_kind_it_is(tmp_path):
    ours = train_tokenizer(["a cat"], vocab_size=516)
    theirs = EncoderTokenizer.load(str(write_word_pieces(tmp_path / "bert")))
    for name, tokenizer in (("ours", ours), ("theirs", theirs)):
        (tmp_path / name).mkdir()
        save_tokenizer(tokenizer, str(tmp_path / name))
        found = find_tokenizer(str(tmp_path / name))
        assert type(found) is type(tokenizer)
        assert found.tokenize("a cat", 8).tolist() == tokenizer.tokenize("a cat", 8).tolist()
    assert find_tokenizer(str(tmp_path)) is None


def test_a_folder_without_a_tokenizer_and_a_broken_file_are_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer's file"):
        EncoderTokenizer.load(str(tmp_path))
    (tmp_path / "tokenizer.json").unlink()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="a tokenizer of this kind needs the package transformers"):
        EncoderTokenizer.load(str(tmp_path))
