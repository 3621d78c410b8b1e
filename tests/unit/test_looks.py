"""The descriptor of what a picture looks like: stable, the same for copies, another for other pictures."""

import functools
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy.fft import dctn

from pipeline.base.schemas import LOOKS
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.pixels.looks import LOOKS_BYTES, STEPS, describe_looks, looks_array, mirror_looks
from pipeline.sharding.selection.alike import are_alike, values_of


@functools.cache
def photograph(seed, width=300, height=200):
    """Something with the spectrum of a photograph, in colours."""
    rng = np.random.default_rng(seed)
    down, across = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    falling = 1 / np.maximum(np.hypot(down, across), 1 / max(width, height))
    noise = rng.normal(size=(3, *falling.shape)) + 1j * rng.normal(size=(3, *falling.shape))
    planes = np.fft.irfft2(noise * falling, (height, width))
    planes = planes / planes.std(axis=(1, 2), keepdims=True) * np.array([45, 10, 10])[:, None, None]
    gray, blue, red = planes + np.array([120, 0, 0])[:, None, None]
    colours = np.stack([gray + red, gray - 0.2 * blue - 0.5 * red, gray + blue], axis=-1)
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def looks_of(source, **rules):
    return looks_array(pa.array([normalize_image(source, ImageRules(**rules)).looks], LOOKS))


def reduced(picture, by):
    return picture.resize((picture.width // by, picture.height // by), Image.Resampling.LANCZOS)


COPIES = {
    "q30": lambda picture: encode(picture, quality=30),
    "q95": lambda picture: encode(picture, quality=95),
    "webp": lambda picture: encode(picture, "WEBP", quality=50),
    "png": lambda picture: encode(picture, "PNG"),
    "half": lambda picture: encode(reduced(picture, 2), quality=80),
    "third": lambda picture: encode(reduced(picture, 3), quality=80),
    "progressive": lambda picture: encode(picture, quality=60, progressive=True),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("size", [(300, 200), (600, 450), (100, 140)], ids=str)
def test_copies_are_alike_and_other_pictures_are_not(kind, size):
    for seed in range(2):
        picture, other = photograph(seed, *size), photograph(seed + 100, *size)
        ones = values_of(looks_of(encode(picture, quality=90)))
        copies = values_of(looks_of(COPIES[kind](picture)))
        assert are_alike(ones, copies, distance=0.055).all()
        assert not are_alike(values_of(looks_of(encode(other))), copies, distance=0.3).any()


def test_a_picture_that_is_only_verified_is_alike_to_what_it_would_have_become():
    source = encode(photograph(5, 700, 500), quality=80)
    assert are_alike(values_of(looks_of(source)), values_of(looks_of(source, reencode="never")), distance=0.0).all()


@pytest.mark.parametrize("size", [(300, 200), (37, 81), (256, 256), (33, 500)], ids=str)
def test_of_a_picture_in_a_mirror_signs_are_turned_and_nothing_else(size):
    pixels = np.asarray(photograph(1, *size))
    one, other = (np.frombuffer(describe_looks(p), np.int8) for p in (pixels, pixels[:, ::-1]))
    assert (mirror_looks(one[None])[0] == other).all()
    assert (one != other).any()


def test_bytes_are_frequencies_in_steps_of_a_level_or_less():
    pixels = np.asarray(photograph(2, 96, 64))
    red, green, blue = pixels.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    found = np.frombuffer(describe_looks(pixels), np.int8) * STEPS / 4
    places = [(total - across, across) for total in range(10) for across in range(total + 1)]
    for plane, first, number in ((gray - 128, 0, 55), (0.564 * (blue - gray), 55, 3), (0.713 * (red - gray), 58, 3)):
        wanted = dctn(plane, norm="ortho") / 32
        for value, place, step in zip(found[first:], places[:number], STEPS[first:] / 4, strict=False):
            assert abs(value - np.clip(wanted[place], -127 * step, 127 * step)) <= 0.51 * step + 0.1
    assert first + number == LOOKS_BYTES == LOOKS.byte_width


def test_known_pictures_have_the_known_descriptors():
    down, across = np.mgrid[:90, :130]
    planes = [(down * 3 + across) % 256, (down * across // 40) % 256, 255 - across]
    assert describe_looks(np.stack(planes, axis=-1).astype(np.uint8)).hex() == KNOWN
    assert describe_looks(planes[1].astype(np.uint8)[..., None]).hex() == KNOWN_GRAY


KNOWN = (
    "e4d5dae706fdf7fdfffcfc1f0bfcfb01f3fd070501f8feeff5fdfbfcff06191005060402fe00f1f8"
    "faf9fdfcfd010104fb02070404030133183f122519"
)
KNOWN_GRAY = (
    "c6b2b2fb29fbf70e0ef7f8fef3fef8010c0c0c0c01faf9f5f6f5f9f902090a0a0b0a0902fcfaf7f7"
    "f6f7f7fafb01060708080808070602000000000000"
)


def test_a_gray_picture_has_the_descriptor_of_one_in_equal_colours():
    gray = np.asarray(photograph(3).convert("L"))[..., None]
    assert describe_looks(gray) == describe_looks(np.repeat(gray, 3, axis=2))
    assert not any(describe_looks(gray)[55:])


@pytest.mark.parametrize(("level", "first"), [(0, -128), (128, 0), (255, 127)])
def test_a_flat_picture_has_a_mean_and_nothing_else(level, first):
    found = np.frombuffer(describe_looks(np.full((40, 50, 3), level, np.uint8)), np.int8)
    assert found[0] == max(first, -127)
    assert not found[1:].any()


def test_a_column_is_read_whether_sliced_or_in_pieces():
    rows = [bytes([number] * LOOKS_BYTES) for number in range(5)]
    column = pa.chunked_array([pa.array(rows[:3], LOOKS), pa.array(rows[3:], LOOKS)])
    assert looks_array(column)[:, 7].tolist() == [0, 1, 2, 3, 4]
    assert looks_array(pa.array(rows, LOOKS)[2:4])[:, 0].tolist() == [2, 3]
    assert looks_array(pa.chunked_array([], LOOKS)).shape == (0, LOOKS_BYTES)
