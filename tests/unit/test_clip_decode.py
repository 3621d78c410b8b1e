"""Preprocessing: pixels, crops, normalisation."""

import io
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.data import decode
from clip_train.data.decode import (
    MEAN,
    STD,
    Preprocess,
    crop_square,
    cut_and_resize,
    decode_image,
    decode_pixels,
    normalize_pixels,
    read_image,
    resize_pixels,
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


@pytest.fixture(params=["simplejpeg", "Pillow"])
def decoder(request, monkeypatch):
    """Both ways to decode a JPEG."""
    if request.param == "Pillow":
        monkeypatch.setattr(decode, "find_module", lambda name: None)
    return request.param


def photograph(width, height, mode="RGB"):
    """Smooth shades with some noise, as a camera sees them."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(256, size=(5, 7, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + rng.integers(-9, 9, smooth.shape)).clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(60, 41), (301, 200), (130, 257)], ids=str)
def test_both_decoders_give_the_same_bits_reduced_or_not(mode, size, monkeypatch):
    content = encoded(photograph(*size, mode), "JPEG")
    turbo = [decode_pixels(content, side) for side in (32, 8)]
    monkeypatch.setattr(decode, "find_module", lambda name: None)
    for one, other in zip(turbo, (decode_pixels(content, side) for side in (32, 8)), strict=True):
        assert one.shape == other.shape
        if mode != "CMYK" and one.shape[:2] == size[::-1]:
            assert np.array_equal(one, other)
        assert np.abs(one.astype(int) - other).max() <= 1


def test_a_large_jpeg_comes_reduced_and_means_the_same(decoder):
    image = photograph(900, 700)
    pixels = decode_pixels(encoded(image, "JPEG"), 32)
    assert pixels.shape == (88, 113, 3)
    whole = np.asarray(resize_short_side(image, 32), dtype=int)
    assert np.abs(resize_pixels(pixels, 32) - whole).mean() < 2


@pytest.mark.parametrize("size", [(90, 61), (40, 64), (31, 31), (20, 12), (32, 50)], ids=str)
def test_training_sees_what_pillow_makes_within_two_levels(size):
    image = photograph(*size)
    ours = resize_pixels(decode_pixels(encoded(image, "PNG"), 32), 32)
    theirs = np.asarray(resize_short_side(image, 32), dtype=int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 100_000), (130, 32)], ids=str)
def test_of_a_long_image_no_more_is_resized_than_the_square(size, decoder, tmp_path):
    content = encoded(Image.new("RGB", size, (200, 10, 30)), "PNG")
    tracemalloc.start()
    pixels = cut_and_resize(decode_pixels(content, 224), 224, np.random.default_rng(0))
    tensor = Preprocess(224).pixels(decode_image(content))
    (_, peak), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()
    assert pixels.shape == (224, 224, 3)
    assert tensor.shape == (3, 224, 224)
    assert (pixels == (200, 10, 30)).all() and (tensor.permute(1, 2, 0).numpy() == (200, 10, 30)).all()
    assert peak < 10 * 2**20


def test_a_random_square_of_a_long_image_reaches_both_ends_and_the_central_one_is_the_middle():
    pixels = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 10, axis=0).repeat(3, axis=2)
    starts = [cut_and_resize(pixels, 10, np.random.default_rng(seed))[0, 0, 0] for seed in range(600)]
    assert (min(starts), max(starts)) == (0, 90)
    assert cut_and_resize(pixels, 10)[0, 0, 0] == 45


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_more_pixels_than_allowed_are_refused_by_the_header(kind, monkeypatch, decoder):
    content = encoded(Image.new("L", (101, 100)), kind)
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    for read in (decode_image, lambda content: decode_pixels(content, 32)):
        with pytest.raises(InputError, match="101 x 100 pixels, at most 10,000"):
            read(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_damaged_image_is_refused_or_decoded_and_never_more(kind, decoder):
    content = encoded(photograph(40, 30), kind)
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(content[: rng.integers(1, len(content) + 1)])
        for place in rng.integers(len(broken), size=3):
            broken[place] = rng.integers(256)
        try:
            assert decode_pixels(bytes(broken), 32).shape[2] == 3
        except InputError as error:
            assert "not a readable image" in str(error)
