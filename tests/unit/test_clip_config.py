"""Names of models, saved configurations, limits."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
import torch

import clip_train
from clip_train.config import (
    HuggingFaceTextConfig,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    TimmConfig,
    TrainConfig,
    VisionTransformerConfig,
    model_from_dict,
    model_to_dict,
)
from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.models.clip import Clip
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
    with pytest.raises(InputError, match=r"unknown model 'nothing'; known: RN50, RN101, .*ViT-B/32"):
        clip_train.create_model("nothing")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("vit-b/33", "ViT-B/32"), ("RN5O", "RN50"), ("efficient-net-b3", "EfficientNet-B3")]
)
def test_a_close_name_is_suggested(wrong, meant):
    with pytest.raises(InputError, match=f"unknown model '{wrong}'; did you mean {meant}\\?"):
        find_preset(wrong)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RN50", (32_768, 32, 2_000, 0.2, 5e-4, 0.9, 0.999, 1e-8)),
        ("RN101", (32_768, 32, 2_000, 0.2, 5e-4, 0.9, 0.999, 1e-8)),
        ("RN50x4", (32_768, 32, 2_000, 0.2, 5e-4, 0.9, 0.999, 1e-8)),
        ("RN50x16", (32_768, 32, 2_000, 0.2, 4e-4, 0.9, 0.999, 1e-8)),
        ("RN50x64", (32_768, 32, 2_000, 0.2, 3.6e-4, 0.9, 0.999, 1e-8)),
        ("ViT-B/32", (32_768, 32, 2_000, 0.2, 5e-4, 0.9, 0.98, 1e-6)),
        ("ViT-B/16", (32_768, 32, 2_000, 0.2, 5e-4, 0.9, 0.98, 1e-6)),
        ("ViT-L/14", (32_768, 32, 2_000, 0.2, 4e-4, 0.9, 0.98, 1e-6)),
        ("ViT-L/14@336", (32_768, 1, 2_000, 0.2, 2e-5, 0.9, 0.98, 1e-6)),
    ],
)
def test_presets_have_the_papers_hyper_parameters(name, expected):
    config = TrainConfig(**PRESETS[name].recipe)
    found = (config.batch_size, config.epochs, config.warmup_steps, config.weight_decay, config.learning_rate)
    assert (*found, config.beta1, config.beta2, config.epsilon) == expected


def test_datacomp_presets_see_the_number_of_samples_of_their_scale():
    for scale, samples in (("small", 12.8e6), ("medium", 128e6), ("large", 1.28e9), ("xlarge", 12.8e9)):
        config = TrainConfig(**PRESETS[f"DataComp-{scale}"].recipe)
        assert 0 <= samples - config.steps * config.batch_size < config.batch_size


def test_heads_and_patches_must_divide():
    with pytest.raises(ValueError, match="heads 5 does not divide width 768"):
        VisionTransformerConfig(heads=5)
    with pytest.raises(ValueError, match="patch_size 30 does not divide image_size 224"):
        VisionTransformerConfig(patch_size=30)
    with pytest.raises(ValueError, match="context-length must be at least 3"):
        TextTransformerConfig(context_length=1)
    with pytest.raises(ValueError, match=r"blocks must be four numbers, not \[1, 2\]"):
        ResNetConfig(blocks=(1, 2))
    with pytest.raises(ValueError, match="the stride of 32 does not divide image_size 100"):
        ResNetConfig(image_size=100)
    with pytest.raises(ValueError, match="heads 3 does not divide 32 times the width 2048"):
        ResNetConfig(heads=3)
    with pytest.raises(ValueError, match="width must be even"):
        ResNetConfig(width=3, heads=1)


def test_an_unknown_kind_of_tower_or_option_is_refused_with_the_close_one():
    values = model_to_dict(PRESETS["tiny-32"].model)
    with pytest.raises(ValueError, match=r"unknown kind of tower 'resnets'; did you mean resnet\?"):
        model_from_dict({**values, "image": {"kind": "resnets"}})
    with pytest.raises(ValueError, match=r"unknown option 'blocs'; did you mean blocks\?"):
        model_from_dict({**values, "image": {"kind": "resnet", "blocs": [1, 1, 1, 1]}})


def test_an_encoders_configuration_is_read_from_its_folder(tmp_path):
    values = model_to_dict(PRESETS["tiny-32"].model)
    values["text"] = {"kind": "hugging-face", "encoder": "bert", "pooling": "mean"}
    (tmp_path / "bert").mkdir()
    encoder = {"model_type": "bert", "vocab_size": 99, "pad_token_id": 3}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(encoder))
    (tmp_path / "mine.json").write_text(json.dumps(values))
    text = find_preset(str(tmp_path / "mine.json")).model.text
    assert text == HuggingFaceTextConfig(vocab_size=99, pooling="mean", encoder=encoder)
    assert text.pad_id == 3
    (tmp_path / "bert" / "config.json").unlink()
    with pytest.raises(InputError, match=r"bert/config\.json: No such file"):
        find_preset(str(tmp_path / "mine.json"))


@pytest.fixture
def timm_with(monkeypatch):
    """Makes a package timm out of some functions, or one that does not start."""

    def install(**functions):
        monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(**functions))

    return install


TIMM_MODEL = ModelConfig(
    embed_dim=6, image=TimmConfig(image_size=32, model="tiny_net"), text=PRESETS["tiny-32"].model.text
)


@pytest.mark.parametrize("takes_side", [True, False], ids=["with positions", "without"])
def test_a_timm_tower_is_built_by_name_and_projected(timm_with, takes_side):
    def create_model(name, num_classes, **options):
        if options and not takes_side:
            raise TypeError("unexpected keyword argument 'img_size'")
        assert (name, num_classes, options) == ("tiny_net", 0, {"img_size": 32} if takes_side else {})
        trunk = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5))
        trunk.num_features = 5
        return trunk

    timm_with(list_models=lambda: ["tiny_net", "other"], create_model=create_model)
    visual = Clip(TIMM_MODEL).visual
    images = torch.randn(2, 3, 32, 32)
    assert visual.pooled_width == 5
    torch.testing.assert_close(visual(images), visual.trunk(images) @ visual.proj)


def test_an_unknown_timm_model_is_refused_with_a_close_one(timm_with):
    timm_with(list_models=lambda: ["tiny_nets"], create_model=None)
    with pytest.raises(InputError, match=r"timm has no model 'tiny_net'; did you mean tiny_nets\?"):
        Clip(TIMM_MODEL)


def test_a_missing_package_is_named_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="'tiny_net' needs the package timm: install wit400m with the extra 'timm'"):
        Clip(TIMM_MODEL)


def test_a_package_that_does_not_start_is_told_from_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"half_installed, which does not start here \(operator torchvision::nms"):
        import_extra("half_installed", extra="x", needed_for="a thing")


def test_a_tokenizer_that_does_not_fit_the_text_tower_is_refused():
    tokenizer = clip_train.train_tokenizer(["a cat"], vocab_size=515)
    model = PRESETS["tiny-32"].model
    with pytest.raises(InputError, match=r"the tokenizer has 51\d ids, the text tower 100"):
        Clip(model.with_text(vocab_size=100), tokenizer)
    text = HuggingFaceTextConfig(encoder={"model_type": "bert", "pad_token_id": 1})
    with pytest.raises(InputError, match="the tokenizer pads with id 0, the text tower with 1"):
        Clip(dataclasses.replace(model, text=text), tokenizer)


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
