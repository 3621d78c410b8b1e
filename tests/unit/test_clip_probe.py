"""The linear probe: its optimum, its search."""

import math

import pytest
import torch

from clip_train.errors import InputError
from clip_train.evaluate.linear_probe import fit_probe, search_grid, search_l2
from clip_train.evaluate.metrics import class_accuracies


@pytest.fixture(scope="module")
def clouds():
    """300 points around 6 centres in 16 dimensions, and which centre each is of."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 6
    centres = torch.randn(6, 16, generator=generator)
    return torch.randn(300, 16, generator=generator) + 0.8 * centres[labels], labels


@pytest.mark.parametrize("c", [0.01, 0.316, 10.0])
def test_the_probe_is_scikit_learns(clouds, c):
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clouds
    theirs = linear_model.LogisticRegression(C=c, max_iter=10_000, tol=1e-9).fit(
        features.double().numpy(), labels.numpy()
    )
    ours = fit_probe(features, labels, num_classes=6, l2=1 / c)
    torch.testing.assert_close(ours.weight, torch.tensor(theirs.coef_), atol=1e-3, rtol=1e-3)
    # a constant added to every bias changes nothing: compare the scores' differences
    scores, expected = ours.scores(features), torch.tensor(theirs.decision_function(features.double().numpy()))
    centred = scores - scores.mean(dim=1, keepdim=True)
    torch.testing.assert_close(centred, expected - expected.mean(dim=1, keepdim=True), atol=1e-3, rtol=1e-3)


def test_the_gradient_of_the_penalised_loss_is_zero_at_the_probe(clouds):
    features, labels = clouds
    l2 = 3.0
    weight, bias = (part.requires_grad_() for part in fit_probe(features, labels, num_classes=6, l2=l2))
    scores = features.double() @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(scores, labels, reduction="sum") + l2 / 2 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, [weight, bias]):
        assert gradient.abs().max() < 1e-3


def test_a_class_without_training_images_is_never_chosen(clouds):
    features, labels = clouds
    probe = fit_probe(features, labels, num_classes=8, l2=1.0)
    assert probe.scores(features).argmax(dim=1).max() < 6


@pytest.mark.parametrize("peak", [-6.0, -2.125, 0.0, 1.5, 3.875, 6.0])
def test_the_search_walks_to_the_peak_of_the_grid(peak):
    tried = []

    def accuracy(l2):
        tried.append(l2)
        return -abs(math.log10(l2) - peak)

    found = search_grid(accuracy)
    assert math.log10(found.l2) == pytest.approx(peak, abs=1e-9)
    assert len(tried) == len(set(tried)) <= 7 + 2 * 4
    assert set(found.accuracies) == set(tried)


def test_of_equals_the_strength_nearest_to_one_is_taken():
    assert search_grid(lambda l2: 0.5).l2 == 1
    assert search_grid(lambda l2: float(l2 > 50)).l2 == pytest.approx(100, rel=0.8)


def test_a_searched_probe_classifies_new_points(clouds):
    features, labels = clouds
    found = search_l2(features[:200], labels[:200], num_classes=6)
    probe = fit_probe(features[:200], labels[:200], num_classes=6, l2=found.l2)
    assert class_accuracies(probe.scores(features[200:]), labels[200:]).top1 > 0.8
    assert search_l2(features[:200], labels[:200], num_classes=6) == found


def test_a_class_of_one_image_leaves_none_to_hold_out():
    with pytest.raises(InputError, match="class number 1 has 1 training image"):
        search_l2(torch.randn(3, 4), torch.tensor([0, 0, 1]), num_classes=2)
