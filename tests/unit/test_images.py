"""Images off the web come out as one kind, or are refused for a reason; every awkward case by itself."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.base.drops import DropReason
from pipeline.base.options import check_options
from pipeline.pixels.decoding import to_pixels
from pipeline.pixels.hashing import perceptual_hash
from pipeline.pixels.image_headers import Size
from pipeline.pixels.images import (
    CheckedImage,
    ImageRules,
    check_size,
    fit_size,
    normalize_image,
)

RULES = ImageRules()
AS_IT_IS = ImageRules(resize_mode="none")


def drawing(seed=0, width=320, height=240):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image):
    assert isinstance(image, CheckedImage), image
    return np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB")).astype(int)


def difference(image, picture):
    return np.abs(pixels(image) - np.asarray(picture.convert("RGB")).astype(int)).mean()


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


SAME = {
    "png": ("PNG", "RGB", {}),
    "webp": ("WEBP", "RGB", {"quality": 95}),
    "bmp": ("BMP", "RGB", {}),
    "avif": ("AVIF", "RGB", {"quality": 95}),
    "gray jpeg": ("JPEG", "L", {"quality": 95}),
    "cmyk jpeg": ("JPEG", "CMYK", {"quality": 95}),
    "palette png": ("PNG", "P", {}),
    "gif": ("GIF", "P", {}),
    "one-bit png": ("PNG", "1", {}),
    "gray with alpha": ("PNG", "LA", {}),
}


@pytest.mark.parametrize(("kind", "mode", "options"), SAME.values(), ids=SAME)
def test_every_format_and_colour_mode_becomes_the_same_picture_in_rgb(kind, mode, options):
    picture = drawing(3, 96, 64)
    picture = picture.quantize(64, dither=Image.Dither.NONE) if mode == "P" else picture.convert(mode)
    image = normalize_image(encode(picture, kind, **options), AS_IT_IS)
    assert difference(image, picture) < 8
    assert Image.open(io.BytesIO(image.data)).mode == "RGB"
    assert image.mime in ("image/jpeg", "image/png", "image/webp")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_stored_upright(orientation):
    upright = drawing(4, 96, 64)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # from upright to stored: the opposite turn
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    image = normalize_image(encode(stored, quality=95, exif=with_orientation(orientation)), AS_IT_IS)
    assert difference(image, upright) < 3
    assert (image.original_width, image.original_height) == (96, 64)


def test_sixteen_bits_are_scaled_to_eight():
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    image = normalize_image(encode(Image.fromarray(ramp), "PNG"), AS_IT_IS)
    assert np.abs(pixels(image)[..., 0] - ramp / 257).max() < 4


def test_what_is_transparent_is_white():
    picture = drawing(5, 64, 64).convert("RGBA")
    picture.putalpha(Image.new("L", (64, 64), 0))
    assert pixels(normalize_image(encode(picture, "PNG"), AS_IT_IS)).min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    image = normalize_image(data, AS_IT_IS)
    assert image.mime == "image/jpeg"
    assert np.abs(pixels(image) - [255, 0, 0]).max() < 4


REFUSED = {
    "empty": (b"", "unknown_format"),
    "svg": (b"<svg/>", "unknown_format"),
    "tiff": (encode(drawing(), "TIFF"), "unknown_format"),
    "truncated jpeg": (encode(drawing())[:3000], "broken_image"),
    "truncated png": (encode(drawing(), "PNG")[:3000], "broken_image"),
    "truncated webp": (encode(drawing(), "WEBP")[:1000], "broken_image"),
    "jpeg without scan": (encode(drawing())[:623], "broken_image"),
    "noise after magic": (b"\x89PNG\r\n\x1a\n" + bytes(100), "broken_image"),
    "bomb": (encode(Image.new("1", (20_000, 20_000)), "PNG"), "too_many_pixels"),
    "pixel": (encode(Image.new("P", (1, 1)), "GIF"), "too_small"),
    "banner": (encode(drawing(0, 900, 60)), "too_narrow"),
    "marked": (encode(drawing()) + b"DMI-PROHIBITED-AIMLTRAINING", "opted_out_embedded"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_bad_images_are_refused_for_their_reason(data, reason):
    assert normalize_image(data, RULES) == reason


def test_a_gif_whose_frame_is_larger_than_its_screen_is_measured_by_the_frame():
    data = bytearray(encode(Image.new("P", (300, 300)), "GIF"))
    data[6:10] = bytes([64, 0, 64, 0])
    assert normalize_image(bytes(data), ImageRules(max_pixels=64 * 64)) in ("too_many_pixels", "broken_image")


def test_allowed_data_mining_is_no_opt_out():
    marked = encode(drawing()) + b"http://ns.useplus.org/ldf/vocab/DMI-ALLOWED"
    assert isinstance(normalize_image(marked, RULES), CheckedImage)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("short_side", (640, 480), (341, 256)),
        ("short_side", (480, 640), (256, 341)),
        ("short_side", (200, 900), (200, 900)),
        ("long_side", (640, 480), (256, 192)),
        ("long_side", (100, 100), (100, 100)),
        ("none", (5000, 4000), (5000, 4000)),
    ],
)
def test_pictures_shrink_to_fit_and_never_grow(mode, size, expected):
    assert fit_size(Size(*size), ImageRules(resize_mode=mode)).stored == expected


def test_large_pictures_are_stored_at_the_size_asked_for():
    image = normalize_image(encode(drawing(1, 1600, 1200)), RULES)
    assert (image.width, image.height, image.original_width, image.original_height) == (341, 256, 1600, 1200)
    assert Image.open(io.BytesIO(image.data)).size == (341, 256)
    assert difference(image, drawing(1, 341, 256)) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_bytes_are_kept_where_nothing_has_to_change(kind):
    source = encode(drawing(2, 200, 100), kind)
    image = normalize_image(source, ImageRules(image_format="own"))
    assert image.data == source
    assert image.sha256 == hashlib.sha256(source).digest()
    encoded = normalize_image(source, ImageRules(reencode="always"))
    assert encoded.mime == "image/jpeg"
    assert encoded.data != source
    assert encoded.sha256 == image.sha256


@pytest.mark.parametrize(("asked", "kept"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_stored_images_are_of_the_format_asked_for_and_such_bytes_are_kept(asked, kept):
    rules = ImageRules(image_format=asked)
    sources = {kind: encode(drawing(2, 200, 100), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")}
    images = {kind: normalize_image(source, rules) for kind, source in sources.items()}
    assert {image.mime for image in images.values()} == {f"image/{kept.lower()}"}
    assert [kind for kind, image in images.items() if image.data == sources[kind]] == [kept]


def test_the_same_bytes_give_the_same_image():
    source = encode(drawing(6, 900, 700), quality=80)
    assert normalize_image(source, RULES) == normalize_image(source, RULES)


def bits_apart(first, second):
    return ((first ^ second) & (1 << 64) - 1).bit_count()


def test_perceptual_hash_hardly_changes_with_size_and_quality_and_changes_with_the_picture():
    for seed in range(5):
        original = normalize_image(encode(drawing(seed, 900, 700)), RULES).phash
        copy = normalize_image(encode(drawing(seed, 300, 233), quality=40), RULES).phash
        other = normalize_image(encode(drawing(seed + 100)), RULES).phash
        assert bits_apart(original, copy) <= 6
        assert bits_apart(original, other) >= 12


def test_perceptual_hash_of_a_flat_picture_is_exact():
    assert perceptual_hash(np.full((50, 40, 3), 128, np.uint8)) == -(1 << 63)
    assert perceptual_hash(np.zeros((50, 40, 3), np.uint8)) == 0
    assert perceptual_hash(np.full((50, 40, 1), 128, np.uint8)) == -(1 << 63)


def test_perceptual_hash_is_the_discrete_cosine_transform_s():
    from scipy.fft import dctn

    picture = np.asarray(drawing(9))  # 320 x 240: every cell is ten pixels by seven and a half
    fine = np.repeat(picture @ np.array([77, 150, 29]), 2, axis=0)
    gray = fine.reshape(32, 15, 32, 10).mean(axis=(1, 3))
    low = dctn(gray)[:8, :8]
    wanted = int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
    assert bits_apart(perceptual_hash(picture), wanted) <= 1


def test_palettes_with_transparency_get_a_white_matte():
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([10, 20, 30])
    picture.info["transparency"] = 0
    assert to_pixels(picture).min() == 255


@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    st.floats(0.05, 1),
)
@settings(max_examples=100)
def test_damaged_files_are_kept_or_refused_and_never_an_error(kind, changes, share):
    data = bytearray(encode(drawing(7, 64, 48).convert("P" if kind == "GIF" else "RGB"), kind))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    result = normalize_image(bytes(data[: int(share * len(data))]), RULES)
    assert isinstance(result, (CheckedImage, DropReason))


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((160, 32), None),
        ((32, 160), None),
        ((161, 32), DropReason.TOO_NARROW),
        ((32, 161), DropReason.TOO_NARROW),
        ((32, 32), None),
        ((31, 32), DropReason.TOO_SMALL),
        ((32, 31), DropReason.TOO_SMALL),
        ((100, 100), None),
        ((101, 100), DropReason.TOO_MANY_PIXELS),
        ((10_000, 1), DropReason.TOO_SMALL),
    ],
)
def test_a_size_at_a_limit_is_allowed_and_one_pixel_beyond_is_not(size, reason):
    assert check_size(Size(*size), ImageRules(max_pixels=10_000, min_side_px=32, max_aspect_ratio=5.0)) is reason


def test_an_aspect_ratio_need_not_be_a_whole_number():
    rules = ImageRules(max_aspect_ratio=1.5)
    assert check_size(Size(150, 100), rules) is None
    assert check_size(Size(151, 100), rules) is DropReason.TOO_NARROW


@pytest.mark.parametrize(
    ("size", "mode", "fitted"),
    [
        ((640, 480), "short_side", (341, 256)),
        ((480, 640), "short_side", (256, 341)),
        ((640, 480), "long_side", (256, 192)),
        ((640, 480), "none", (640, 480)),
        ((256, 900), "short_side", (256, 900)),
        ((257, 900), "short_side", (256, 896)),
        ((256, 100), "long_side", (256, 100)),
        ((257, 100), "long_side", (256, 100)),
        ((5000, 2), "long_side", (256, 1)),
        ((100, 100), "short_side", (100, 100)),
    ],
)
def test_pictures_are_shrunk_to_fit_and_never_enlarged(size, mode, fitted):
    assert fit_size(Size(*size), ImageRules(image_size=256, resize_mode=mode)).stored == fitted


def test_perceptual_hashes_are_the_known_ones():
    squares = Image.new("L", (64, 48))
    squares.paste(255, (0, 0, 32, 16))
    squares.paste(128, (40, 20, 64, 48))
    noise = Image.fromarray((np.arange(700 * 900) ** 2 % 251).astype(np.uint8).reshape(700, 900))
    pictures = (squares, squares.rotate(90), Image.new("RGB", (40, 30)), drawing(1, 64, 64), noise)
    assert [f"{perceptual_hash(np.asarray(picture.convert('RGB'))) % 2**64:016x}" for picture in pictures] == [
        "e6ccccb6331949cc",
        "c11c95e36a3e9dc1",
        "0000000000000000",
        "8ce3d8b83acbc534",
        "fe00fe00fe01fa55",
    ]


def test_as_many_pixels_may_be_allowed_as_pillow_opens_without_a_warning():
    check_options(ImageRules(max_pixels=89_478_485))
    with pytest.raises(ValueError, match="max-pixels must be at most"):
        check_options(ImageRules(max_pixels=89_478_486))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_gray_value_of_16_bits_is_rounded_to_8():
    wide = np.array([[0, 128, 129, 257, 385, 386, 65_535]], np.uint16)
    assert to_pixels(Image.fromarray(wide))[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2, 255]
