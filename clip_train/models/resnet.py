"""CLIP's modified ResNet: normalised pixels to features in the shared space.

In: images ``[batch, 3, side, side]``. Out: features ``[batch, embed_dim]``, not normalised.
Three 3 x 3 convolutions make the stem; every stride is an average pooling behind (or, in the shortcut, before) a
convolution of stride 1, so that nothing is sampled without being smoothed; attention reads the last map with its
mean as the query. Parameter names are those of CLIP's published weights.

Source: He et al. 2016 (ResNet) and 2019 (ResNet-D); Zhang 2019 (anti-aliased strides); Radford et al. 2021, section
2.4; Goyal et al. 2017 (the last gain of a block starts at zero).
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from clip_train.config import ResNetConfig
from clip_train.models.tower import ImageTower

EXPANSION = 4  # a block's outputs are four times as many as its inner channels
STRIDE = 32  # of the last map


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions added to a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = EXPANSION * channels
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(self.bn3.weight)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            shortcut = [
                ("-1", nn.AvgPool2d(stride)),
                ("0", nn.Conv2d(channels_in, channels_out, 1, bias=False)),
                ("1", nn.BatchNorm2d(channels_out)),
            ]
            self.downsample = nn.Sequential(OrderedDict[str, nn.Module](shortcut))

    def forward(self, x: Tensor) -> Tensor:
        """The block on ``[batch, channels_in, height, width]``."""
        out = relu(self.bn1(self.conv1(x)))
        out = self.avgpool(relu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        return relu(out + self.downsample(x))


class AttentionPool(nn.Module):
    """Multi-head attention whose only query is the mean of the map."""

    def __init__(self, side: int, width: int, *, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) / width**0.5)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, embed_dim)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(projection.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, width, side, side]`` to ``[batch, embed_dim]``."""
        cells = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
        tokens = tokens + self.positional_embedding.to(tokens.dtype)
        mixed = scaled_dot_product_attention(
            self._split(self.q_proj(tokens[:, :1])), self._split(self.k_proj(tokens)), self._split(self.v_proj(tokens))
        )
        out: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(1))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class ModifiedResNet(ImageTower):
    """A ResNet with CLIP's stem, strides and pooling."""

    def __init__(self, config: ResNetConfig, embed_dim: int) -> None:
        super().__init__()
        self.pooled_width = embed_dim
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = _build_stage(width, width, config.blocks[0], stride=1)
        self.layer2 = _build_stage(width * 4, width * 2, config.blocks[1], stride=2)
        self.layer3 = _build_stage(width * 8, width * 4, config.blocks[2], stride=2)
        self.layer4 = _build_stage(width * 16, width * 8, config.blocks[3], stride=2)
        self.attnpool = AttentionPool(config.image_size // STRIDE, width * 32, heads=config.heads, embed_dim=embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Features in the shared space."""
        x = relu(self.bn1(self.conv1(images)))
        x = relu(self.bn2(self.conv2(x)))
        x = relu(self.bn3(self.conv3(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.avgpool(x)))))
        features: Tensor = self.attnpool(x)
        return features

    def pooled(self, images: Tensor) -> Tensor:
        """The features themselves: the pooling is what maps to the shared space."""
        return self(images)


def _build_stage(channels_in: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, channels, stride)
    return nn.Sequential(first, *(Bottleneck(EXPANSION * channels, channels, 1) for _ in range(blocks - 1)))
