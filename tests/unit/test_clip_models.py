"""The towers: what they compute, how large they are, how they start."""

import math

import pytest
import torch

from clip_train.config import ModelConfig, TextTransformerConfig, VisionTransformerConfig
from clip_train.models.attention import QuickGELU, ResidualAttentionBlock, Transformer
from clip_train.models.clip import Clip
from clip_train.models.text import trim_padding
from clip_train.models.vision import cut_patches
from clip_train.presets import PRESETS


def tiny_config(**text):
    image = VisionTransformerConfig(image_size=16, patch_size=8, width=32, layers=2, heads=4, activation="quick_gelu")
    text = TextTransformerConfig(
        **{"context_length": 12, "vocab_size": 50, "width": 32, "layers": 2, "heads": 4} | text
    )
    return ModelConfig(embed_dim=24, image=image, text=text)


def ids_of(*lengths, context_length=12):
    """Texts of random tokens that end with token 49, as a tokenizer of 50 ids pads them."""
    rows = torch.zeros(len(lengths), context_length, dtype=torch.int32)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(1, 48, (length,))
        row[length - 1] = 49
    return rows


def count_parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("RN50", 102.0),
        ("RN101", 119.7),
        ("RN50x4", 178.3),
        ("RN50x16", 291.0),
        ("RN50x64", 623.3),
        ("ViT-B/32", 151.3),
        ("ViT-B/16", 149.6),
        ("ViT-L/14", 427.6),
        ("ViT-L/14@336", 427.9),
    ],
)
def test_presets_have_the_papers_number_of_parameters(name, millions):
    with torch.device("meta"):
        model = Clip(PRESETS[name].model)
    assert round(count_parameters(model) / 1e6, 1) == millions


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_built_and_says_how_wide_its_pooled_features_are(name):
    config = PRESETS[name].model
    with torch.device("meta"):
        visual = Clip(config).visual
        expected = {"resnet": config.embed_dim}.get(
            config.image.kind, visual.state_dict().get("proj", torch.empty(0)).shape[0]
        )
    assert visual.pooled_width == expected


@pytest.mark.parametrize("causal", [False, True], ids=["all tokens", "causal"])
def test_reading_one_token_equals_computing_all_of_them(causal):
    torch.manual_seed(0)
    stack = Transformer(32, 3, 4, "gelu").double()
    x = torch.randn(5, 9, 32, dtype=torch.float64, requires_grad=True)
    positions = torch.tensor([0, 8, 3, 4, 1])
    full = stack(x, causal=causal)[torch.arange(5), positions]
    (full_gradient,) = torch.autograd.grad(full.square().sum(), x)
    read = stack.read(x, positions, causal=causal)
    (read_gradient,) = torch.autograd.grad(read.square().sum(), x)
    torch.testing.assert_close(read, full)
    torch.testing.assert_close(read_gradient, full_gradient)


def test_a_block_equals_torchs_own_encoder_layer():
    torch.manual_seed(0)
    ours = ResidualAttentionBlock(32, 4, "gelu").double()
    theirs = torch.nn.TransformerEncoderLayer(
        32, 4, 128, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "attn.": "self_attn.",
        "ln_1.": "norm1.",
        "ln_2.": "norm2.",
        "mlp.c_fc.": "linear1.",
        "mlp.c_proj.": "linear2.",
    }
    state = ours.state_dict()
    for ours_name, theirs_name in names.items():
        state = {key.replace(ours_name, theirs_name): value for key, value in state.items()}
    theirs.load_state_dict(state)
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x, causal=False), theirs(x))


def test_cutting_the_padding_changes_no_feature_and_no_gradient():
    torch.manual_seed(0)
    model = Clip(tiny_config()).double()
    ids = ids_of(3, 7, 5)
    trimmed = trim_padding(ids)
    assert trimmed.shape == (3, 7)
    features = {}
    for name, batch in (("padded", ids), ("trimmed", trimmed)):
        model.zero_grad()
        out = model.encode_text(batch)
        out.square().sum().backward()
        features[name] = [out, model.text.token_embedding.weight.grad, model.text.positional_embedding.grad]
    torch.testing.assert_close(features["padded"], features["trimmed"])


def test_what_follows_the_end_token_does_not_matter():
    torch.manual_seed(0)
    model = Clip(tiny_config())
    ids = ids_of(4, 6)
    changed = ids.clone()
    changed[:, 8:] = 7
    torch.testing.assert_close(model.encode_text(ids), model.encode_text(changed))


def test_logits_are_scaled_cosines_and_their_transpose():
    torch.manual_seed(0)
    model = Clip(tiny_config())
    images, ids = torch.randn(3, 3, 16, 16), ids_of(4, 6)
    per_image, per_text = model(images, ids)
    cosines = torch.nn.functional.cosine_similarity(
        model.encode_image(images)[:, None], model.encode_text(ids)[None], dim=-1
    )
    torch.testing.assert_close(per_image, cosines / 0.07)
    torch.testing.assert_close(per_text, per_image.T)


def test_the_scale_starts_at_the_papers_temperature_and_is_clamped_at_100():
    model = Clip(tiny_config())
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.clamp_logit_scale()
    assert model.logit_scale.item() == pytest.approx(math.log(100))


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    width, layers = 256, 3
    text = Clip(tiny_config(width=width, layers=layers, vocab_size=2_000, context_length=64)).text
    block = text.transformer.blocks[1]
    expected = {
        text.token_embedding.weight: 0.02,
        text.positional_embedding: 0.01,
        block.attn.in_proj_weight: width**-0.5,
        block.attn.out_proj.weight: width**-0.5 * (2 * layers) ** -0.5,
        block.mlp.c_fc.weight: (2 * width) ** -0.5,
        block.mlp.c_proj.weight: width**-0.5 * (2 * layers) ** -0.5,
        text.text_projection: width**-0.5,
    }
    for parameter, std in expected.items():
        assert parameter.std().item() == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("side", [16, 19], ids=["whole patches", "a rest"])
def test_patches_times_the_kernel_are_the_convolution(side):
    torch.manual_seed(0)
    kernel = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    images = torch.randn(2, 3, side, side, dtype=torch.float64).to(memory_format=torch.channels_last)
    convolved = torch.nn.functional.conv2d(images, kernel, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(cut_patches(images, 4) @ kernel.flatten(1).T, convolved)


def test_quick_gelu_is_its_formula():
    x = torch.linspace(-12, 12, 101, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(QuickGELU(), x)
