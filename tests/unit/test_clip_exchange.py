"""Formats of others: what is written is read back equal, names are theirs, and what cannot be said is refused."""

import copy
import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import clip_train
from clip_train.__main__ import main
from clip_train.config import (
    CbowConfig,
    EfficientNetConfig,
    ModelConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from clip_train.errors import InputError
from clip_train.exchange.clip_tokenizer import read_tokenizer_files
from clip_train.exchange.formats import detect_format, read_model, write_model
from clip_train.exchange.hugging_face import read_config
from clip_train.exchange.open_clip import read_open_clip_config
from clip_train.models.clip import Clip
from clip_train.tokenizers.bpe import ClipTokenizer, train_tokenizer

TOKENIZER = train_tokenizer(["a photo of a cat", "the quick brown dog", "café, naïve & o'clock 12"], vocab_size=560)
VIT = VisionTransformerConfig(image_size=32, patch_size=16, width=128, layers=2, heads=2, activation="quick_gelu")
RESNET = ResNetConfig(image_size=64, blocks=(1, 2, 1, 1), width=16, heads=8)
TEXT = TextTransformerConfig(
    context_length=16, vocab_size=TOKENIZER.vocab_size, width=64, layers=3, heads=1, activation="quick_gelu"
)


def make_model(image=VIT, text=TEXT, tokenizer=TOKENIZER):
    torch.manual_seed(0)
    model = Clip(ModelConfig(embed_dim=24, image=image, text=text), tokenizer)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and name != "logit_scale":
            tensor += 0.1 * torch.rand_like(tensor)  # so that no tensor is all zeros or ones
    return model.eval()


def assert_same_model(found, expected):
    assert found.config == expected.config
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("format", "image"),
    [("hf", VIT), ("open-clip", VIT), ("open-clip", RESNET), ("openai", VIT), ("openai", RESNET)],
    ids=["hf vit", "open-clip vit", "open-clip resnet", "openai vit", "openai resnet"],
)
def test_a_model_that_goes_out_comes_back_equal(tmp_path, format, image):
    model = make_model(image)
    path = str(tmp_path / "out.pt")
    write_model(model, path, format=format)
    tokenizer = str(tmp_path / "merges.txt")
    TOKENIZER.save(tokenizer)
    back = read_model(path, format=format, tokenizer=tokenizer if format == "openai" else "")
    assert_same_model(back, model)
    assert back.tokenizer.merges == TOKENIZER.merges
    if format != "openai":
        assert detect_format(path) == format


def test_heads_and_non_linearity_of_their_own_survive_where_the_format_can_say_them(tmp_path):
    image = dataclasses.replace(VIT, heads=8, activation="gelu")
    model = make_model(image, dataclasses.replace(TEXT, heads=4, activation="gelu"), tokenizer=None)
    for format in ("hf", "open-clip"):
        write_model(model, str(tmp_path / format), format=format)
        back = read_model(str(tmp_path / format))
        assert_same_model(back, model)
        assert back.tokenizer is None
    with pytest.raises(InputError, match=r"its readers would take image heads 2 for 8; image activation quick_gelu"):
        write_model(model, str(tmp_path / "x.pt"), format="openai")
    assert not (tmp_path / "x.pt").exists()


def test_the_state_dict_has_the_names_of_openai(tmp_path):
    write_model(make_model(RESNET), str(tmp_path / "x.pt"), format="openai")
    names = torch.load(tmp_path / "x.pt", weights_only=True).keys()
    assert {
        *("logit_scale", "positional_embedding", "text_projection", "token_embedding.weight", "ln_final.bias"),
        *("transformer.resblocks.2.attn.in_proj_weight", "transformer.resblocks.0.mlp.c_fc.bias"),
        *("visual.conv3.weight", "visual.bn1.running_var", "visual.layer2.0.downsample.0.weight"),
        *("visual.layer1.0.downsample.1.num_batches_tracked", "visual.attnpool.positional_embedding"),
        *("visual.attnpool.c_proj.weight", "visual.layer4.0.bn3.bias"),
    } <= names


def test_the_hugging_face_folder_has_the_names_of_clip_model(tmp_path):
    write_model(make_model(), str(tmp_path / "hf"), format="hf")
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    assert {
        *("logit_scale", "visual_projection.weight", "text_projection.weight", "vision_model.pre_layrnorm.weight"),
        *("vision_model.embeddings.class_embedding", "vision_model.embeddings.position_embedding.weight"),
        *("text_model.encoder.layers.2.self_attn.k_proj.bias", "text_model.final_layer_norm.weight"),
    } <= tensors.keys()
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    text = config["text_config"]
    end_id = TOKENIZER.end_id
    assert (text["bos_token_id"], text["eos_token_id"], text["pad_token_id"]) == (end_id - 1, end_id, 0)
    assert config["vision_config"]["hidden_act"] == "quick_gelu"
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == [
        *("config.json", "merges.txt", "model.safetensors", "preprocessor_config.json", "special_tokens_map.json"),
        *("tokenizer_config.json", "vocab.json"),
    ]


def test_the_published_vocabulary_has_the_published_ids():
    tokenizer = ClipTokenizer([])
    vocabulary = tokenizer.vocabulary
    assert [vocabulary[token] for token in ("!", "a", "!</w>", "<|startoftext|>", "<|endoftext|>")] == [
        *(0, 64, 256, 512, 513)
    ]


@pytest.mark.parametrize(
    ("wrapper", "tower"),
    [
        *(("module.", ""), ("_orig_mod.", ""), ("module.", "text.")),
        *(("_orig_mod.module.", ""), ("module._orig_mod.", ""), ("module.module._orig_mod.", "text._orig_mod.")),
    ],
    ids=lambda value: value or "flat",
)
def test_training_checkpoints_of_open_clip_are_read_under_their_wrappers(tmp_path, wrapper, tower):
    model = make_model()
    state = {
        f"{wrapper}{tower if name.startswith('text.') else ''}{name.removeprefix('text.')}": tensor
        for name, tensor in model.state_dict().items()
    }
    state[f"{wrapper}logit_scale"] = model.logit_scale.detach().reshape(1)
    torch.save({"epoch": 3, "state_dict": state, "name": "run"}, tmp_path / "epoch_3.pt")
    back = read_model(str(tmp_path / "epoch_3.pt"), format="open-clip", activation="quick_gelu")
    assert_same_model(back, model)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_are_found_under_the_usual_keys_and_inside_wrapped_towers(tmp_path, key):
    model = make_model()
    state = {name.removeprefix("text."): tensor for name, tensor in model.state_dict().items()}
    state = {
        name.replace("visual.", "visual._orig_mod.").replace("resblocks.1", "resblocks.1.module"): tensor
        for name, tensor in state.items()
    }
    torch.save({"step": 3, key: state}, tmp_path / "x.pt")
    assert_same_model(read_model(str(tmp_path / "x.pt"), format="openai"), model)


def test_one_tensor_under_two_wrapped_names_is_refused(tmp_path):
    torch.save({"logit_scale": torch.ones(()), "module.logit_scale": torch.zeros(())}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"logit_scale is there twice, once as module\.logit_scale"):
        read_model(str(tmp_path / "x.pt"), format="openai")


def test_a_bare_file_takes_gelu_from_open_clip_and_quick_gelu_from_openai(tmp_path, capsys):
    write_model(make_model(), str(tmp_path / "x.pt"), format="openai")
    found = [read_model(str(tmp_path / "x.pt"), format=format).config for format in ("open-clip", "openai")]
    assert [config.text.activation for config in found] == ["gelu", "quick_gelu"]
    assert [config.image.activation for config in found] == ["gelu", "quick_gelu"]
    [line] = capsys.readouterr().err.splitlines()
    assert "weights do not say their non-linearity; taken as gelu" in line and "--activation quick_gelu" in line


def test_the_name_of_a_bare_file_or_of_its_run_says_quick_gelu_and_what_is_asked_for_goes_before_it(tmp_path, capsys):
    state = {name.removeprefix("text."): tensor for name, tensor in make_model().state_dict().items()}
    torch.save({"name": "run-model_ViT-B-32-quickgelu-lr_1", "state_dict": state}, tmp_path / "epoch_1.pt")
    torch.save(state, tmp_path / "vit_quick_gelu.pt")
    for name in ("epoch_1.pt", "vit_quick_gelu.pt"):
        assert read_model(str(tmp_path / name), format="open-clip").config.text.activation == "quick_gelu"
        assert "taken as quick_gelu, as its name says" in capsys.readouterr().err
        asked = read_model(str(tmp_path / name), format="open-clip", activation="gelu")
        assert asked.config.text.activation == "gelu" and not capsys.readouterr().err


def test_a_bare_file_is_read_by_a_configuration_that_comes_with_open_clip(tmp_path):
    model = make_model(dataclasses.replace(VIT, heads=4))
    write_model(model, str(tmp_path / "folder"), format="open-clip")
    whole = json.loads((tmp_path / "folder" / "open_clip_config.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(whole["model_cfg"]))
    weights = str(tmp_path / "folder" / "open_clip_model.safetensors")
    assert_same_model(read_model(weights, config=str(tmp_path / "model.json")), model)


def build_archive(state):
    """A TorchScript module with some tensors, as OpenAI published its models."""
    root = nn.Module()
    for name, tensor in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_buffer(last, tensor)
    return torch.jit.script(root)


@pytest.mark.parametrize("image", [VIT, RESNET], ids=["vit", "resnet"])
def test_openais_archives_are_recognised_and_read_in_full_precision(tmp_path, image):
    model = make_model(image)
    state = {name.removeprefix("text."): tensor for name, tensor in model.state_dict().items()}
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    facts = {"input_resolution": 32, "context_length": 16, "vocab_size": TOKENIZER.vocab_size}
    state |= {name: torch.tensor(value) for name, value in facts.items()}
    build_archive(state).save(str(tmp_path / "archive.pt"))
    assert detect_format(str(tmp_path / "archive.pt")) == "openai"
    back = read_model(str(tmp_path / "archive.pt"))
    assert back.config == model.config
    assert back.logit_scale.dtype == torch.float32
    torch.testing.assert_close(back.state_dict(), model.state_dict(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "text", "format", "message"),
    [
        (RESNET, TEXT, "hf", "not resnet and text-transformer; the formats open-clip and openai also have ResNets"),
        (VIT, CbowConfig(width=64, vocab_size=TOKENIZER.vocab_size), "hf", "not vision-transformer and cbow"),
        (VIT, CbowConfig(width=64, vocab_size=TOKENIZER.vocab_size), "open-clip", "text-transformer, not with cbow"),
        (EfficientNetConfig(width_factor=0.25, depth_factor=0.3), TEXT, "open-clip", "not efficientnet"),
        (EfficientNetConfig(width_factor=0.25, depth_factor=0.3), TEXT, "openai", "knows CLIP's ResNets and ViTs"),
        (dataclasses.replace(VIT, activation="gelu"), TEXT, "open-clip", "one non-linearity for both"),
    ],
)
def test_a_model_that_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, image, text, format, message):
    with pytest.raises(InputError, match=message):
        write_model(make_model(image, text), str(tmp_path / "out"), format=format)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").write_text("mine")
    for format in ("hf", "open-clip", "openai"):
        with pytest.raises(InputError, match="out exists already"):
            write_model(make_model(), str(tmp_path / "out"), format=format)
    assert (tmp_path / "out").read_text() == "mine"


def change_json(path, section, **changes):
    values = json.loads(path.read_text())
    (values[section] if section else values).update(changes)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "section", "changes", "message"),
    [
        ("config.json", "", {"model_type": "siglip"}, "a model of type 'siglip', not 'clip'"),
        ("config.json", "text_config", {"hidden_act": "relu"}, "hidden_act 'relu' is not one of gelu, quick_gelu"),
        ("config.json", "text_config", {"intermediate_size": 8}, "intermediate_size 8 is not four times the width 64"),
        ("config.json", "vision_config", {"layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06 is not 1e-05"),
        ("config.json", "vision_config", {"num_attention_heads": 7}, "heads 7 does not divide width 128"),
        ("preprocessor_config.json", "", {"image_mean": [0.5, 0.5, 0.5]}, r"image_mean \[0.5, 0.5, 0.5\]; here it is"),
        ("preprocessor_config.json", "", {"size": {"shortest_edge": 40}}, "size 40; here it is 32"),
        ("vocab.json", "", {"extra": 999}, "not CLIP's kind of vocabulary"),
    ],
)
def test_a_hugging_face_folder_that_does_something_else_is_refused_by_name(tmp_path, name, section, changes, message):
    write_model(make_model(), str(tmp_path / "hf"), format="hf")
    change_json(tmp_path / "hf" / name, section, **changes)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        read_model(str(tmp_path / "hf"))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model_cfg", {"multimodal_cfg": {}}, "model_cfg has multimodal_cfg"),
        ("model_cfg", {"init_logit_bias": -10}, "model_cfg has init_logit_bias -10"),
        ("preprocess_cfg", {"interpolation": "bilinear"}, "interpolation bilinear; here it is bicubic"),
        ("preprocess_cfg", {"mean": [0.5, 0.5, 0.5]}, r"mean \[0.5, 0.5, 0.5\]"),
    ],
)
def test_an_open_clip_folder_that_does_something_else_is_refused_by_name(tmp_path, section, changes, message):
    write_model(make_model(), str(tmp_path / "oc"), format="open-clip")
    change_json(tmp_path / "oc" / "open_clip_config.json", section, **changes)
    with pytest.raises(InputError, match=message):
        read_model(str(tmp_path / "oc"))


def test_an_open_clip_tower_of_timm_is_refused_by_name(tmp_path):
    write_model(make_model(), str(tmp_path / "oc"), format="open-clip")
    path = tmp_path / "oc" / "open_clip_config.json"
    values = json.loads(path.read_text())
    values["model_cfg"]["vision_cfg"]["timm_model_name"] = "convnext_base"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="vision_cfg has timm_model_name 'convnext_base'"):
        read_model(str(tmp_path / "oc"))


def test_weights_of_another_model_are_refused_with_the_names_that_do_not_fit(tmp_path):
    write_model(make_model(), str(tmp_path / "hf"), format="hf")
    path = tmp_path / "hf" / "model.safetensors"
    tensors = load_file(path)
    del tensors["vision_model.post_layernorm.bias"]
    tensors["logit_bias"] = torch.zeros(())
    tensors["text_projection.weight"] = torch.zeros(2, 3)
    save_file(tensors, path)
    with pytest.raises(InputError) as refused:
        read_model(str(tmp_path / "hf"))
    message = str(refused.value)
    assert message.startswith(f"{path}: weights do not fit the model (lacks visual.ln_post.bias; ")
    assert "has more: logit_bias" in message
    assert "other shapes: text.text_projection [3, 2] for [64, 24]" in message
    assert "\n" not in message


def test_the_weights_of_a_checkpoint_must_be_those_of_its_configuration(tmp_path):
    from clip_train.training.checkpoint import save_model

    save_model(str(tmp_path / "m"), make_model())
    change_json(tmp_path / "m" / "config.json", "model", embed_dim=25)
    with pytest.raises(InputError, match=r"other shapes: visual.proj \[128, 24\] for \[128, 25\]"):
        clip_train.load(str(tmp_path / "m"), "cpu")


def test_files_without_weights_are_refused(tmp_path):
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("text.pt", "no file of weights"),
        ("text.safetensors", "no file of weights"),
        ("numbers.pt", r"no file of weights \(it holds a dict\)"),
        ("other.pt", "weights alone do not say whose they are; give --format open-clip or openai"),
        ("missing.pt", "no such file or folder"),
        ("empty", "no config.json and no open_clip_config.json"),
    ):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read_model(str(tmp_path / name))
    with pytest.raises(InputError, match=r"other.pt: not the weights of a CLIP model, which have 'ln_final.weight'"):
        read_model(str(tmp_path / "other.pt"), format="openai")


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path):
    write_model(make_model(), str(tmp_path / "x.pt"), format="openai")
    ClipTokenizer([]).save(str(tmp_path / "merges.txt"))
    with pytest.raises(InputError, match="the tokenizer has 514 ids, the weights 5"):
        read_model(str(tmp_path / "x.pt"), format="openai", tokenizer=str(tmp_path / "merges.txt"))


def test_the_commands_take_a_model_out_and_in_and_the_result_loads(tmp_path, capsys):
    from clip_train.training.checkpoint import save_model

    model = make_model()
    save_model(str(tmp_path / "mine"), model)
    assert main(["export", "--checkpoint", str(tmp_path / "mine"), "--output", str(tmp_path / "hf")]) == 0
    assert main(["import", "--weights", str(tmp_path / "hf"), "--output", str(tmp_path / "back")]) == 0
    assert "vision-transformer and text-transformer" in capsys.readouterr().out
    loaded, preprocess = clip_train.load(str(tmp_path / "back"), "cpu")
    assert_same_model(loaded, model)
    assert preprocess.side == 32
    assert loaded.tokenize("a cat").tolist() == model.tokenize("a cat").tolist()
    for command in (["import", "--weights", str(tmp_path / "hf")], ["export", "--checkpoint", str(tmp_path / "mine")]):
        assert main([*command, "--output", str(tmp_path / "back")]) == 2
        assert "back exists already" in capsys.readouterr().err
        assert main(command) == 2
        assert "--output must be given" in capsys.readouterr().err
    assert main(["import", "--weights", str(tmp_path / "hf"), "--config", "x", "--output", str(tmp_path / "new")]) == 2
    assert "says itself what it is" in capsys.readouterr().err


def test_a_model_without_a_tokenizer_is_imported_with_a_hint(tmp_path, capsys):
    write_model(make_model(), str(tmp_path / "x.pt"), format="openai")
    command = ["import", "--weights", str(tmp_path / "x.pt"), "--format", "openai", "--output", str(tmp_path / "back")]
    assert main(command) == 0
    assert "without a tokenizer: give one with --tokenizer" in capsys.readouterr().out
    model, _ = clip_train.load(str(tmp_path / "back"), "cpu")
    with pytest.raises(InputError, match="no tokenizer"):
        model.tokenize("a cat")


def test_a_folder_of_another_format_given_as_a_checkpoint_is_told_how_to_come_in(tmp_path):
    write_model(make_model(), str(tmp_path / "hf"), format="hf")
    with pytest.raises(InputError, match="other formats come in by python -m clip_train import"):
        clip_train.load(str(tmp_path / "hf"), "cpu")


def every_place(values, place=()):
    yield place
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield from every_place(values[key], (*place, key))


TOKENIZER_FILE = {"model": {"vocab": {"a": 1}, "merges": ["a b"]}, "added_tokens": [{"content": "x", "id": 3}]}


@pytest.mark.parametrize(
    ("format", "name", "read"),
    [
        ("hf", "config.json", read_config),
        ("hf", "preprocessor_config.json", read_config),
        ("hf", "tokenizer.json", read_tokenizer_files),
        ("open-clip", "open_clip_config.json", lambda folder: read_open_clip_config(f"{folder}/open_clip_config.json")),
    ],
)
def test_whatever_stands_in_a_folders_files_is_read_or_refused_in_one_line(tmp_path, format, name, read):
    write_model(make_model(), str(tmp_path / "x"), format=format)
    path = tmp_path / "x" / name
    whole = TOKENIZER_FILE if name == "tokenizer.json" else json.loads(path.read_text())
    refused = 0
    for place in every_place(whole):
        for wrong in (None, [], {}, "x", -1, 0, 1.5, True, [[1]]):
            changed = copy.deepcopy({"root": whole})
            inside = changed
            *above, last = ("root", *place)
            for key in above:
                inside = inside[key]
            inside[last] = wrong
            path.write_text(json.dumps(changed["root"]))
            try:
                read(str(tmp_path / "x"))
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused


@pytest.mark.parametrize("lines", ["a b\nq zz\n", "a b c\n", "a\n", "\x00 \x01\n"])
def test_merges_that_are_none_are_refused_by_the_name_of_their_file(tmp_path, lines):
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + lines)
    with pytest.raises(InputError, match=r"merges\.txt: not a merges file"):
        ClipTokenizer.load(str(tmp_path / "merges.txt"))
