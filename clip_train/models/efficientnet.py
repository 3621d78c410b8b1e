"""EfficientNet: normalised pixels to features in the shared space.

In: images ``[batch, 3, side, side]``. Out: features ``[batch, embed_dim]``, not normalised.
One network, B0, scaled in width and depth; the resolution is the configuration's. Without dropout and stochastic
depth, as CLIP trains its towers.

Source: Tan & Le 2019 (B0 in table 1, compound scaling), Sandler et al. 2018 (inverted bottlenecks), Hu et al. 2018
(squeeze-and-excitation); constants of batch norm and the rounding of channels from the authors' code.
"""

import math
from typing import NamedTuple

from torch import Tensor, nn

from clip_train.config import EfficientNetConfig
from clip_train.models.tower import ProjectedTower

_CHANNEL_MULTIPLE = 8
_SQUEEZE = 4  # squeezed channels: a quarter of what enters the block


class Stage(NamedTuple):
    """A row of the paper's table 1: blocks of one resolution."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STEM_CHANNELS, HEAD_CHANNELS = 32, 1_280
STAGES = (
    Stage(expansion=1, channels=16, blocks=1, stride=1, kernel=3),
    Stage(expansion=6, channels=24, blocks=2, stride=2, kernel=3),
    Stage(expansion=6, channels=40, blocks=2, stride=2, kernel=5),
    Stage(expansion=6, channels=80, blocks=3, stride=2, kernel=3),
    Stage(expansion=6, channels=112, blocks=3, stride=1, kernel=5),
    Stage(expansion=6, channels=192, blocks=4, stride=2, kernel=5),
    Stage(expansion=6, channels=320, blocks=1, stride=1, kernel=3),
)


def scale_channels(channels: int, factor: float) -> int:
    """Channels times a factor as a multiple of 8, never a tenth below what was asked for.

    >>> [scale_channels(channels, 1.1) for channels in (16, 24, 32, 1280)]
    [16, 24, 32, 1408]
    """
    wanted = channels * factor
    rounded = max(_CHANNEL_MULTIPLE, int(wanted + _CHANNEL_MULTIPLE / 2) // _CHANNEL_MULTIPLE * _CHANNEL_MULTIPLE)
    return rounded if rounded >= 0.9 * wanted else rounded + _CHANNEL_MULTIPLE


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """The gated map."""
        means = x.mean(dim=(2, 3), keepdim=True)
        gates: Tensor = self.expand(self.activation(self.reduce(means))).sigmoid()
        return x * gates


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel by itself, gate, narrow; added to its input where the shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, *, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = stage.expansion * channels_in
        widen = [_build_convolution(channels_in, inner, 1)] if stage.expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            _build_convolution(inner, inner, stage.kernel, stride=stride, groups=inner),
            SqueezeExcitation(inner, max(1, channels_in // _SQUEEZE)),
            _build_convolution(inner, channels_out, 1, active=False),
        )
        self.is_residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """The block on ``[batch, channels_in, height, width]``."""
        out: Tensor = self.layers(x)
        return x + out if self.is_residual else out


class EfficientNet(ProjectedTower):
    """An EfficientNet with its mean over the last map projected."""

    def __init__(self, config: EfficientNetConfig, embed_dim: int) -> None:
        channels = [
            scale_channels(count, config.width_factor)
            for count in (STEM_CHANNELS, *(stage.channels for stage in STAGES), HEAD_CHANNELS)
        ]
        super().__init__(channels[-1], embed_dim)
        self.stem = _build_convolution(3, channels[0], 3, stride=2)
        self.stages = nn.Sequential(
            *(
                _build_stage(*around, stage=stage, blocks=math.ceil(stage.blocks * config.depth_factor))
                for stage, *around in zip(STAGES, channels, channels[1:], strict=False)
            )
        )
        self.head = _build_convolution(channels[-2], channels[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pooled(self, images: Tensor) -> Tensor:
        """The mean over the last map, ``[batch, channels]``: what a linear probe reads."""
        last: Tensor = self.head(self.stages(self.stem(images)))
        return last.mean(dim=(2, 3))


def _build_stage(channels_in: int, channels_out: int, *, stage: Stage, blocks: int) -> nn.Sequential:
    first = InvertedBottleneck(channels_in, channels_out, stage=stage, stride=stage.stride)
    others = (InvertedBottleneck(channels_out, channels_out, stage=stage, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


def _build_convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([nn.SiLU()] if active else []))
