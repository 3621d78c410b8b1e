"""Which sources of a picture a usual screen shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extraction.media_queries import DECODED_TYPES, is_decoded, matches_screen
from pipeline.pixels.decoding import FORMATS


def test_types_are_those_that_are_decoded():
    assert set(FORMATS) == DECODED_TYPES


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("", True),
        ("image/AVIF", True),
        ("image/webp; charset=x", True),
        ("image/jpg", True),
        ("image/jxl", False),
        ("image/svg+xml", False),
        ("image/vnd.ms-photo", False),
    ],
)
def test_images_that_nothing_decodes_are_left_out(kind, expected):
    assert is_decoded(kind) is expected


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        ("all", True),
        ("print", False),
        ("not print", True),
        ("only screen and (min-width: 768px)", True),
        ("screen and (min-width:1281px)", False),
        ("(min-width: 1280px)", True),
        ("(max-width: 1280px)", True),
        ("(max-width: 79.9em)", False),
        ("(max-width: 600px), (min-width: 900px)", True),
        ("not (max-width: 600px)", True),
        ("not all and (max-width: 600px)", True),
        ("(width: 1280px)", True),
        ("(width >= 600px)", True),
        ("(400px <= width < 900px)", False),
        ("(900px <= width)", True),
        ("(width < 900px)", False),
        ("(orientation: portrait)", False),
        ("(orientation: landscape)", True),
        ("(prefers-color-scheme: dark)", False),
        ("(-webkit-min-device-pixel-ratio: 1.25)", False),
        ("(-webkit-min-device-pixel-ratio: 1)", True),
        ("(min-resolution: 120dpi)", False),
        ("(min--moz-device-pixel-ratio: 2)", False),
        ("(max-resolution: 1.5dppx)", True),
        ("(nonsense: 3)", False),
        ("(min-width: 3bananas)", False),
        ("(min-width)", False),
        ("nonsense", False),
        ("(min-aspect-ratio: 1/2)", False),
    ],
)
def test_media_queries_are_judged_for_a_desktop_screen(media, expected):
    assert matches_screen(media) is expected


@given(st.text(alphabet="()minax-wdth: 1px,and<=>.", max_size=40))
def test_any_media_query_is_judged(media):
    assert matches_screen(media) in (True, False)
