"""The package's own functions: which tokenizer tokenizes, what a model is called, what an image is read from."""

import pytest
import torch

import clip_train
from clip_train.api import TOKENIZER_VARIABLE
from clip_train.training.checkpoint import save_model

TEXTS = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("star", "ring", "box")]


@pytest.fixture
def tokenizer(monkeypatch):
    monkeypatch.delenv(TOKENIZER_VARIABLE, raising=False)
    monkeypatch.setattr("clip_train.api._LOADED", {})
    return clip_train.train_tokenizer(TEXTS, vocab_size=540)


@pytest.fixture
def model(tokenizer):
    return clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer)


def test_ids_are_the_same_from_a_tokenizer_its_file_a_model_and_a_checkpoint(tokenizer, model, tmp_path):
    merges, checkpoint = str(tmp_path / "merges.txt"), str(tmp_path / "checkpoint")
    tokenizer.save(merges)
    save_model(checkpoint, model)
    wanted = tokenizer.tokenize(TEXTS, 16)
    for source in (tokenizer, merges, model, checkpoint):
        assert torch.equal(clip_train.tokenize(TEXTS, 16, tokenizer=source), wanted)


def test_the_environment_names_the_tokenizer_where_none_is_given(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(str(tmp_path / "merges.txt"))
    monkeypatch.setenv(TOKENIZER_VARIABLE, str(tmp_path / "merges.txt"))
    ids = clip_train.tokenize("a red star")
    assert ids.shape == (1, 77) and ids.dtype == torch.int32
    assert torch.equal(ids, tokenizer.tokenize("a red star"))
    assert torch.equal(clip_train.tokenize(("a red star",), 77, False), ids)


def test_after_load_texts_are_tokenized_for_the_model_that_was_loaded(tokenizer, model, tmp_path, monkeypatch):
    monkeypatch.setenv(TOKENIZER_VARIABLE, "not read")
    for name in ("one", "again"):
        save_model(str(tmp_path / name), model)
        clip_train.load(str(tmp_path / name))
    assert torch.equal(clip_train.tokenize(TEXTS), tokenizer.tokenize(TEXTS, 32))
    other = clip_train.train_tokenizer(TEXTS, vocab_size=520)
    save_model(str(tmp_path / "other"), clip_train.create_model("tiny-32", device="cpu", tokenizer=other))
    loaded, _ = clip_train.load(str(tmp_path / "other"))
    with pytest.raises(clip_train.InputError, match="2 models with different ones were loaded"):
        clip_train.tokenize(TEXTS)
    assert torch.equal(clip_train.tokenize(TEXTS, tokenizer=loaded), other.tokenize(TEXTS, 32))


def test_without_a_tokenizer_the_message_says_how_to_give_one(tokenizer):
    with pytest.raises(clip_train.InputError, match=TOKENIZER_VARIABLE):
        clip_train.tokenize("a red star")
    with pytest.raises(clip_train.InputError, match="the model has no tokenizer"):
        clip_train.tokenize("a red star", tokenizer=clip_train.create_model("tiny-32", device="cpu"))


def test_ids_are_no_longer_than_a_models_context_and_go_through_it(model, tmp_path):
    save_model(str(tmp_path / "checkpoint"), model)
    for source in (model, str(tmp_path / "checkpoint")):
        ids = clip_train.tokenize(TEXTS, tokenizer=source)
        assert ids.shape == (6, 32)
        per_image, per_text = model(torch.zeros(1, 3, 32, 32), ids)
        assert per_image.shape == (1, 6) and torch.equal(per_image.T, per_text)


def test_a_long_text_raises_unless_it_may_be_cut(model):
    text = "star " * 100
    with pytest.raises(clip_train.InputError, match="102 tokens is longer than the context of 77"):
        clip_train.tokenize(text, tokenizer=model.tokenizer)
    ids = clip_train.tokenize(text, 77, True, tokenizer=model.tokenizer)
    assert ids[0, -1] == model.tokenizer.end_id


@pytest.mark.parametrize("name", ["vit-b-32", "ViT-B/32", "VIT-B-32", "vit-b/32"])
def test_a_preset_has_no_weights_to_load_in_any_spelling(name):
    with pytest.raises(clip_train.InputError, match="a model without weights"):
        clip_train.load(name)


def test_an_unknown_name_is_refused_in_one_line(tmp_path):
    with pytest.raises(clip_train.InputError, match="no known model; did you mean"):
        clip_train.load("vit-b-33")
    with pytest.raises(clip_train.InputError, match="no checkpoint, and no run"):
        clip_train.load(str(tmp_path))
    with pytest.raises(clip_train.InputError, match="did you mean"):
        clip_train.create_model("vit-b-33")
