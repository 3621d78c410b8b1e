"""What every image tower offers, whatever is inside.

In: normalised images ``[batch, 3, side, side]``. Out: features ``[batch, embed_dim]``, not normalised, or what the
tower knows before they are mapped to the shared space.
"""

import abc

import torch
from torch import Tensor, nn


class ImageTower(nn.Module, abc.ABC):
    """An image tower.

    Attributes:
        pooled_width: Width of what `pooled` gives.
    """

    pooled_width: int

    @abc.abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features in the shared space."""

    @abc.abstractmethod
    def pooled(self, images: Tensor) -> Tensor:
        """What a linear probe reads, ``[batch, pooled_width]``."""


class ProjectedTower(ImageTower):
    """A tower whose pooled features a matrix maps to the shared space."""

    def __init__(self, pooled_width: int, embed_dim: int) -> None:
        super().__init__()
        self.pooled_width = pooled_width
        self.proj = nn.Parameter(pooled_width**-0.5 * torch.randn(pooled_width, embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Features in the shared space."""
        return self.pooled(images) @ self.proj
