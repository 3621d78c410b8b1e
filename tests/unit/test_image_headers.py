"""Format and size from the header agree with the decoder, and broken headers are refused."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.base.drops import DropReason
from pipeline.pixels.image_headers import ImageHeader, read_header, sniff_format

FORMATS = {
    "jpeg": ("JPEG", {}, "image/jpeg"),
    "progressive jpeg": ("JPEG", {"progressive": True, "comment": b"x" * 70}, "image/jpeg"),
    "png": ("PNG", {}, "image/png"),
    "gif": ("GIF", {}, "image/gif"),
    "bmp": ("BMP", {}, "image/bmp"),
    "lossy webp": ("WEBP", {}, "image/webp"),
    "lossless webp": ("WEBP", {"lossless": True}, "image/webp"),
    "extended webp": ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0"}, "image/webp"),
    "avif": ("AVIF", {}, "image/avif"),
}


def encode(kind, options, width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 40)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "options", "mime"), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 501), (1000, 2)])
def test_header_gives_format_and_size(kind, options, mime, width, height):
    assert read_header(encode(kind, options, width, height)) == ImageHeader(mime, width, height)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><html>",
        b"II*\0\x08\0\0\0",
        b"%PDF-1.4",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    ],
    ids=["empty", "svg", "html", "tiff", "pdf", "wav", "mp4"],
)
def test_what_is_not_on_the_list_is_refused(data):
    assert sniff_format(data) is None
    assert read_header(data) is DropReason.UNKNOWN_FORMAT


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
def test_a_file_cut_anywhere_in_its_header_is_refused_without_an_error(options):
    whole = encode(options[0], options[1], 20, 30)
    for length in range(min(len(whole), 400)):
        header = read_header(whole[:length])
        assert isinstance(header, DropReason) or (header.width, header.height) == (20, 30)


def test_a_picture_without_width_is_broken():
    assert read_header(b"GIF89a\0\0\x05\0") is DropReason.BROKEN_IMAGE


@given(
    st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"BM", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x1cftypavif", b""])
)
@settings(max_examples=100)
def test_no_bytes_raise_an_error(tail, magic):
    assert isinstance(read_header(magic + tail), (ImageHeader, DropReason))


def test_hostile_headers_cost_little():
    assert read_header(b"\xff\xd8" + b"\xff\x01" * 5_000_000) is DropReason.BROKEN_IMAGE
    assert read_header(b"\0\0\0\x1cftypavif" + b"ispe" * 5_000_000) == ImageHeader("image/avif", 0x69737065, 0x69737065)
