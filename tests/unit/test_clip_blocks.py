"""Depths of parameters and what follows from them: frozen parts, rates by depth, recomputed blocks; dropped patches."""

import copy

import pytest
import torch
from torch import nn

from clip_train.config import CbowConfig, EfficientNetConfig, ModelConfig, ResNetConfig, TrainConfig
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.models.vision import drop_patches
from clip_train.presets import PRESETS
from clip_train.training.average import WeightAverage
from clip_train.training.blocks import freeze_parts, rate_factors, recompute_blocks, tower_depths
from clip_train.training.distributed import Ranks
from clip_train.training.loop import PairLoss, SaveTimes
from clip_train.training.optimizer import build_optimizer, set_learning_rate
from clip_train.training.run import prepare_model
from clip_train.training.schedule import schedule_of
from clip_train.training.signals import StopSignals

TINY = PRESETS["tiny-32"].model
RESNET = ResNetConfig(image_size=32, blocks=(1, 2, 1, 1), width=8, heads=4)
EFFICIENT = EfficientNetConfig(image_size=32, width_factor=0.25, depth_factor=0.3)


def make_model(image=TINY.image, text=TINY.text):
    torch.manual_seed(0)
    return Clip(ModelConfig(embed_dim=16, image=image, text=text))


def batch(side=32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, side, side, generator=generator)
    ids = torch.randint(1, 2_000, (4, 6), generator=generator).index_fill(1, torch.tensor([5]), 2_047)
    return images, ids


BLOCKS = {
    "vision transformer": (TINY.image, 2, {"conv1.weight": 0, "class_embedding": 0, "ln_pre.bias": 0, "proj": 3}),
    "resnet": (RESNET, 5, {"bn2.weight": 0, "layer2.1.conv1.weight": 3, "attnpool.positional_embedding": 6}),
    "efficientnet": (EFFICIENT, 7, {"stem.0.weight": 0, "head.0.weight": 8, "proj": 8}),
}


@pytest.mark.parametrize(("image", "blocks", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_every_parameter_of_a_tower_has_the_depth_of_its_place(image, blocks, expected):
    visual = make_model(image).visual
    depths = tower_depths(visual)
    assert len(depths.blocks) == blocks
    assert depths.of.keys() == dict(visual.named_parameters()).keys()
    assert {name: depths.of[name] for name in expected} == expected
    assert set(depths.of.values()) == set(range(blocks + 2))


def test_text_towers_have_depths_too():
    depths = tower_depths(make_model().text)
    assert depths.blocks == ["transformer.resblocks.0", "transformer.resblocks.1"]
    wanted = {"token_embedding.weight": 0, "positional_embedding": 0, "ln_final.weight": 3, "text_projection": 3}
    assert {name: depths.of[name] for name in wanted} == wanted
    bag = tower_depths(make_model(text=CbowConfig(width=8, vocab_size=3_000)).text)
    assert (bag.blocks, bag.of["token_embedding.weight"], bag.of["text_projection"]) == ([], 0, 1)


def test_towers_of_other_packages_have_depths_by_their_names():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict(
                {"embeddings": nn.Embedding(3, 2), "layer": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])}
            )
            self.text_projection = nn.Parameter(torch.ones(2, 2))

    assert tower_depths(Encoder()).of == {
        "text_projection": 3,
        "encoder.embeddings.weight": 0,
        **{f"encoder.layer.{block}.{kind}": block + 1 for block in (0, 1) for kind in ("weight", "bias")},
    }


FROZEN = {
    "an image tower": (["image"], lambda name: name.startswith("visual.")),
    "a text tower": (["text"], lambda name: name.startswith("text.")),
    "one block": (["image:1"], lambda name: is_low(name, "visual.")),
    "of both": (["image:1", "text:1"], lambda name: is_low(name, "visual.") or is_low(name, "text.")),
    "only what reads the input": (
        ["text:0"],
        lambda name: name in ("text.token_embedding.weight", "text.positional_embedding"),
    ),
}


def is_low(name, tower):
    parts = (
        "conv1.",
        "class_embedding",
        "positional_embedding",
        "ln_pre.",
        "token_embedding",
        "transformer.resblocks.0.",
    )
    return name.startswith(tower) and name.removeprefix(tower).startswith(parts)


@pytest.mark.parametrize(("parts", "is_frozen"), FROZEN.values(), ids=FROZEN)
def test_frozen_parts_keep_their_weights_and_all_others_are_trained(parts, is_frozen):
    model = make_model()
    freeze_parts(model, parts)
    optimizer = build_optimizer(model, TrainConfig(learning_rate=0.01))
    set_learning_rate(optimizer, 0.01)
    before = copy.deepcopy(model.state_dict())
    PairLoss(model, Ranks())(*batch()).backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if not is_frozen(name)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(changed)


def test_a_frozen_tower_keeps_its_batch_statistics():
    model = make_model(RESNET)
    freeze_parts(model, ["image:2"])
    before = copy.deepcopy(model.state_dict())
    PairLoss(model, Ranks())(*batch())
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and not any(name.startswith(("visual.bn", "visual.layer1", "visual.layer2.0")) for name in moved)
    assert any(name.startswith("visual.layer2.1") for name in moved)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["eyes"], "freeze 'eyes' is no part of a model"),
        (["image:all"], "freeze 'image:all' is no part"),
        (["image:3"], "freeze 'image:3': the tower has 2 blocks"),
        (["image", "text"], "freeze image text leaves no weights to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused_by_name(parts, message):
    with pytest.raises(InputError, match=message):
        freeze_parts(make_model(), parts)


def test_the_rate_of_a_block_is_a_share_of_that_of_the_block_above_it():
    model = make_model()
    optimizer = build_optimizer(model, TrainConfig(layer_decay=0.5, weight_decay=0.2))
    set_learning_rate(optimizer, 8.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert rates.keys() == set(names.values())
    assert rates["visual.proj"] == (8.0, 0.2)
    assert rates["logit_scale"] == (8.0, 0.0)
    assert rates["visual.transformer.resblocks.1.mlp.c_fc.weight"] == (4.0, 0.2)
    assert rates["text.transformer.resblocks.0.mlp.c_fc.bias"] == (2.0, 0.0)
    assert rates["visual.conv1.weight"] == (1.0, 0.2)
    assert rates["text.positional_embedding"] == (1.0, 0.0)
    assert set(rate_factors(model, 1.0).values()) == {1.0}


@pytest.mark.parametrize("image", [TINY.image, RESNET], ids=["vision transformer", "resnet"])
def test_recomputed_blocks_give_the_same_gradients_and_batch_statistics(image):
    plain, recomputed = make_model(image), make_model(image)
    recompute_blocks(recomputed)
    losses = []
    for model in (plain, recomputed):
        losses.append(PairLoss(model, Ranks())(*batch()))
        losses[-1].backward()
    assert torch.equal(*losses)
    for (name, one), other in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-8, msg=name)
    torch.testing.assert_close(recomputed.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_recomputed_blocks_keep_less():
    kept = []

    def count(tensor):
        kept[-1] += tensor.numel()
        return tensor

    for recompute in (False, True):
        model = make_model()
        if recompute:
            recompute_blocks(model)
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            PairLoss(model, Ranks())(*batch())
    assert kept[1] < 0.8 * kept[0]


def test_dropped_patches_are_others_for_each_image_and_those_left_are_unchanged():
    torch.manual_seed(0)
    patches = torch.arange(2 * 16, dtype=torch.float32).view(2, 16, 1)
    left = drop_patches(patches, 0.75)
    assert left.shape == (2, 4, 1)
    for row, of in zip(left.flatten(1).tolist(), patches.flatten(1).tolist(), strict=True):
        assert len(set(row)) == 4 and set(row) <= set(of)
    assert sorted(left[0].flatten().tolist()) != sorted((left[1] - 16).flatten().tolist())
    assert drop_patches(patches, 0.99).shape == (2, 1, 1)


def test_patches_are_dropped_in_training_alone():
    model = make_model()
    images, _ = batch()
    whole = model.eval().encode_image(images)
    prepare_model(model, TrainConfig(patch_dropout=0.5))
    torch.testing.assert_close(model.encode_image(images), whole, rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model.encode_image(images), whole)
    with pytest.raises(InputError, match=r"patch-dropout 0\.5: a resnet has no patches"):
        prepare_model(make_model(RESNET), TrainConfig(patch_dropout=0.5))


def test_towers_are_compiled_for_few_shapes_of_texts_and_give_the_same(monkeypatch):
    from torch._dynamo.testing import CompileCounter

    from clip_train.training.parts import pack_batch

    counter = CompileCounter()
    monkeypatch.setattr(nn.Module, "compile", partial_compile(counter))
    plain, compiled = make_model(), make_model()
    prepare_model(compiled, TrainConfig(compile=True))
    images, ids = batch()
    for last in (5, 4, 3, 2):
        ids[0, last] = 2_047
        found = PairLoss(compiled, Ranks())(images, pack_batch(compiled, ids[:, : last + 4], few_shapes=True))
        torch.testing.assert_close(found, PairLoss(plain, Ranks())(images, plain.pack_texts(ids)))
    assert counter.frame_count == 2
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def partial_compile(backend):
    compile_ = nn.Module.compile

    def compile_with_backend(self, **options):
        compile_(self, backend=backend, **options)

    return compile_with_backend


def test_the_average_follows_the_weights_and_goes_through_a_checkpoint():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.zeros_(model[0].weight)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for step, weight in enumerate((1.0, 2.0, 4.0, 8.0), start=1):
        nn.init.constant_(model[0].weight, weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    state = average.state_dict()
    assert state["0.weight"].item() == pytest.approx(expected)
    assert state.keys() == model.state_dict().keys() and model[0].weight.item() == 8.0
    resumed = WeightAverage(model, 0.5)
    resumed.load_state_dict(state)
    assert torch.equal(resumed.state_dict()["0.weight"], state["0.weight"])


@pytest.mark.parametrize("schedule", ["constant", "inverse-sqrt"])
@pytest.mark.parametrize("cooldown", [0, 10])
def test_other_schedules_warm_up_hold_or_fall_and_cool_down_in_a_line(schedule, cooldown):
    config = TrainConfig(schedule=schedule, learning_rate=2.0, warmup_steps=16, cooldown_steps=cooldown)
    rates = [schedule_of(config, 100)(step) for step in range(100)]
    assert rates[:16] == pytest.approx([2.0 * (step + 1) / 16 for step in range(16)])
    if schedule == "constant":
        assert set(rates[16 : 100 - cooldown]) == {2.0}
    else:
        assert rates[63] == pytest.approx(1.0)
        assert sorted(rates[15:], reverse=True) == rates[15:]
    longer = [schedule_of(config, 200)(step) for step in range(100 - cooldown)]
    assert longer == rates[: 100 - cooldown]
    if cooldown:
        assert rates[-1] == pytest.approx(rates[89] / 11, rel=0.1)


def test_minutes_are_counted_from_the_last_checkpoint_whatever_it_was_saved_for():
    now = [0.0]
    saves = SaveTimes(TrainConfig(save_every=10, save_minutes=1), clock=lambda: now[0])
    stop = StopSignals()
    due = []
    for step in range(1, 16):
        now[0] += 20
        due += [step] if saves.is_due(step, stop) else []
    assert due == [3, 6, 9, 10, 13]
