"""A batch whose towers see it part by part, for batches larger than a GPU's memory: the same gradients as all at once.

In: the images and texts of a batch. Out: its loss, and a function that computes the gradients. The towers compute the
features of each part without keeping anything; the loss of all features gives the gradient of each; and the towers
compute each part once more, with the random numbers it had, now for their gradients. That is a third more work. With
several ranks gradients are shared once a step. Batch statistics of a ResNet are those of a part.

Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parallel import DistributedDataParallel

from clip_train.data.decode import normalize_pixels
from clip_train.models.clip import Clip
from clip_train.models.packing import PackedTexts
from clip_train.training.distributed import Ranks
from clip_train.training.loss import contrastive_loss

Finish = Callable[[], None]


class Towers(nn.Module):
    """Both towers and the scale as one module, so that data parallelism wraps all that is trained."""

    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, ids: Tensor | PackedTexts) -> tuple[Tensor, Tensor, Tensor]:
        """Features of images ``[pairs, 3, side, side]`` uint8 and of their texts, and the scale."""
        image_features = self.model.encode_image(normalize_pixels(pixels))
        return image_features, self.model.encode_text(ids), self.model.logit_scale.exp()


def pack_batch(model: Clip, ids: Tensor, *, few_shapes: bool) -> Tensor | PackedTexts:
    """The token ids of a batch as the text tower takes them; with few shapes for one that is compiled for each."""
    if few_shapes:
        text = model.config.text
        ids = pad(ids, (0, text.context_length - ids.shape[1]), value=text.pad_id)
    return model.pack_texts(ids, few_shapes=few_shapes)


class PartedLoss:
    """The loss of batches that the towers see in parts.

    Args:
        model: What is trained.
        ranks: This process among those that share the batch.
        part_size: Pairs that the towers see at once.
        few_shapes: Whether texts are to have few lengths, for towers that are compiled for each.
        products: In what precision they compute, as a context.
    """

    def __init__(
        self,
        model: Clip,
        ranks: Ranks,
        *,
        part_size: int,
        few_shapes: bool,
        products: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._towers = Towers(model)
        self._shared = DistributedDataParallel(self._towers) if ranks.world_size > 1 else None
        self._ranks, self._part_size, self._few_shapes, self._products = ranks, part_size, few_shapes, products

    def __call__(self, pixels: Tensor, ids: Tensor, readable: Tensor | None = None) -> tuple[Tensor, Finish]:
        """The loss, to be called `backward` on, and then the function that gives the towers their gradients.

        Args:
            pixels: ``[pairs of this rank, 3, side, side]`` uint8, on the device.
            ids: ``[pairs of this rank, length]``.
            readable: As `contrastive_loss` has it.
        """
        texts_of_parts = [
            pack_batch(self._towers.model, part, few_shapes=self._few_shapes).to(pixels.device)
            for part in torch.split(ids, self._part_size)
        ]
        parts = list(zip(torch.split(pixels, self._part_size), texts_of_parts, strict=True))
        draws, statistics = [], [buffer.clone() for buffer in self._towers.buffers()]
        features = []
        with torch.no_grad():
            for part in parts:
                draws.append(_Draws.now(pixels.device))
                with self._products():
                    features.append(self._towers(*part))
            for buffer, before in zip(self._towers.buffers(), statistics, strict=True):
                buffer.copy_(before)  # the second time counts
        images, texts = (torch.cat([part[place] for part in features]).requires_grad_() for place in (0, 1))
        scale = features[0][2].clone().requires_grad_()
        loss = contrastive_loss(images, texts, scale, self._ranks, readable)

        def finish() -> None:
            assert images.grad is not None
            assert texts.grad is not None
            of_parts = (torch.split(gradient, self._part_size) for gradient in (images.grad, texts.grad))
            gradients = zip(*of_parts, strict=True)
            for place, (part, draw, of_features) in enumerate(zip(parts, draws, gradients, strict=True)):
                is_last = place == len(parts) - 1
                draw.restore(pixels.device)
                with nullcontext() if is_last or self._shared is None else self._shared.no_sync(), self._products():
                    found = (self._shared or self._towers)(*part)
                    of_scale = scale.grad if is_last else torch.zeros_like(scale)
                    torch.autograd.backward(found, [*of_features, of_scale])

        return loss, finish


class _Draws(NamedTuple):
    """The state of the random numbers that a part of a batch begins with."""

    of_cpu: Tensor
    of_device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "_Draws":
        of_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), of_device)

    def restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.of_cpu)
        if self.of_device is not None:
            torch.cuda.set_rng_state(self.of_device, device)
