"""Starting from weights: at another resolution, of another model, with shared batch statistics."""

import dataclasses

import pytest
import torch

from clip_train.config import TrainConfig
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS
from clip_train.training.checkpoint import save_model
from clip_train.training.initialization import resize_positions, start_weights, sync_batch_norm

TINY = PRESETS["tiny-32"].model
TINY_RESNET = PRESETS["tiny-rn-64"].model


def at_side(config, side):
    return dataclasses.replace(config, image=dataclasses.replace(config.image, image_size=side))


def test_positions_of_a_finer_grid_lie_between_those_of_the_coarse_one():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    positions = torch.cat([torch.full((1, 2), 9.0), torch.stack([rows, columns], dim=-1).reshape(16, 2)])
    finer = resize_positions(positions, 1 + 8 * 8)
    assert finer.shape == (65, 2)
    assert torch.equal(finer[0], positions[0])
    grid = finer[1:].reshape(8, 8, 2)
    inner = grid[2:6, 2:6]  # bicubic interpolation is exact on a plane, away from the borders
    expected = torch.arange(4.0) / 2 + 0.75
    torch.testing.assert_close(inner[..., 0], expected[:, None].expand(4, 4), rtol=0, atol=0.05)
    torch.testing.assert_close(inner[..., 1], expected.expand(4, 4), rtol=0, atol=0.05)
    assert resize_positions(positions, 17) is positions


@pytest.mark.parametrize(
    ("config", "side", "grid"),
    [(TINY, 48, "visual.positional_embedding"), (TINY_RESNET, 96, "visual.attnpool.positional_embedding")],
    ids=["vit", "resnet"],
)
def test_a_model_starts_from_one_of_a_lower_resolution(tmp_path, config, side, grid):
    torch.manual_seed(0)
    before = Clip(config)
    save_model(str(tmp_path / "m"), before)
    model = Clip(at_side(config, side))
    start_weights(model, TrainConfig(init=str(tmp_path / "m")))
    for name, tensor in before.state_dict().items():
        found = model.state_dict()[name]
        assert torch.equal(found, resize_positions(tensor, len(found)) if name == grid else tensor)
    assert model(torch.randn(2, 3, side, side), torch.tensor([[1, 9], [2, 9]]))[0].isfinite().all()


def test_another_model_is_refused_with_the_names_that_do_not_fit(tmp_path):
    save_model(str(tmp_path / "m"), Clip(TINY))
    with pytest.raises(InputError, match=r"weights do not fit the model \(lacks visual\.bn1\.weight"):
        start_weights(Clip(TINY_RESNET), TrainConfig(init=str(tmp_path / "m")))
    with pytest.raises(InputError, match="no checkpoint, and no run"):
        start_weights(Clip(TINY), TrainConfig(init=str(tmp_path / "missing")))
    with pytest.raises(InputError, match="only a text tower of kind hugging-face"):
        start_weights(Clip(TINY), TrainConfig(text_init=str(tmp_path)))


def test_batch_norms_are_shared_on_gpus_only():
    with torch.device("meta"):
        model = Clip(TINY_RESNET)
    with pytest.raises(InputError, match="sync-batch-norm needs GPUs"):
        sync_batch_norm(model, torch.device("cpu"))
    names = list(model.state_dict())
    shared = sync_batch_norm(model, torch.device("cuda"))
    kinds = {type(layer).__name__ for layer in shared.modules()}
    assert "SyncBatchNorm" in kinds
    assert "BatchNorm2d" not in kinds
    assert list(shared.state_dict()) == names
