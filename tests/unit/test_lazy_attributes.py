"""What data attributes of an img say of its image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.image_references import choose_reference
from pipeline.extraction.lazy_attributes import KNOWN_ATTRIBUTES, describe_name, is_address, read_value

NO_IMAGES = [
    "true", "false", "auto", "1", "123456", "16/9", "3.14", "2026-11-28", "12/05/2026", "1200x630", "image/jpeg",
    "lazyload", "{{ image.url }}", "#", "", " ", "/", "//", "{}", "[]", '{"a": 1}', '{"page": "/about.html"}',
    "/products/chair.html", "https://shop.example/chair.htm?x=1", "/wiki/File:Cat.jpg", "javascript:void(0)", "a b c",
    "<p>cat</p>", "movie.mp4", "style.css",
]  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_ATTRIBUTES)
@pytest.mark.parametrize("value", NO_IMAGES)
def test_a_value_that_is_no_image_does_not_replace_src(name, value):
    assert choose_reference({"src": "/real.jpg", name: value}, target_px=336) == "/real.jpg"


@pytest.mark.parametrize(
    "value", ["https://shop.example/products/blue-chair", "/item/42", "https://shop.example/", "//shop.example/p/1"]
)
@pytest.mark.parametrize("name", ["data-url", "data-image", "data-src", "data-original", "data-link", "data-x"])
def test_what_may_be_a_page_does_not_replace_what_is_an_image(name, value):
    assert choose_reference({"src": "/real.jpg", name: value}, target_px=336) == "/real.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "data-src",
        "data-src-large",
        "data-src-medium",
        "data-src-mini",
        "data-src-480",
        "data-src-retina",
        "data-src-2x",
        "data-echo",
        "data-lazy",
        "data-lazyload",
        "data-lazy-src",
        "data-lazy-original",
        "data-flickity-lazyload",
        "data-flickity-lazyload-src",
        "data-ll-src",
        "data-ll-image",
        "data-hi-res-src",
        "data-original",
        "data-dejavu-src",
        "data-defer-src",
        "data-bglazy",
    ],
)
def test_what_scripts_load_replaces_src(name):
    assert choose_reference({"src": "/small.jpg", name: "/real.jpg"}, target_px=336) == "/real.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "data-normal",
        "data-hi-res",
        "data-bg",
        "data-origin",
        "data-pin-media",
        "data-orig-file",
        "data-large-file",
        "data-thumb",
        "data-xyz",
        "data-hover-src",
        "data-poster",
        "data-fallback-src",
        "data-src1",
        "data-original-mos",
        "data-image-large",
        "data-high-res-src",
    ],
)
def test_any_other_image_replaces_only_what_is_none(name):
    for src in ("data:image/gif;base64,R0lGOD", "blank.gif", ""):
        assert choose_reference({"src": src, name: "/real.jpg"}, target_px=336) == "/real.jpg"
    if name != "data-original-mos":
        assert choose_reference({"src": "/own.jpg", name: "/real.jpg"}, target_px=336) == "/own.jpg"


@pytest.mark.parametrize(
    "name", ["data-placeholder", "data-loading-src", "data-error-src", "data-lqip", "data-original-title", "data-title"]
)
def test_what_stands_for_an_image_or_tells_of_it_is_none(name):
    assert choose_reference({"src": "blank.gif", name: "/other.jpg"}, target_px=336) is DropReason.PLACEHOLDER


def test_another_picture_is_the_last_choice():
    attributes = {"data-hover": "/back.jpg", "data-x": "/front.jpg", "data-poster": "/film.jpg"}
    assert choose_reference(attributes, target_px=336) == "/front.jpg"


@pytest.mark.parametrize(
    ("target_px", "chosen"), [(100, "/mini.jpg"), (300, "/small.jpg"), (336, "/medium.jpg"), (900, "/large.jpg")]
)
def test_names_tell_sizes(target_px, chosen):
    attributes = {f"data-src-{name}": f"/{name}.jpg" for name in ("mini", "small", "medium", "large")}
    assert choose_reference({"src": "data:,", **attributes}, target_px=target_px) == chosen


@pytest.mark.parametrize(
    ("value", "references"),
    [
        ('{"default": "//cdn.example/a.jpg"}', ["//cdn.example/a.jpg"]),
        ('{"https://h/a.jpg": [355, 200], "https://h/b.jpg": [450, 253]}', ["https://h/a.jpg", "https://h/b.jpg"]),
        ('[{"src": "a.jpg", "width": 100}, {"src": "b.jpg", "width": 500}]', ["a.jpg", "b.jpg"]),
        ("[img/s.jpg, small], [img/l.jpg, (large)]", ["img/s.jpg", "img/l.jpg"]),
        ('{"a": "b.html", "c": true, "d": "e.png?x=1"}', ["e.png?x=1"]),
        ('"a.jpg', []),
        ("[" * 5000, []),
        ("a.jpg 100w, b.jpg 200w", ["a.jpg", "b.jpg"]),
        ("my photo.jpg", ["my photo.jpg"]),
        ("url('a.jpg')", ["a.jpg"]),
    ],
)
def test_json_and_srcsets_are_read(value, references):
    assert [offer.reference for offer in read_value(value, is_named=True)] == references


@pytest.mark.parametrize(("target_px", "chosen"), [(300, "https://h/a.jpg"), (400, "https://h/b.jpg")])
def test_json_tells_widths(target_px, chosen):
    value = '{"https://h/a.jpg": [355, 200], "https://h/b.jpg": [450, 253]}'
    assert choose_reference({"src": "blank.gif", "data-a-dynamic-image": value}, target_px=target_px) == chosen


@pytest.mark.parametrize(
    ("value", "is_named", "expected"),
    [
        ("https://h/image/1234", False, True),
        ("https://h/1234", False, False),
        ("https://h/1234", True, True),
        ("https://h/?format=webp&id=3", False, True),
        ("/thumb.php?src=a.jpg&w=3", False, True),
        ("photo.jpg!large", False, True),
        ("photo.jpg.html", True, False),
        ("See photo.jpg here", False, False),
        ("photo.jpgx", True, False),
    ],
)
def test_addresses_of_images_are_known_by_their_shape(value, is_named, expected):
    assert is_address(value, is_named=is_named) is expected


@given(st.text(alphabet="data-srclzyhovebx123:.", max_size=20), st.text(max_size=30))
def test_any_name_and_value_may_stand_there(name, value):
    describe_name(f"data-{name}")
    for offer in read_value(value, is_named=True):
        assert offer.reference
