"""With transformers installed: text towers that are its encoders, and CLIPModel folders that it reads and writes."""

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.config import HuggingFaceTextConfig, ModelConfig, VisionTransformerConfig
from clip_train.data.decode import Preprocess
from clip_train.errors import InputError
from clip_train.exchange.formats import read_model, write_model
from clip_train.models.clip import Clip
from clip_train.models.hugging_face import HuggingFaceText, load_encoder_weights
from clip_train.models.text import trim_padding
from clip_train.presets import PRESETS
from clip_train.tokenizers.bpe import train_tokenizer
from clip_train.training.optimizer import decay_groups

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENCODERS = {
    "bert": {"model_type": "bert", "vocab_size": 50, "pad_token_id": 0, "max_position_embeddings": 32, **SIZES},
    "roberta": {"model_type": "roberta", "vocab_size": 50, "pad_token_id": 1, "max_position_embeddings": 34, **SIZES},
}


def make_tower(name, pooling="cls", **options):
    torch.manual_seed(0)
    config = HuggingFaceTextConfig(
        **{"encoder": ENCODERS[name], "vocab_size": 50, "context_length": 12, "pooling": pooling} | options
    )
    return HuggingFaceText(config, 6).eval(), config


def make_ids(pad_id):
    return torch.tensor([[2, 7, 9, 3, *[pad_id] * 4], [2, 11, 12, 13, 14, 3, pad_id, pad_id]], dtype=torch.int32)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_tower_projects_what_the_encoder_gives_for_the_text_alone(name, pooling):
    tower, config = make_tower(name, pooling)
    for row, length in zip(make_ids(config.pad_id), (4, 6), strict=True):
        with torch.no_grad():
            states = tower.encoder(input_ids=row[None, :length].long()).last_hidden_state[0]
            expected = (states[0] if pooling == "cls" else states.mean(dim=0)) @ tower.text_projection
            torch.testing.assert_close(tower(row[None])[0], expected, rtol=1e-5, atol=1e-6)


def test_cutting_the_padding_changes_no_feature():
    tower, config = make_tower("roberta", "mean")
    ids = make_ids(config.pad_id)
    assert trim_padding(ids, config.pad_id).shape == (2, 6)
    torch.testing.assert_close(tower(ids), tower(trim_padding(ids, config.pad_id)))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_gets_a_gradient_and_positions_are_not_decayed(name):
    tower, config = make_tower(name)
    tower(make_ids(config.pad_id)).square().sum().backward()
    assert not [name for name, p in tower.named_parameters() if p.grad is None]
    decayed = {id(p) for p in decay_groups(tower, 0.2)[0]["params"]}
    names = {name for name, p in tower.named_parameters() if id(p) in decayed}
    assert "encoder.embeddings.word_embeddings.weight" in names
    assert "encoder.embeddings.position_embeddings.weight" not in names


def test_an_encoders_weights_are_taken_from_its_folder(tmp_path):
    torch.manual_seed(1)
    trained = transformers.BertModel(transformers.BertConfig(**ENCODERS["bert"])).eval()
    trained.save_pretrained(tmp_path / "bert")
    tower, config = make_tower("bert")
    load_encoder_weights(tower, str(tmp_path / "bert"))
    ids = make_ids(config.pad_id)
    with torch.no_grad():
        states = trained(input_ids=ids.long(), attention_mask=(ids != 0).long()).last_hidden_state
        torch.testing.assert_close(tower(ids), states[:, 0] @ tower.text_projection)


def test_weights_of_another_encoder_and_missing_ones_are_refused_by_name(tmp_path):
    transformers.BertModel(transformers.BertConfig(**{**ENCODERS["bert"], "hidden_size": 16})).save_pretrained(
        tmp_path / "narrow"
    )
    tower, _ = make_tower("bert")
    with pytest.raises(InputError, match="narrow: weights of another encoder"):
        load_encoder_weights(tower, str(tmp_path / "narrow"))
    with pytest.raises(InputError, match="missing: no encoder of transformers"):
        load_encoder_weights(tower, str(tmp_path / "missing"))
    with pytest.raises(InputError, match="only a text tower of kind hugging-face"):
        load_encoder_weights(torch.nn.Linear(1, 1), "x")


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        ({}, {}, "has no model_type"),
        ({"model_type": "no-such"}, {}, "transformers cannot build the encoder 'no-such'"),
        (ENCODERS["bert"], {"context_length": 33}, "context-length 33 is more than the encoder's 32 positions"),
    ],
    ids=["no type", "unknown type", "too long"],
)
def test_an_encoder_that_cannot_be_built_is_refused(encoder, options, message):
    with pytest.raises(InputError, match=message):
        HuggingFaceText(HuggingFaceTextConfig(encoder=encoder, **options), 6)


def test_a_model_with_an_encoder_is_saved_and_loaded(tmp_path):
    import clip_train
    from clip_train.training.checkpoint import save_model

    _, text = make_tower("roberta")
    image = PRESETS["tiny-32"].model.image
    model = Clip(ModelConfig(embed_dim=6, image=image, text=text)).eval()
    save_model(str(tmp_path / "m"), model)
    back, _ = clip_train.load(str(tmp_path / "m"), "cpu")
    assert back.config == model.config
    with torch.no_grad():
        torch.testing.assert_close(back.encode_text(make_ids(1)), model.encode_text(make_ids(1)))


TOKENIZER = train_tokenizer(["a photo of a cat", "the quick brown dog", "naïve café o'clock 12"] * 3, vocab_size=570)
TEXTS = ["a photo of a cat", "The quick brown dog", "naïve café, 12 o'clock"]


def make_clip(activation):
    torch.manual_seed(0)
    image = VisionTransformerConfig(image_size=48, patch_size=16, width=64, layers=2, heads=4, activation=activation)
    text = PRESETS["tiny-32"].model.text
    config = ModelConfig(embed_dim=24, image=image, text=text).with_text(
        vocab_size=TOKENIZER.vocab_size, activation=activation
    )
    return Clip(config, TOKENIZER).eval()


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@torch.no_grad()
def test_clip_model_gives_the_features_and_logits_of_the_model_it_came_from(tmp_path, activation):
    model = make_clip(activation)
    write_model(model, str(tmp_path / "hf"), format="hf")
    theirs, loading = transformers.CLIPModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(loading.values())
    images, ids = torch.randn(3, 3, 48, 48), model.tokenize(TEXTS).long()
    found = theirs(input_ids=ids, pixel_values=images)
    for got, expected in (
        (theirs.get_image_features(pixel_values=images).pooler_output, model.encode_image(images)),
        (theirs.get_text_features(input_ids=ids).pooler_output, model.encode_text(ids)),
        (found.logits_per_image, model(images, ids)[0]),
        (found.logits_per_text, model(images, ids)[1]),
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_clip_processor_gives_the_ids_and_pixels_of_the_model_it_came_from(tmp_path):
    model = make_clip("gelu")
    write_model(model, str(tmp_path / "hf"), format="hf")
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "hf")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 61, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((70, 95))
    made = processor(text=TEXTS, images=image, return_tensors="pt", padding=True)
    for got, expected in zip(made["input_ids"].tolist(), model.tokenize(TEXTS).tolist(), strict=True):
        length = expected.index(TOKENIZER.end_id) + 1
        assert got[:length] == expected[:length]
    largest = (made["pixel_values"][0] - Preprocess(48)(image)).abs().max().item()
    assert largest * 0.2758 * 255 <= 1.001  # one step of a pixel
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "hf")
    features = theirs.get_text_features(
        input_ids=made["input_ids"], attention_mask=made["attention_mask"]
    ).pooler_output
    torch.testing.assert_close(features, model.encode_text(model.tokenize(TEXTS)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_folder_that_transformers_saved_is_read_with_its_tokenizer(tmp_path):
    model = make_clip("quick_gelu")
    write_model(model, str(tmp_path / "hf"), format="hf")
    transformers.CLIPModel.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "saved")
    transformers.CLIPProcessor.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "saved")
    back = read_model(str(tmp_path / "saved"))
    assert back.config == model.config
    assert back.tokenizer.merges == TOKENIZER.merges
    images, ids = torch.randn(2, 3, 48, 48), model.tokenize(TEXTS)
    torch.testing.assert_close(back(images, ids), model(images, ids), rtol=0, atol=0)


def test_the_smallest_configuration_of_transformers_is_read_by_its_defaults(tmp_path):
    config = transformers.CLIPConfig(
        projection_dim=16,
        text_config={"num_hidden_layers": 1, "vocab_size": 40},
        vision_config={"num_hidden_layers": 1, "image_size": 32},
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path / "hf")
    back = read_model(str(tmp_path / "hf"))
    assert (back.config.embed_dim, back.config.text.width, back.config.image.width) == (16, 512, 768)
    assert back.tokenizer is None
