"""Training with towers other than the transformers, from an imported model, and with an encoder's tokenizer."""

import io
import json
import shutil
import tarfile

import pytest
import tokenizers
import torch
from PIL import Image
from tokenizers import models, normalizers, pre_tokenizers, processors

import clip_train
from clip_train.__main__ import main
from clip_train.config import model_to_dict
from clip_train.presets import PRESETS
from clip_train.training.checkpoint import list_checkpoints

COLOURS = ("red", "green", "blue", "yellow", "purple", "black", "white", "grey")
RUN = ["--batch-size", "8", "--warmup-steps", "2", "--precision", "fp32", "--device", "cpu", "--threads", "1"]
RUN += ["--log-every", "1", "--vocab-size", "560", "--learning-rate", "0.001"]
RESNET = {"kind": "resnet", "image_size": 32, "blocks": [1, 1, 1, 1], "width": 8, "heads": 4}
EFFICIENTNET = {"kind": "efficientnet", "image_size": 32, "width_factor": 0.25, "depth_factor": 0.3}
CBOW = {"kind": "cbow", "context_length": 12, "width": 32}
BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {
    "initializer_range": 0.2,
    "intermediate_size": 64,
    "vocab_size": 14,
    "pad_token_id": 0,
    "max_position_embeddings": 16,
}


def add_member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """One shard of 32 squares, each of one colour."""
    folder = tmp_path_factory.mktemp("shards")
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(32):
            colour = COLOURS[number % len(COLOURS)]
            image = io.BytesIO()
            Image.new("RGB", (40, 32), colour).save(image, "PNG")
            add_member(tar, f"{number:05d}.png", image.getvalue())
            add_member(tar, f"{number:05d}.txt", f"a {colour} square".encode())
    (folder / "sizes.json").write_text(json.dumps({"00000.tar": 32}))
    return str(folder)


def write_model(path, image, text):
    path.write_text(json.dumps({"embed_dim": 32, "image": image, "text": text}))
    return str(path)


def losses(output):
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def run(shards, output, *flags):
    return main(["train", "--shards", shards, "--output", str(output), *RUN, *flags])


@pytest.mark.parametrize("image", [RESNET, EFFICIENTNET], ids=["resnet", "efficientnet"])
def test_batch_norms_and_a_bag_of_words_learn_and_go_on_where_they_stopped(shards, tmp_path, image):
    model = write_model(tmp_path / "model.json", image, CBOW)
    flags = ["--model", model, "--save-every", "6", "--steps", "12"]
    assert run(shards, tmp_path / "whole", *flags) == 0
    assert run(shards, tmp_path / "cut", *flags) == 0
    shutil.rmtree(list_checkpoints(str(tmp_path / "cut"))[-1])
    assert run(shards, tmp_path / "cut", *flags, "--resume") == 0
    whole, again = (clip_train.load(str(tmp_path / name), "cpu")[0] for name in ("whole", "cut"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    found = losses(tmp_path / "whole")
    assert sum(found[-3:]) < 0.8 * sum(found[:3])


def test_training_starts_from_an_exported_and_imported_model_with_its_tokenizer(shards, tmp_path, capsys):
    assert run(shards, tmp_path / "first", "--model", "tiny-32", "--steps", "12") == 0
    for command in (
        ["export", "--checkpoint", str(tmp_path / "first"), "--format", "open-clip", "--output", str(tmp_path / "oc")],
        ["import", "--weights", str(tmp_path / "oc"), "--output", str(tmp_path / "in")],
    ):
        assert main(command) == 0
    flags = ["--model", "tiny-32", "--context-length", "32", "--init", str(tmp_path / "in"), "--steps", "4"]
    assert run(shards, tmp_path / "second", *flags) == 0
    assert losses(tmp_path / "second")[0] < 0.8 * losses(tmp_path / "first")[0]
    first, second = (clip_train.load(str(tmp_path / name), "cpu")[0] for name in ("first", "second"))
    assert second.tokenizer.merges == first.tokenizer.merges
    capsys.readouterr()
    merges = str(tmp_path / "first" / "checkpoints" / "step-00000012" / "tokenizer.txt")
    assert run(shards, tmp_path / "third", *flags, "--tokenizer", merges) == 2
    assert "has a tokenizer of its own" in capsys.readouterr().err


def test_training_from_weights_without_a_tokenizer_asks_for_one(shards, tmp_path, capsys):
    image = {**model_to_dict(PRESETS["tiny-32"].model)["image"], "width": 64, "heads": 1, "activation": "quick_gelu"}
    text = {"kind": "text-transformer", "width": 64, "heads": 1, "layers": 1, "activation": "quick_gelu"}
    model = write_model(tmp_path / "model.json", image, text)
    assert run(shards, tmp_path / "first", "--model", model, "--steps", "4") == 0
    weights, merges = str(tmp_path / "weights.pt"), str(tmp_path / "first/checkpoints/step-00000004/tokenizer.txt")
    for command in (
        ["export", "--checkpoint", str(tmp_path / "first"), "--format", "openai", "--output", weights],
        ["import", "--weights", weights, "--format", "openai", "--output", str(tmp_path / "in")],
    ):
        assert main(command) == 0
    flags = ["--model", model, "--init", str(tmp_path / "in"), "--steps", "4"]
    assert run(shards, tmp_path / "second", *flags) == 2
    assert "has no tokenizer: give the one that it was trained with as --tokenizer" in capsys.readouterr().err
    assert run(shards, tmp_path / "second", *flags, "--tokenizer", merges) == 0


def test_an_encoder_of_transformers_is_trained_with_its_own_tokenizer(shards, tmp_path):
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "square", *COLOURS]
    tokenizer = tokenizers.Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    (tmp_path / "bert").mkdir()
    tokenizer.save(str(tmp_path / "bert" / "tokenizer.json"))
    (tmp_path / "bert" / "config.json").write_text(json.dumps(BERT))
    text = {"kind": "hugging-face", "encoder": "bert", "context_length": 12, "pooling": "mean"}
    model = write_model(tmp_path / "model.json", model_to_dict(PRESETS["tiny-32"].model)["image"], text)
    flags = ["--model", model, "--tokenizer", str(tmp_path / "bert"), "--steps", "40"]
    assert run(shards, tmp_path / "run", *flags) == 0
    found = losses(tmp_path / "run")
    assert sum(found[-3:]) < 0.8 * sum(found[:3])
    loaded, _ = clip_train.load(str(tmp_path / "run"), "cpu")
    assert loaded.tokenize("a red square").tolist() == [[2, 4, words.index("red"), 5, 3, *[0] * 7]]
    probabilities = clip_train.classify(loaded, [Image.new("RGB", (32, 32), "red")], ["a red square", "a blue square"])
    assert probabilities.argmax() == 0
