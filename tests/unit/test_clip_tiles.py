"""The loss by tiles is the loss over the whole matrix, gradients included."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clip_train.training.distributed import Ranks
from clip_train.training.loss import contrastive_loss
from clip_train.training.tiles import tiled_cross_entropy


def make(queries, keys, *, dim=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    features = [normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1) for rows in (queries, keys)]
    labels = torch.randperm(keys, generator=generator)[:queries]
    return [tensor.requires_grad_() for tensor in (*features, torch.tensor(37.0, dtype=dtype))], labels


def dense(queries, keys, scale, labels, shown=None):
    logits = scale * queries @ keys.T
    logits = logits if shown is None else logits.masked_fill(~shown, -torch.inf)
    return logits.logsumexp(dim=1) - scale * (queries * keys[labels]).sum(dim=1)


@pytest.mark.parametrize(("queries", "keys", "tile"), [(5, 11, 3), (8, 8, 4), (1, 4, 9), (12, 30, 30), (7, 29, 1)])
def test_tiles_give_the_loss_and_gradients_of_the_whole_matrix(queries, keys, tile):
    tensors, labels = make(queries, keys)
    weights = torch.linspace(-1, 2, queries, dtype=torch.float64)
    for shown in (None, (torch.arange(keys) % 3 > 0) | torch.isin(torch.arange(keys), labels)):
        found = tiled_cross_entropy(*tensors, labels, shown, tile=tile)
        wanted = dense(*tensors, labels, shown)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        if shown is None:
            torch.testing.assert_close(
                wanted, cross_entropy(tensors[2] * tensors[0] @ tensors[1].T, labels, reduction="none")
            )
        gradients = [torch.autograd.grad((loss * weights).sum(), tensors) for loss in (found, wanted)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_key_that_is_hidden_gets_no_gradient_and_one_tile_may_hide_all():
    tensors, labels = make(4, 12)
    labels = labels % 4
    shown = torch.arange(12) < 4
    loss = tiled_cross_entropy(*tensors, labels, shown, tile=4)
    gradients = torch.autograd.grad(loss.sum(), tensors)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[1][4:].any()
    torch.testing.assert_close(loss, dense(tensors[0], tensors[1][:4], tensors[2], labels))


@pytest.mark.parametrize("some", [None, 0.7, 0.0])
def test_the_contrastive_loss_of_a_large_batch_is_that_of_the_matrix(monkeypatch, some):
    generator = torch.Generator().manual_seed(3)
    images, texts = (torch.randn(20, 6, generator=generator, dtype=torch.float64).requires_grad_() for _ in "12")
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    readable = None if some is None else torch.rand(20, generator=generator) < some
    whole = contrastive_loss(images, texts, scale, Ranks(), readable)
    monkeypatch.setattr("clip_train.training.loss.TILE_ROWS", 6)
    tiled = contrastive_loss(images, texts, scale, Ranks(), readable)
    torch.testing.assert_close(tiled, whole)
    gradients = [torch.autograd.grad(loss, (images, texts, scale)) for loss in (tiled, whole)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
