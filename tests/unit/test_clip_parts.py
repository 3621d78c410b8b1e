"""A batch whose towers see it in parts has the loss and gradients of the whole, what is drawn by chance included."""

from contextlib import nullcontext

import pytest
import torch

from clip_train.config import ModelConfig, TextTransformerConfig, VisionTransformerConfig
from clip_train.data.decode import normalize_pixels
from clip_train.models.clip import Clip
from clip_train.training.distributed import Ranks
from clip_train.training.loop import PairLoss
from clip_train.training.parts import PartedLoss

PAIRS = 10


@pytest.fixture
def model():
    torch.manual_seed(1)
    image = VisionTransformerConfig(image_size=16, patch_size=4, width=16, layers=2, heads=2)
    text = TextTransformerConfig(context_length=9, vocab_size=40, width=16, layers=2, heads=2)
    return Clip(ModelConfig(embed_dim=12, image=image, text=text)).double().train()


def batch():
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (PAIRS, 3, 16, 16), generator=generator, dtype=torch.uint8)
    ids = torch.zeros(PAIRS, 9, dtype=torch.int32)
    for row in range(PAIRS):
        ids[row, : 3 + row % 5] = torch.randint(1, 38, (3 + row % 5,), generator=generator)
        ids[row, 3 + row % 5] = 39  # the end
    return pixels, ids


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("part_size", [1, 3, 5, 10])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("few_readable", [False, True])
def test_parts_have_the_loss_and_the_gradients_of_the_whole(monkeypatch, model, part_size, dropout, few_readable):
    monkeypatch.setattr("clip_train.training.parts.normalize_pixels", lambda pixels: normalize_pixels(pixels).double())
    model.visual.patch_dropout = dropout
    pixels, ids = batch()
    readable = torch.arange(PAIRS) % 4 > 0 if few_readable else None
    torch.manual_seed(3)
    whole = PairLoss(model, Ranks())(normalize_pixels(pixels).double(), model.pack_texts(ids), readable)
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    torch.manual_seed(3)
    parted = PartedLoss(model, Ranks(), part_size=part_size, few_shapes=False, products=nullcontext)
    loss, finish = parted(pixels, ids, readable)
    loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    finish()
    torch.testing.assert_close(loss, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(model), expected, rtol=1e-9, atol=1e-12)


def test_no_part_keeps_what_it_computed_until_its_turn(model, monkeypatch):
    monkeypatch.setattr("clip_train.training.parts.normalize_pixels", lambda pixels: normalize_pixels(pixels).double())
    seen = []
    model.visual.register_forward_hook(lambda module, given, found: seen.append((len(found), found.requires_grad)))
    loss, finish = PartedLoss(model, Ranks(), part_size=4, few_shapes=False, products=nullcontext)(*batch())
    assert seen == [(4, False), (4, False), (2, False)]
    loss.backward()
    finish()
    assert seen[3:] == [(4, True), (4, True), (2, True)]
