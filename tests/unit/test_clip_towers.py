"""Towers other than the transformers: ResNets, EfficientNets, bags of words."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, relu

from clip_train.config import CbowConfig, EfficientNetConfig, ModelConfig, ResNetConfig
from clip_train.models.clip import Clip
from clip_train.models.efficientnet import EfficientNet, SqueezeExcitation
from clip_train.models.resnet import AttentionPool, Bottleneck, ModifiedResNet
from clip_train.models.text import BagOfWords, trim_padding
from clip_train.presets import PRESETS

SMALL = ResNetConfig(image_size=64, blocks=(1, 2, 1, 1), width=8, heads=4)


def shake_batch_norms(module):
    """Gives every batch norm gains, offsets and statistics that make a difference."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)


def batch_norm(x, layer):
    """What a batch norm does when it is not training, written out."""
    mean, variance, gain, offset = (
        tensor[:, None, None] for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / (variance + 1e-5).sqrt() * gain + offset


@pytest.mark.parametrize(("channels_in", "stride"), [(16, 1), (32, 1), (16, 2)], ids=["wider", "same", "strided"])
def test_a_bottleneck_smooths_before_it_samples_in_both_branches(channels_in, stride):
    torch.manual_seed(0)
    block = Bottleneck(channels_in, 8, stride).double().eval()
    shake_batch_norms(block)
    x = torch.randn(2, channels_in, 8, 8, dtype=torch.float64)
    out = relu(batch_norm(conv2d(x, block.conv1.weight), block.bn1))
    out = relu(batch_norm(conv2d(out, block.conv2.weight, padding=1), block.bn2))
    out = batch_norm(conv2d(avg_pool2d(out, stride), block.conv3.weight), block.bn3)
    shortcut = x
    if stride > 1 or channels_in != 32:
        shortcut = batch_norm(conv2d(avg_pool2d(x, stride), block.downsample[1].weight), block.downsample[2])
    torch.testing.assert_close(block(x), relu(out + shortcut))


def test_attention_pooling_equals_torchs_own_attention_with_the_mean_as_query():
    torch.manual_seed(0)
    pool = AttentionPool(3, 16, heads=4, embed_dim=6).double()
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64)
    tokens = torch.cat([x.mean(dim=(2, 3))[None], x.flatten(2).permute(2, 0, 1)]) + pool.positional_embedding[:, None]
    expected, _ = nn.functional.multi_head_attention_forward(
        *(tokens[:1], tokens, tokens, 16, 4, None),
        torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        *(None, None, False, 0.0),
        *(pool.c_proj.weight, pool.c_proj.bias),
        use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
    )
    torch.testing.assert_close(pool(x), expected[0])


def test_a_resnet_begins_with_three_convolutions_and_samples_32_times():
    tower = ModifiedResNet(SMALL, embed_dim=12).eval()
    maps = []
    tower.attnpool.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].shape))
    images = torch.randn(2, 3, 64, 64)
    assert tower(images).shape == (2, 12)
    assert maps == [(2, 8 * 32, 2, 2)]
    assert [tower.conv1.stride, tower.conv2.stride, tower.conv3.stride] == [(2, 2), (1, 1), (1, 1)]
    assert not any(layer.stride != (1, 1) for layer in tower.layer2.modules() if isinstance(layer, nn.Conv2d))
    torch.testing.assert_close(tower.pooled(images), tower(images))


def test_resnet_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    tower = ModifiedResNet(ResNetConfig(image_size=64, blocks=(1, 1, 1, 1), width=16, heads=8), embed_dim=128)
    width = 16 * 32
    pool = tower.attnpool
    for projection in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj):
        assert projection.weight.std().item() == pytest.approx(width**-0.5, rel=0.05)
    assert pool.positional_embedding.std().item() == pytest.approx(width**-0.5, rel=0.05)
    blocks = [layer for layer in tower.modules() if isinstance(layer, Bottleneck)]
    assert len(blocks) == 4
    for block in blocks:
        assert not block.bn3.weight.any()
        assert (block.bn1.weight == 1).all()


@pytest.mark.parametrize(
    ("name", "millions"),
    [("B0", 4.007548), ("B1", 6.513184), ("B2", 7.700994), ("B3", 10.696232), ("B4", 17.548616), ("B7", 63.786960)],
)
def test_efficientnets_have_the_published_number_of_parameters(name, millions):
    """The published numbers less those of the classifier of 1,000 classes."""
    with torch.device("meta"):
        tower = EfficientNet(PRESETS[f"EfficientNet-{name}"].model.image, 512)
    assert sum(p.numel() for p in tower.parameters()) - tower.proj.numel() == round(millions * 1e6)


def test_an_efficientnet_samples_32_times_and_projects_its_mean():
    torch.manual_seed(0)
    tower = EfficientNet(EfficientNetConfig(image_size=64, width_factor=0.25, depth_factor=0.3), embed_dim=12).eval()
    images = torch.randn(2, 3, 64, 64)
    last = tower.head(tower.stages(tower.stem(images)))
    assert last.shape == (2, tower.pooled_width, 2, 2)
    torch.testing.assert_close(tower(images), last.mean(dim=(2, 3)) @ tower.proj)


def test_squeeze_and_excitation_scales_each_channel_by_one_number():
    torch.manual_seed(0)
    layer = SqueezeExcitation(6, 2)
    x = torch.randn(2, 6, 4, 4)
    gates = layer(x) / x
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    assert ((gates > 0) & (gates < 1)).all()
    assert gates.std(dim=1).min() > 0


def cbow(**options):
    return BagOfWords(CbowConfig(**{"context_length": 8, "vocab_size": 20, "width": 6} | options), 5).double()


def test_a_bag_of_words_is_the_projected_normalised_mean_of_the_words_between_start_and_end():
    torch.manual_seed(0)
    tower = cbow()
    ids = torch.tensor([[18, 3, 5, 3, 19, 0, 0, 0], [18, 0, 19, 0, 0, 0, 0, 0], [18, 19, 0, 0, 0, 0, 0, 0]])
    weights = tower.token_embedding.weight
    means = torch.stack([(2 * weights[3] + weights[5]) / 3, weights[0], torch.zeros_like(weights[0])])
    torch.testing.assert_close(tower(ids), tower.ln_final(means) @ tower.text_projection)


def test_order_and_padding_do_not_matter_to_a_bag_of_words():
    torch.manual_seed(0)
    tower = cbow()
    ids = torch.tensor([[18, 3, 5, 7, 19, 0, 0, 0]])
    mixed = torch.tensor([[18, 7, 3, 5, 19, 0, 0, 0]])
    torch.testing.assert_close(tower(ids), tower(mixed))
    assert trim_padding(ids).shape == (1, 5)
    torch.testing.assert_close(tower(trim_padding(ids)), tower(ids))


def test_bags_of_words_start_as_text_transformers_do():
    torch.manual_seed(0)
    tower = cbow(width=256, vocab_size=2_000)
    assert tower.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert tower.text_projection.std().item() == pytest.approx(1 / 16, rel=0.1)


@pytest.mark.parametrize(
    "image",
    [SMALL, EfficientNetConfig(image_size=64, width_factor=0.25, depth_factor=0.3)],
    ids=["resnet", "efficientnet"],
)
def test_every_parameter_of_the_towers_gets_a_gradient(image):
    torch.manual_seed(0)
    model = Clip(ModelConfig(embed_dim=16, image=image, text=CbowConfig(context_length=8, vocab_size=20, width=16)))
    shake_batch_norms(model)
    logits, _ = model(torch.randn(4, 3, 64, 64), torch.randint(1, 19, (4, 8)).index_fill(1, torch.tensor([7]), 19))
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not [name for name, p in model.named_parameters() if not p.grad.any() and not name.endswith("k_proj.bias")]


def test_features_stay_close_in_bfloat16():
    torch.manual_seed(0)
    tower = ModifiedResNet(SMALL, embed_dim=64).eval()
    shake_batch_norms(tower)
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        wide = tower(images)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = tower(images)
    cosines = nn.functional.cosine_similarity(wide, narrow.float())
    assert math.isfinite(cosines.sum())
    assert cosines.min() > 0.99
