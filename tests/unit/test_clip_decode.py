"""Preprocessing: pixels, crops, normalisation."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.data.decode import (
    MEAN,
    STD,
    Preprocess,
    crop_square,
    decode_image,
    normalize_pixels,
    read_image,
    resize_short_side,
)
from clip_train.errors import InputError


def noise_image(width, height, mode="RGB"):
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "resized"), [((100, 50), (64, 32)), ((50, 101), (32, 64)), ((32, 90), (32, 90))], ids=str
)
def test_the_short_side_becomes_the_models_side(size, resized):
    assert resize_short_side(noise_image(*size), 32).size == resized


def test_preprocessing_is_bicubic_resize_central_crop_and_normalisation():
    image = noise_image(90, 61)
    resized = np.asarray(image.resize((90 * 32 // 61, 32), Image.Resampling.BICUBIC))
    left = round((resized.shape[1] - 32) / 2)
    expected = (resized[:, left : left + 32] / 255 - np.array(MEAN)) / np.array(STD)
    out = Preprocess(32)(image)
    assert out.shape == (3, 32, 32)
    np.testing.assert_allclose(out.permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_a_mean_pixel_becomes_zero():
    pixels = torch.tensor([round(255 * m) for m in MEAN], dtype=torch.uint8)[:, None, None]
    assert normalize_pixels(pixels).abs().max() < 0.01


def test_random_crops_are_windows_of_the_image_and_reach_both_ends():
    pixels = np.asarray(noise_image(20, 12))
    starts = set()
    for seed in range(100):
        crop = crop_square(pixels, 12, np.random.default_rng(seed))
        (start,) = [s for s in range(9) if np.array_equal(crop, pixels[:, s : s + 12])]
        starts.add(start)
    assert starts == set(range(9))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_every_format_and_mode_decodes_to_rgb(kind, mode):
    mode = "RGB" if kind != "PNG" and mode == "P" else mode
    assert decode_image(encoded(noise_image(9, 7, mode), kind)).mode == "RGB"


@pytest.mark.parametrize(
    "content", [b"", b"no image", encoded(noise_image(40, 40), "PNG")[:900]], ids=["empty", "text", "cut"]
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(InputError, match="not a readable image"):
        decode_image(content)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    for name in ("bad.jpg", "none.jpg"):
        with pytest.raises(InputError, match=name):
            read_image(str(tmp_path / name))
