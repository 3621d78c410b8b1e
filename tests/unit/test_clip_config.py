"""Names of models, saved configurations, limits."""

import json

import pytest
import torch

import clip_train
from clip_train.config import (
    InputError,
    TextTransformerConfig,
    TrainConfig,
    VisionTransformerConfig,
    model_from_dict,
    model_to_dict,
)
from clip_train.presets import PRESETS, find_preset


@pytest.mark.parametrize("name", ["ViT-B/32", "vit-b/32", "vit-b-32", "VIT-B-32"])
def test_a_model_is_found_in_either_case_with_slash_or_dash(name):
    assert find_preset(name) is PRESETS["ViT-B/32"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_saved_configuration_is_read_back_equal(name, tmp_path):
    values = json.loads(json.dumps(model_to_dict(PRESETS[name].model)))
    assert model_from_dict(values) == PRESETS[name].model
    (tmp_path / "model.json").write_text(json.dumps(values))
    assert find_preset(str(tmp_path / "model.json")).model == PRESETS[name].model


def test_presets_set_only_options_that_training_has():
    for preset in PRESETS.values():
        TrainConfig(**preset.recipe)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"embed_dim": 8, "image": {"kind": "x"}, "text": {}}'], ids=repr)
def test_a_file_without_a_model_is_refused_by_name(tmp_path, content):
    (tmp_path / "wrong.json").write_text(content)
    with pytest.raises(InputError, match=r"wrong\.json: no model configuration"):
        find_preset(str(tmp_path / "wrong.json"))


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown model 'vit-z'; known: ViT-B/32"):
        clip_train.create_model("vit-z")


def test_heads_and_patches_must_divide():
    with pytest.raises(ValueError, match="heads 5 does not divide width 768"):
        VisionTransformerConfig(heads=5)
    with pytest.raises(ValueError, match="patch_size 30 does not divide image_size 224"):
        VisionTransformerConfig(patch_size=30)
    with pytest.raises(ValueError, match="context-length must be at least 3"):
        TextTransformerConfig(context_length=1)


def test_a_created_model_takes_the_vocabulary_of_its_tokenizer():
    tokenizer = clip_train.train_tokenizer(["a cat"], vocab_size=515)
    model = clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer)
    assert model.text.token_embedding.num_embeddings == tokenizer.vocab_size
    assert model.tokenize("a cat").shape == (1, 32)
    with pytest.raises(InputError, match="no tokenizer"):
        clip_train.create_model("tiny-32", device="cpu").tokenize("a cat")
    assert torch.isfinite(clip_train.encode_texts(model, ["a cat", "cat"])).all()


def test_a_preset_has_no_weights_to_load():
    with pytest.raises(InputError, match="without weights"):
        clip_train.load("ViT-B/32", "cpu")
