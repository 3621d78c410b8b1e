"""The contrastive loss beside the pseudo-code of the paper's figure 3."""

import numpy as np
import pytest
import torch

from clip_train.models.clip import Clip
from clip_train.presets import PRESETS
from clip_train.training.distributed import Ranks
from clip_train.training.loop import PairLoss
from clip_train.training.loss import contrastive_loss


def figure_3_loss(image_features, text_features, t):
    """Follows the paper line by line, in NumPy and float64."""
    i_e = image_features / np.linalg.norm(image_features, axis=1, keepdims=True)
    t_e = text_features / np.linalg.norm(text_features, axis=1, keepdims=True)
    logits = np.dot(i_e, t_e.T) * np.exp(t)
    labels = np.arange(len(logits))

    def cross_entropy(rows):
        shifted = rows - rows.max(axis=1, keepdims=True)
        return -(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[labels, labels].mean()

    return (cross_entropy(logits.T) + cross_entropy(logits)) / 2


@pytest.mark.parametrize("t", [0.0, 2.6593, 4.6052], ids=["scale 1", "scale 14", "scale 100"])
def test_loss_equals_the_papers_pseudo_code(t):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 12, 7))
    loss = contrastive_loss(
        torch.tensor(images), torch.tensor(texts), torch.tensor(t, dtype=torch.float64).exp(), Ranks()
    )
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(figure_3_loss(images, texts, t), abs=1e-12)


def test_a_model_follows_the_pseudo_code_from_the_towers_to_the_loss():
    """I_f and T_f are the towers' outputs, W_i and W_t the projections, t the learned logarithm."""
    torch.manual_seed(0)
    model = Clip(PRESETS["tiny-32"].model).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    ids = torch.randint(1, 2_000, (4, 6)).index_fill(1, torch.tensor([5]), 2_047)
    projection = model.text.text_projection.detach().clone()
    with torch.no_grad():
        i_f, w_i, t = model.visual.pooled(images).numpy(), model.visual.proj.numpy(), model.logit_scale.item()
        model.text.text_projection.copy_(torch.eye(len(projection)))
        t_f, w_t = model.encode_text(ids).numpy(), projection.numpy()
        model.text.text_projection.copy_(projection)
        loss = PairLoss(model, Ranks())(images, ids)
    assert loss.item() == pytest.approx(figure_3_loss(i_f @ w_i, t_f @ w_t, t), abs=1e-12)


def test_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    images, texts = torch.randn(2, 5, 4, dtype=torch.float64).requires_grad_().unbind()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: contrastive_loss(*inputs, Ranks()), (images, texts, scale))


def test_logits_and_loss_stay_in_float32_under_autocast():
    torch.manual_seed(0)
    images, texts = torch.randn(2, 16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(images.bfloat16(), texts.bfloat16(), torch.tensor(100.0), Ranks())
    wide = contrastive_loss(images.bfloat16().float(), texts.bfloat16().float(), torch.tensor(100.0), Ranks())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wide.item(), rel=1e-6)


def test_loss_of_a_collapsed_model_is_the_logarithm_of_the_batch_size():
    same = torch.ones(8, 4)
    assert contrastive_loss(same, same, torch.tensor(14.0), Ranks()).item() == pytest.approx(np.log(8))


def test_pairs_that_take_no_part_are_as_if_they_were_not_there():
    torch.manual_seed(0)
    pairs = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    readable = torch.tensor([True, False, True, True, False, True, True])
    scale = torch.tensor(5.0, dtype=torch.float64)
    masked = contrastive_loss(*pairs, scale, Ranks(), readable)
    without = contrastive_loss(*pairs[:, readable], scale, Ranks())
    torch.testing.assert_close(masked, without)
    (gradient,), (expected,) = (torch.autograd.grad(loss, pairs) for loss in (masked, without))
    torch.testing.assert_close(gradient, expected)
    assert not gradient[:, ~readable].any()


def test_a_batch_of_which_nothing_could_be_read_has_no_loss_and_no_gradient():
    pairs = torch.randn(2, 3, 4, requires_grad=True)
    loss = contrastive_loss(*pairs, torch.tensor(5.0), Ranks(), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not pairs.grad.any()
