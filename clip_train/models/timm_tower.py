"""Image towers of the package timm by name, with a projection into the shared space.

In: images ``[batch, 3, side, side]``. Out: features ``[batch, embed_dim]``, not normalised.
timm imports torchvision, so it is an extra and imported only when such a tower is built. Weights are random.

Source: Wightman 2019, "PyTorch Image Models"; Radford et al. 2021, section 2.4 (the towers can be any model).
"""

from torch import Tensor, nn

from clip_train.config import TimmConfig, hint_at
from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.models.tower import ProjectedTower


class TimmTower(ProjectedTower):
    """A timm model without its classifier."""

    def __init__(self, config: TimmConfig, embed_dim: int) -> None:
        trunk = _build_trunk(config)
        width = getattr(trunk, "num_features", None)
        if not isinstance(width, int):
            raise InputError(f"timm's model {config.model!r} does not say how wide its features are")
        super().__init__(width, embed_dim)
        self.trunk = trunk

    def pooled(self, images: Tensor) -> Tensor:
        """What the trunk's own classifier would read, ``[batch, pooled_width]``."""
        features: Tensor = self.trunk(images)
        return features


def _build_trunk(config: TimmConfig) -> nn.Module:
    timm = import_extra("timm", extra="timm", needed_for=f"the image tower {config.model!r}")
    known = timm.list_models()
    if config.model not in known:
        raise InputError(f"timm has no model {config.model!r}{hint_at(config.model, known)}")
    try:  # models with positions must know the side; those without do not take it
        trunk: nn.Module = timm.create_model(config.model, num_classes=0, img_size=config.image_size)
    except TypeError:
        trunk = timm.create_model(config.model, num_classes=0)
    return trunk
