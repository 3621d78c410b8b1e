"""Learning rate and weight decay."""

import pytest
import torch

from clip_train.config import TrainConfig
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS
from clip_train.training.optimizer import build_optimizer
from clip_train.training.schedule import learning_rate_at


def test_the_rate_rises_in_a_line_and_falls_along_half_a_cosine():
    rates = [learning_rate_at(step, peak=2.0, warmup_steps=10, total_steps=110) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.001
    assert sorted(rates[10:], reverse=True) == rates[10:]


def test_without_warm_up_the_first_rate_is_the_peak():
    assert learning_rate_at(0, peak=3.0, warmup_steps=0, total_steps=5) == 3.0


def test_gains_biases_positions_class_token_and_scale_are_not_decayed():
    model = Clip(PRESETS["tiny-32"].model)
    decayed, undecayed = build_optimizer(model, TrainConfig(weight_decay=0.2)).param_groups
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.2, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    spared = {names[id(parameter)] for parameter in undecayed["params"]}
    kinds = (".bias", "_bias", "positional_embedding", "class_embedding", "logit_scale")
    norms = {name for name in names.values() if name.split(".")[-2:][0].startswith("ln_")}
    assert spared == {name for name in names.values() if name.endswith(kinds)} | norms
    assert len(decayed["params"]) + len(undecayed["params"]) == len(names)


def test_the_optimiser_has_the_papers_betas_and_epsilon():
    model = torch.nn.Linear(2, 2)
    (group, _) = build_optimizer(model, TrainConfig()).param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.98), 1e-6)
