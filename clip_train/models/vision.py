"""The vision transformer: normalised pixels to features in the shared space.

In: images ``[batch, 3, side, side]``. Out: features ``[batch, embed_dim]``, not normalised.

Source: Dosovitskiy et al. 2020 (ViT); Radford et al. 2021, section 2.4 (LayerNorm before the blocks, initialisation).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from clip_train.config import VisionTransformerConfig
from clip_train.models.attention import Transformer
from clip_train.models.tower import ProjectedTower


class VisionTransformer(ProjectedTower):
    """A vision transformer read at its class token.

    Attributes:
        patch_dropout: Share of the patches of each image that are left out, by chance, in training.
    """

    def __init__(self, config: VisionTransformerConfig, embed_dim: int) -> None:
        width, patch = config.width, config.patch_size
        super().__init__(width, embed_dim)
        self._patch = patch
        num_patches = (config.image_size // patch) ** 2
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(num_patches + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads, config.activation)
        self.ln_post = nn.LayerNorm(width)
        self.patch_dropout = 0.0

    def pooled(self, images: Tensor) -> Tensor:
        """The class token before the projection, ``[batch, width]``: what a linear probe reads."""
        patches = linear(cut_patches(images, self._patch), self.conv1.weight.flatten(1))
        positions = self.positional_embedding.to(patches.dtype)
        patches = patches + positions[1:]
        if self.training and self.patch_dropout:
            patches = drop_patches(patches, self.patch_dropout)
        class_token = (self.class_embedding.to(patches.dtype) + positions[0]).expand(patches.shape[0], 1, -1)
        x = torch.cat([class_token, patches], dim=1)
        first = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
        return self.ln_post(self.transformer.read(self.ln_pre(x), first))


def drop_patches(patches: Tensor, share: float) -> Tensor:
    """Leaves out a share of each image's patches, others for each: ``[batch, patches, width]`` to fewer, at least one.

    Source: Li et al. 2022, "FLIP", section 3.
    """
    batch, count, width = patches.shape
    kept = max(1, round(count * (1 - share)))
    chosen = torch.rand(batch, count, device=patches.device).argsort(dim=1)[:, :kept]
    return patches.gather(1, chosen[:, :, None].expand(-1, -1, width))


def cut_patches(images: Tensor, patch: int) -> Tensor:
    """The pixels of each patch side by side, row by row of patches, for a convolution that is a matrix product.

    Args:
        images: ``[batch, 3, side, side]``.
        patch: Side of a patch; what is left over at the right and the bottom is not seen.

    Returns:
        ``[batch, patches, 3 * patch * patch]``.
    """
    rows, columns = (length // patch for length in images.shape[2:])
    whole = images[:, :, : rows * patch, : columns * patch]
    cells = whole.reshape(len(images), 3, rows, patch, columns, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(len(images), rows * columns, 3 * patch * patch)
