"""Text-driven editing: the gradient of the cosine of image and text, taken down to the pixels.

In: a model, an image, a text. Out: an image of the same size that fits the text better, no pixel of it further from
the original than a limit. No generator keeps the result looking natural; it shows what the model answers to.

Source: Patashnik et al. 2021, "StyleCLIP", section 4 (the cosine as a loss for one image; there the latent of a
generator is changed, here pixels are); Frans et al. 2021, "CLIPDraw" (random crops against changes that only one crop
answers to).
"""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from clip_train.data.decode import normalize_pixels
from clip_train.models.clip import Clip
from clip_train.use.features import encode_images, encode_texts

_MIN_CROP_SHARE = 0.7  # of the shorter side


class EditOptions(NamedTuple):
    """How an image is changed."""

    steps: int = 100
    learning_rate: float = 0.02  # of Adam; pixels go from 0 to 1
    max_change: float = 0.25  # of any pixel
    crops: int = 8  # random ones, in each step
    seed: int = 0


class Edited(NamedTuple):
    """A changed image."""

    image: Image.Image
    cosine_before: float  # with the text, as the model sees the whole image
    cosine_after: float


def edit_image(model: Clip, image: Image.Image, text: str, options: EditOptions | None = None) -> Edited:
    """Changes an image so that it fits a text better.

    Raises:
        InputError: When the text is too long.
    """
    options = options or EditOptions()
    original = image.convert("RGB")
    goal = encode_texts(model, [text])[0].clone()  # [dim]; a clone takes part in gradients
    pixels = torch.from_numpy(np.array(original)).to(model.device).permute(2, 0, 1) / 255  # [3, height, width], 0 to 1
    change = torch.zeros_like(pixels, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=options.learning_rate)
    rng = np.random.default_rng(options.seed)
    for _ in range(options.steps):
        views = crop_views(pixels + change, side=model.config.image.image_size, count=options.crops, rng=rng)
        features = normalize(model.encode_image(normalize_pixels(views * 255)).float(), dim=-1)
        (change.grad,) = torch.autograd.grad(-(features @ goal).mean(), [change])
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-options.max_change, options.max_change)
            change.copy_((pixels + change).clamp(0, 1) - pixels)
    rounded = ((pixels + change.detach()) * 255).round().to(torch.uint8)
    edited = Image.fromarray(rounded.permute(1, 2, 0).cpu().numpy())
    before, after = (encode_images(model, [original, edited]) @ goal).tolist()
    return Edited(edited, before, after)


def crop_views(pixels: Tensor, *, side: int, count: int, rng: np.random.Generator) -> Tensor:
    """Random squares of an image as a model would see them, differentiable, ``[count, 3, side, side]``.

    Args:
        pixels: ``[3, height, width]``.
        side: Pixels of a side of the views.
        count: How many.
        rng: Places and sizes.
    """
    height, width = pixels.shape[1:]
    views = []
    for share in rng.uniform(_MIN_CROP_SHARE, 1, count):
        length = max(1, round(float(share) * min(height, width)))
        top, left = (int(rng.integers(extent - length + 1)) for extent in (height, width))
        crop = pixels[None, :, top : top + length, left : left + length]
        views.append(interpolate(crop, size=(side, side), mode="bicubic", antialias=True, align_corners=False))
    return torch.cat(views)
