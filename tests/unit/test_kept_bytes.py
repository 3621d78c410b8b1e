"""Bytes that are kept carry the picture and nothing else; colours are sRGB; EXIF only for those who ask."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from pipeline.pixels.colour import Transforms, build_transform, to_srgb
from pipeline.pixels.images import CheckedImage, ImageRules, normalize_image

AUTO = ImageRules(resize_mode="none", image_format="own")
RAW = ImageRules(reencode="never")
SECRET = b"Tell nobody"
XMP = b"<x:xmpmeta>Tell nobody</x:xmpmeta>"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def make_profile(primaries=None, gamma=2.2, space=b"RGB "):
    """A matrix profile, or a gray one: primaries are columns of XYZ in D50."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 1) + struct.pack(">H", round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)}
    text = b"made here\0"
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags[b"cprt"] = b"text" + bytes(4) + text
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, column))
            tags[name + b"TRC"] = curve
    table, body, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content
    head = bytes(4) + b"\0\0\0\0" + b"\2\x10\0\0" + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += fixed(0.9642) + fixed(1.0) + fixed(0.8249) + bytes(48)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


# Of each colour space: red, green and blue in XYZ, adapted to D50 by Bradford's matrix (B. Lindbloom's tables).
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03135, 0.00009, 0.82511))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB_XYZ = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
WIDE = {
    "AdobeRGB": (make_profile(ADOBE, 563 / 256), ADOBE, 563 / 256),
    "ProPhoto": (make_profile(PROPHOTO, 1.8), PROPHOTO, 1.8008),
    "Display P3": (make_profile(P3, 2.2), P3, 2.199),
}


def blocks(mode="RGB", side=16):
    colours = np.random.default_rng(5).integers(40, 216, (4, 6, len(mode) if mode != "L" else 1), dtype=np.uint8)
    big = colours.repeat(side, axis=0).repeat(side, axis=1)
    return Image.fromarray(big[..., 0] if mode == "L" else big, mode)


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def checked(data, rules):
    image = normalize_image(data, rules)
    assert isinstance(image, CheckedImage), image
    return image


def to_lab(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return xyz_to_lab(linear @ np.array(SRGB_XYZ))


def xyz_to_lab(xyz):
    ratio = xyz / [0.9642, 1.0, 0.8249]
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1
    )


def exif_bytes(orientation=1, thumbnail=False):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = SECRET.decode()
    exif[0x0110] = "Camera 7"
    exif.get_ifd(0x8769)[0x829A] = 0.008
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


def jpeg_with_everything(orientation=1):
    data = encode(blocks(), quality=95, exif=exif_bytes(orientation), comment=SECRET, xmp=XMP, icc_profile=SRGB)
    iptc = b"Photoshop 3.0\0" + SECRET
    thumbnail = b"JFIF\0\1\2\1\0\x48\0\x48\2\2" + bytes(range(12))
    start = data.index(b"\xff\xe0")
    length = 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    segment = lambda marker, content: b"\xff" + bytes((marker,)) + struct.pack(">H", len(content) + 2) + content  # noqa: E731
    new = segment(0xE0, thumbnail) + segment(0xE0, b"JFXX\0" + SECRET) + segment(0xED, iptc) + segment(0xE7, SECRET)
    return data[:2] + new + data[start + length :]


def png_with_everything(orientation=1):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_text("Note", SECRET.decode() * 50, zip=True)
    return encode(blocks(), "PNG", pnginfo=info, exif=exif_bytes(orientation), icc_profile=SRGB)


def webp_with_everything(orientation=1):
    return encode(blocks(), "WEBP", lossless=True, exif=exif_bytes(orientation), xmp=XMP, icc_profile=SRGB)


MAKERS = {"jpeg": jpeg_with_everything, "png": png_with_everything, "webp": webp_with_everything}
TAIL = b"MotionPhoto" + SECRET + bytes(range(256)) * 4000


@pytest.mark.parametrize("kind", MAKERS)
def test_kept_bytes_have_no_metadata_and_no_tail_and_the_same_pixels(kind):
    source = MAKERS[kind]()
    image = checked(source + TAIL, AUTO)
    assert image.mime == f"image/{kind}"
    assert (pixels(image.data) == pixels(source)).all()
    assert len(image.data) < len(source)
    for trace in (
        SECRET,
        b"Exif\0\0",
        b"XMP",
        b"xmp",
        b"eXIf",
        b"tEXt",
        b"zTXt",
        b"Camera",
        b"Photoshop",
        b"JFXX",
        b"MotionPhoto",
    ):
        assert trace not in image.data, trace
    again = Image.open(io.BytesIO(image.data))
    assert not again.getexif()
    assert "icc_profile" not in again.info
    assert again.info.keys() <= {
        "jfif",
        "jfif_version",
        "jfif_unit",
        "jfif_density",
        "dpi",
        "srgb",
        "gamma",
        "loop",
        "background",
        "duration",
        "timestamp",
    }


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", MAKERS)
def test_raw_bytes_keep_orientation_and_profile_alone(kind, orientation):
    source = MAKERS[kind](orientation)
    image = checked(source + TAIL, RAW)
    again = Image.open(io.BytesIO(image.data))
    assert dict(again.getexif()) == ({0x0112: orientation} if orientation > 1 else {})
    assert again.info["icc_profile"] == SRGB
    assert SECRET not in image.data
    assert (pixels(image.data) == pixels(source)).all()
    assert (image.width, image.height) == ((64, 96) if orientation == 6 else (96, 64))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_raw_bytes_keep_all_frames_and_no_comment(kind):
    frames = [blocks().rotate(turn).convert("RGB") for turn in (0, 90, 180)]
    options = {"GIF": {"comment": SECRET}, "PNG": {}, "WEBP": {"lossless": True, "exif": exif_bytes()}}[kind]
    source = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, loop=0, **options)
    image = checked(source + TAIL, RAW)
    again, before = Image.open(io.BytesIO(image.data)), Image.open(io.BytesIO(source))
    assert again.n_frames == 3
    assert SECRET not in image.data
    for frame in range(3):
        again.seek(frame)
        before.seek(frame)
        assert (np.asarray(again.convert("RGB")) == np.asarray(before.convert("RGB"))).all()


def test_raw_avif_bytes_are_blanked_where_they_tell():
    source = encode(blocks(), "AVIF", exif=exif_bytes(), xmp=XMP, quality=95)
    assert SECRET in source
    image = checked(source + struct.pack(">I", 8 + len(TAIL)) + b"junk" + TAIL, RAW)
    assert len(image.data) == len(source)
    assert SECRET not in image.data
    assert b"Camera" not in image.data
    assert (pixels(image.data) == pixels(source)).all()


def test_raw_bmp_bytes_end_with_their_rows():
    source = encode(blocks(), "BMP")
    assert checked(source + TAIL, RAW).data == source


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_wide_colours_are_made_srgb(name, kind):
    icc, primaries, gamma = WIDE[name]
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}}[kind]
    # colours that sRGB can hold, as the wide space writes them
    small = np.random.default_rng(3).uniform(0.15, 0.85, (24, 3))
    linear = np.where(small <= 0.04045, small / 12.92, ((small + 0.055) / 1.055) ** 2.4)
    wide = np.clip(linear @ np.array(SRGB_XYZ) @ np.linalg.inv(np.array(primaries)), 0, 1) ** (1 / gamma)
    levels = np.rint(wide * 255).astype(np.uint8).reshape(4, 6, 3).repeat(16, axis=0).repeat(16, axis=1)
    source = encode(Image.fromarray(levels), kind, icc_profile=icc, **options)
    image = checked(source, ImageRules(resize_mode="none", image_format="png"))
    assert image.mime == "image/png"
    assert "icc_profile" not in Image.open(io.BytesIO(image.data)).info
    found = pixels(image.data)[8::16, 8::16].reshape(24, 3) / 255
    wanted = xyz_to_lab((levels[8::16, 8::16].reshape(24, 3) / 255) ** gamma @ np.array(primaries))
    apart = np.linalg.norm(to_lab(found) - wanted, axis=1)
    assert apart.mean() < 1
    untreated = np.linalg.norm(to_lab(levels[8::16, 8::16].reshape(24, 3) / 255) - wanted, axis=1)
    assert untreated.mean() > 2


def test_a_resized_picture_is_converted_too():
    icc, _, _ = WIDE["AdobeRGB"]
    flat = Image.new("RGB", (600, 600), (200, 100, 60))
    plain, converted = (
        pixels(checked(encode(flat, "PNG", **options), ImageRules(image_format="png")).data)[128, 128]
        for options in ({}, {"icc_profile": icc})
    )
    assert plain.tolist() == [200, 100, 60]
    assert converted[0] > 208


def test_gray_profiles_are_followed():
    picture = Image.fromarray(np.full((64, 64), 128, np.uint8))
    dark = make_profile(None, 1.0, b"GRAY")
    for kind in ("PNG", "JPEG"):
        found = pixels(checked(encode(picture, kind, icc_profile=dark), AUTO).data)
        assert abs(found.mean() - 188) < 2  # half the light is 188 in sRGB


def test_profiles_that_are_broken_or_of_other_colours_change_nothing():
    picture = blocks()
    plain = pixels(encode(picture, "PNG"))
    for icc in (b"x" * 200, SRGB[:150], make_profile(None, 1.0, b"GRAY"), SRGB):
        assert (pixels(checked(encode(picture, "PNG", icc_profile=icc), AUTO).data) == plain).all()
        assert build_transform(icc, "RGB") is None


def test_a_picture_in_inks_without_a_profile_is_as_pillow_makes_it():
    picture = blocks().convert("CMYK")
    source = encode(picture, quality=95)
    wanted = np.asarray(Image.open(io.BytesIO(source)).convert("RGB")).astype(int)
    assert np.abs(pixels(checked(source, ImageRules(resize_mode="none", image_format="png")).data) - wanted).max() <= 3


def test_transforms_are_remembered_and_bounded(monkeypatch):
    made = []
    monkeypatch.setattr("pipeline.pixels.colour.build_transform", lambda icc, mode: made.append(icc))
    transforms = Transforms()
    for _ in range(2):
        for number in range(60):
            transforms.find(b"%d" % number, "RGB")
    assert len(made) == 60
    for number in range(100):
        transforms.find(b"%d" % number, "RGB")
    assert len(transforms._known) <= 64


def test_pixels_of_a_tall_picture_are_converted_by_strips():
    icc, _, _ = WIDE["ProPhoto"]
    tall = np.random.default_rng(1).integers(0, 256, (1500, 1000, 3), dtype=np.uint8)
    whole = to_srgb(tall, icc)
    assert (whole[1400:] == to_srgb(tall[1400:], icc)).all()


def test_exif_is_text_and_a_place_only_where_it_is_asked_for():
    for kind, make in MAKERS.items():
        rules = {name: ImageRules(exif=name) for name in ("none", "keep", "with_gps")}
        found = {name: checked(make(), rule).exif for name, rule in rules.items()}
        assert found["none"] is None
        assert found["keep"]["Model"] == "Camera 7", kind
        assert found["keep"]["ExposureTime"] == "0.008"
        assert not any(name.startswith("GPS") for name in found["keep"])
        assert found["with_gps"]["GPSLatitude"] == "48 51 30"
        assert found["with_gps"].items() > found["keep"].items()
        json.dumps(found)
    assert checked(encode(blocks()), ImageRules(exif="keep")).exif == {}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_is_no_reason_to_refuse_a_picture():
    data = exif_bytes()
    for end in range(6, len(data), 7):
        image = checked(encode(blocks(), exif=data[:end]), ImageRules(exif="with_gps"))
        assert all(isinstance(value, str) for value in image.exif.values())


@pytest.mark.parametrize(
    ("image_format", "mime"), [("jpg", "image/jpeg"), ("webp", "image/webp"), ("png", "image/png")]
)
def test_what_is_encoded_again_is_of_the_format_and_quality_asked_for(image_format, mime):
    source = encode(blocks(), "PNG")
    made = [
        checked(source, ImageRules(reencode="always", image_format=image_format, encode_quality=quality))
        for quality in (20, 95)
    ]
    assert {image.mime for image in made} == {mime}
    assert Image.open(io.BytesIO(made[0].data)).get_format_mimetype() == mime
    assert (len(made[0].data) < len(made[1].data)) == (image_format != "png")


@pytest.mark.parametrize("orientation", [1, 6])
def test_crops_and_borders_are_of_the_upright_picture(orientation):
    picture = Image.new("RGB", (400, 300), "black")
    picture.paste("red", (0, 0, 400, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = encode(picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture, exif=exif)
    crop = checked(source, ImageRules(resize_mode="center_crop", image_size=150, image_format="png"))
    assert (crop.width, crop.height, crop.original_width, crop.original_height) == (150, 150, 400, 300)
    assert pixels(crop.data)[2, 75].tolist()[0] > 200
    border = pixels(checked(source, ImageRules(resize_mode="border", image_size=200, image_format="png")).data)
    assert border.shape == (200, 200, 3)
    assert border[:24].min() == border[-24:].min() == 255
    assert border[60:140].max() < 60


def test_a_png_with_wrong_text_sum_loses_the_text_alone():
    source = encode(blocks(), "PNG")
    text = b"tEXtAuthor\0" + SECRET
    damaged = (
        source[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text) ^ 1) + source[33:]
    )
    assert checked(damaged, AUTO).data == source
