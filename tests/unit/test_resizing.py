"""Pictures are resized as Pillow does it, compiled or not, to the sizes that the modes ask for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels import kernels
from pipeline.pixels.averages import CELLS, average_cells, average_slowly
from pipeline.pixels.image_headers import Size
from pipeline.pixels.images import prepare_pixels
from pipeline.pixels.resizing import Fit, cut_or_frame, fit_size, resize, resize_slowly


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


sides = st.integers(1, 300)


@given(sides, sides, sides, sides, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_resize_is_pillow_s_within_a_level_whatever_the_sizes(width, height, new_width, new_height, seed):
    picture = noise(width, height, seed)
    if seed == 5:
        picture = np.where(picture > 127, 255, 0).astype(np.uint8)  # overshoots everywhere
    ours = resize(picture, Size(new_width, new_height))
    wide = Image.fromarray(picture).resize((new_width, height), Image.Resampling.BICUBIC)  # Pillow's order varies
    pillow = np.asarray(wide.resize((new_width, new_height), Image.Resampling.BICUBIC))
    assert ours.shape == pillow.shape
    assert np.abs(ours.astype(int) - pillow).max() <= 2


@pytest.mark.parametrize("size", [(341, 256), (70, 100), (640, 700), (1, 1), (500, 3)])
def test_what_is_compiled_and_what_is_not_give_the_same_pixels(size):
    picture = noise(500, 375)
    assert (resize(picture, Size(*size)) == resize_slowly(picture, Size(*size))).all()


def test_where_nothing_is_compiled_the_slow_ways_are_taken(monkeypatch):
    picture = noise(120, 90)
    wanted, averages = resize(picture, Size(50, 60)), average_cells(picture)
    for kernel in (kernels.resize_rows, kernels.average_channels):
        monkeypatch.setattr(kernel, "_loaded", "none")
    assert (resize(picture, Size(50, 60)) == wanted).all()
    assert (average_cells(picture) == averages).all()


def test_who_starts_workers_is_told_that_nothing_is_compiled(monkeypatch, caplog):
    prepare_pixels()
    assert not caplog.text
    for kernel in (kernels.resize_rows, kernels.average_channels):
        monkeypatch.setattr(kernel, "_loaded", "no folder")
    prepare_pixels()
    assert "pictures are resized several times slower, not compiled: no folder" in caplog.text


def test_a_flat_picture_stays_flat():
    for level in (0, 1, 127, 254, 255):
        assert (resize(np.full((97, 131, 3), level, np.uint8), Size(40, 300)) == level).all()


def test_cells_share_the_pixels_on_their_borders():
    rows = np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)
    sums = average_slowly(rows, 1)
    assert sums.sum() == rows.sum(dtype=int) * 32 * 32
    assert sums[0, 0] == sum(
        int(rows[y, x]) * (32 if y < 1 else 8) * (32 if x < 1 else 18) for y in range(2) for x in range(2)
    )


@pytest.mark.parametrize(
    "size", [(1, 1, 3), (3, 5, 3), (31, 33, 1), (64, 32, 3), (400, 65, 1), (133, 200, 3), (2, 300, 3)]
)
def test_cells_are_averaged_the_same_compiled_or_not(size):
    rows = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).reshape(size[0], -1)
    sums = np.empty((size[2] * CELLS, CELLS), np.int64)
    kernels.average_channels(rows, np.empty(rows.shape[1], np.uint32), sums)
    assert (sums.reshape(size[2], -1) == average_slowly(rows, size[2])).all()


def test_averages_are_gray_and_how_far_blue_and_red_are_above_it():
    picture = np.full((9, 7, 3), (200, 100, 50), np.uint8)
    gray = 77 * 200 + 150 * 100 + 29 * 50
    for found, wanted in zip(average_cells(picture), (gray, 256 * 50 - gray, 256 * 200 - gray), strict=True):
        assert (found == wanted).all()
    assert (average_cells(picture[..., :1]) == 200 * 256).all()


FITS = {
    "none": ("none", False, (640, 480), (640, 480), (640, 480)),
    "short side": ("short_side", False, (640, 480), (341, 256), (341, 256)),
    "small short side": ("short_side", False, (300, 200), (300, 200), (300, 200)),
    "enlarged short side": ("short_side", True, (300, 200), (384, 256), (384, 256)),
    "long side": ("long_side", False, (640, 480), (256, 192), (256, 192)),
    "enlarged long side": ("long_side", True, (128, 64), (256, 128), (256, 128)),
    "crop": ("center_crop", False, (640, 480), (341, 256), (256, 256)),
    "crop of what is as large": ("center_crop", False, (300, 256), (300, 256), (256, 256)),
    "no crop of what is smaller": ("center_crop", False, (300, 255), (300, 255), (300, 255)),
    "enlarged crop": ("center_crop", True, (300, 128), (600, 256), (256, 256)),
    "border": ("border", False, (640, 480), (256, 192), (256, 256)),
    "no border around what is smaller": ("border", False, (255, 100), (255, 100), (255, 100)),
    "enlarged border": ("border", True, (128, 64), (256, 128), (256, 256)),
}


@pytest.mark.parametrize(("mode", "enlarge", "size", "scaled", "stored"), FITS.values(), ids=FITS)
def test_modes_lead_to_their_sizes(mode, enlarge, size, scaled, stored):
    assert fit_size(Size(*size), mode=mode, side=256, enlarge=enlarge) == Fit(Size(*scaled), Size(*stored))


def test_the_middle_is_cut_out_and_the_border_is_white_around_it():
    picture = noise(9, 4)
    assert (cut_or_frame(picture, Size(4, 4)) == picture[:, 2:6]).all()
    framed = cut_or_frame(picture, Size(9, 9))
    assert (framed[2:6] == picture).all()
    assert framed[:2].min() == framed[6:].min() == 255
