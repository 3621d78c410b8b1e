import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.image_references import choose_from_srcset, choose_reference, parse_srcset


@pytest.mark.parametrize(
    ("attributes", "chosen"),
    [
        ({"src": "a.jpg"}, "a.jpg"),
        ({"src": " a.jpg\n"}, "a.jpg"),
        ({"src": "blank.gif", "data-src": "a.jpg"}, "a.jpg"),
        ({"src": "tiny.jpg", "data-original": "a.jpg"}, "a.jpg"),
        ({"src": "data:image/gif;base64,R0lGOD", "srcset": "s.jpg 100w, m.jpg 400w, l.jpg 900w"}, "m.jpg"),
        ({"data-srcset": "s.jpg 100w, m.jpg 200w"}, "m.jpg"),
        ({"src": "loading.svg", "data-src": "//cdn/x_{width}x.jpg"}, "//cdn/x_336x.jpg"),
        ({"src": "x{4D991DE5-21EB}.jpg"}, "x{4D991DE5-21EB}.jpg"),
        ({"src": "https://h/covers/1338133683_b.jpg"}, "https://h/covers/1338133683_b.jpg"),
        ({"data-src": "{{ image }}", "src": "a.jpg"}, "a.jpg"),
        ({"src": None, "data-src": ""}, DropReason.NO_IMAGE_URL),
        ({"src": "data:,"}, DropReason.DATA_URL),
        ({"src": "/img/lazy-placeholder.png?v=2"}, DropReason.PLACEHOLDER),
        ({"src": "https://h/spacer.gif"}, DropReason.PLACEHOLDER),
        ({"src": "about:blank"}, DropReason.NO_IMAGE_URL),
        ({"src": "javascript:void(0)"}, DropReason.NO_IMAGE_URL),
    ],
)
def test_the_image_behind_placeholders_is_chosen(attributes, chosen):
    assert choose_reference(attributes, target_px=336) == chosen


def test_the_sources_of_a_picture_are_the_last_resort():
    assert choose_reference({"alt": "x"}, ["s.webp 100w, l.webp 800w"], target_px=336) == "l.webp"


@pytest.mark.parametrize(
    ("srcset", "offers"),
    [
        ("a.jpg", [("a.jpg", 1, "x")]),
        ("a.jpg 1x, b.jpg 2x", [("a.jpg", 1, "x"), ("b.jpg", 2, "x")]),
        ("a.jpg, b.jpg 2x", [("a.jpg", 1, "x"), ("b.jpg", 2, "x")]),
        ("a.jpg 100w,b.jpg 200w", [("a.jpg", 100, "w"), ("b.jpg", 200, "w")]),
        ("h/w_100,c_fill/a.jpg 100w", [("h/w_100,c_fill/a.jpg", 100, "w")]),
        (" ,, a.jpg 100w 50h ,", [("a.jpg", 100, "w")]),
        ("a.jpg nonsense", [("a.jpg", 1, "x")]),
        ("", []),
    ],
)
def test_srcsets_are_read_as_browsers_read_them(srcset, offers):
    assert parse_srcset(srcset) == offers


@given(st.text(alphabet=" ,aw1x.", max_size=60))
def test_any_srcset_gives_one_of_its_own_references(srcset):
    chosen = choose_from_srcset(srcset, 300)
    assert not chosen or chosen in {reference for reference, _, _ in parse_srcset(srcset)}
