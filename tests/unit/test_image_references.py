import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.image_references import choose_reference, is_placeholder
from pipeline.extraction.srcsets import choose_offer, parse_srcset


def choose_from_srcset(srcset: str, target_px: int) -> str:
    offers = parse_srcset(srcset)
    return choose_offer(offers, target_px).reference if offers else ""


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
        ({"src": "", "data-src": ""}, DropReason.NO_IMAGE_URL),
        ({"src": "data:,"}, DropReason.DATA_URL),
        ({"src": "/img/lazy-placeholder.png?v=2"}, DropReason.PLACEHOLDER),
        ({"src": "https://h/spacer.gif"}, DropReason.PLACEHOLDER),
        ({"src": "about:blank"}, DropReason.NO_IMAGE_URL),
        ({"src": "javascript:void(0)"}, DropReason.NO_IMAGE_URL),
    ],
)
def test_the_image_behind_placeholders_is_chosen(attributes, chosen):
    assert choose_reference(attributes, target_px=336) == chosen


WIDE = {"srcset": "s.webp 100w, l.webp 800w", "type": "image/webp"}


@pytest.mark.parametrize(
    ("attributes", "sources", "chosen"),
    [
        ({"alt": "x"}, [WIDE], "l.webp"),
        ({"src": "a.jpg"}, [WIDE], "l.webp"),
        ({"src": "a.jpg", "srcset": "b.jpg 800w"}, [WIDE], "b.jpg"),
        ({"src": "a.jpg", "srcset": "b.jpg 900w"}, [WIDE], "l.webp"),
        ({"src": "a.jpg"}, [{"srcset": "b.webp"}], "a.jpg"),
        ({"src": "a.jpg"}, [{"srcset": "b.jxl 400w", "type": "image/jxl"}], "a.jpg"),
        ({}, [{"srcset": "b.jxl 400w", "type": "image/jxl"}], DropReason.NO_IMAGE_URL),
        ({}, [{"srcset": "b.jxl", "type": "image/jxl"}, {"srcset": "b.avif", "type": "image/avif"}], "b.avif"),
        ({}, [{"srcset": "m.jpg", "media": "(max-width: 600px)"}, {"srcset": "d.jpg", "media": "screen"}], "d.jpg"),
        ({}, [{"srcset": "m.jpg", "media": "(max-width: 600px)"}], "m.jpg"),
        ({"src": "a.jpg"}, [{"srcset": "m.jpg 400w", "media": "(max-width: 600px)"}], "a.jpg"),
        ({"src": "blank.gif"}, [{"srcset": "data:,", "data-srcset": "d.jpg"}], "d.jpg"),
        ({"src": "a.jpg", "width": "150"}, [{"srcset": "b.jpg, c.jpg 2x, d.jpg 3x"}], "d.jpg"),
    ],
)
def test_sources_of_a_picture_are_judged_by_type_media_and_size(attributes, sources, chosen):
    assert choose_reference(attributes, sources, target_px=336) == chosen


@pytest.mark.parametrize("target_px", [100, 300, 500])
@pytest.mark.parametrize(
    "attributes",
    [
        {"src": "0.jpg", "srcset": "100.jpg 100w, 300.jpg 300w, 500.jpg 500w"},
        {"data-src": "0.jpg", "data-srcset": "100.jpg 100w, 300.jpg 300w, 500.jpg 500w"},
        {"src": "0.jpg", "data-srcset": "100.jpg 100w, 300.jpg 300w, 500.jpg 500w"},
        {"src": "blank.gif", "data-lazy-srcset": "100.jpg 100w,300.jpg 300w,500.jpg 500w"},
        {"src": "100.jpg", "srcset": "300.jpg 3x, 500.jpg 5x", "width": "100"},
        {"data-src": "100.jpg", "data-srcset": "300.jpg 3x, 500.jpg 5x", "width": "100px"},
        {"data-src": "100.jpg 100w, 300.jpg 300w, 500.jpg 500w"},
    ],
)
def test_the_width_wanted_decides_wherever_there_are_several(attributes, target_px):
    assert choose_reference(attributes, target_px=target_px) == f"{target_px}.jpg"


def test_where_the_width_shown_is_unknown_the_image_of_density_one_is_taken():
    assert choose_reference({"src": "a.jpg", "srcset": "b.jpg 2x"}, target_px=800) == "a.jpg"
    assert choose_reference({"src": "a.jpg", "srcset": "b.jpg 2x", "width": "100%"}, target_px=800) == "a.jpg"
    assert choose_reference({"src": "a.jpg", "srcset": "b.jpg 1x, c.jpg 2x"}, target_px=800) == "b.jpg"


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


@pytest.mark.parametrize(
    ("srcset", "chosen"),
    [
        ("a 223w, b 224w, c 225w", "b"),
        ("a 225w, b 224w", "b"),
        ("a 223w, b 225w", "b"),
        ("a 100w, b 223w", "b"),
        ("b 223w, a 100w", "b"),
        ("a 300w, b 224w, c 224w", "b"),
        ("a 1x, b 2x", "a"),
        ("a 0.5x, b 1x, c 2x", "b"),
        ("a 0.5x, b 0.25x", "a"),
        ("a, b 300w", "b"),
        ("a 1.5x, b 300w", "b"),
        ("", ""),
        (",", ""),
    ],
)
def test_the_narrowest_image_that_is_as_wide_as_wanted_is_chosen_else_the_widest(srcset, chosen):
    assert choose_from_srcset(srcset, 224) == chosen


@pytest.mark.parametrize(
    ("descriptor", "number", "unit"),
    [
        ("1w", 1, "w"),
        ("1W", 1, "w"),
        ("2X", 2, "x"),
        ("0.001x", 0.001, "x"),
        ("999999w", 999_999, "w"),
        ("999999.9w", 999_999.9, "w"),
        ("00000000001w", 1, "w"),
        ("1e3w", 1000, "w"),
    ],
)
def test_a_descriptor_is_a_positive_number_with_its_unit(descriptor, number, unit):
    assert parse_srcset(f"a {descriptor}, b") == [("a", number, unit), ("b", 1.0, "x")]


@pytest.mark.parametrize(
    "descriptor",
    ["0w", "-1w", "1000000w", "1e6x", "infw", "nanw", "w", "x", "7h", "7", "000000000001w", "w7", "1 w", "--1x"],
)
def test_any_other_descriptor_says_nothing(descriptor):
    assert parse_srcset(f"a {descriptor}, b") == [("a", 1.0, "x"), ("b", 1.0, "x")]


@pytest.mark.parametrize(
    ("srcset", "offers"),
    [
        ("a 2x 3w, b", [("a", 3, "w"), ("b", 1, "x")]),
        ("a 2x 7h, b", [("a", 2, "x"), ("b", 1, "x")]),
        ("a 2x,b 3x", [("a", 2, "x"), ("b", 3, "x")]),
        ("a 2x,,b 3x", [("a", 2, "x"), ("b", 3, "x")]),
        ("a 2x,b,c 3x", [("a", 2, "x"), ("b,c", 3, "x")]),
        ("a,, b", [("a", 1, "x"), ("b", 1, "x")]),
        ("a 2x, ", [("a", 2, "x")]),
        (", , a", [("a", 1, "x")]),
    ],
)
def test_commas_end_an_offer_and_are_no_part_of_a_reference_at_its_ends(srcset, offers):
    assert parse_srcset(srcset) == offers


@pytest.mark.parametrize(
    ("attributes", "chosen"),
    [
        ({"src": "a" * 2001}, "a" * 2001),
        ({"src": " " + "a" * 8192}, "a" * 8192),
        ({"src": " " + "a" * 8193}, DropReason.NO_IMAGE_URL),
        ({"src": "ä" * 8193}, DropReason.NO_IMAGE_URL),
        ({"src": "", "srcset": "b 1x"}, "b"),
        ({"src": "a", "srcset": "b 1x"}, "b"),
        ({"src": "a", "data-lazy-srcset": "b.jpg 1x"}, "b.jpg"),
        ({"data-src": "c.jpg", "data-srcset": "b.jpg 1x"}, "c.jpg"),
        ({"src": " DATA:image/gif", "data-src": " "}, DropReason.DATA_URL),
        ({"src": "BLOB:x"}, DropReason.NO_IMAGE_URL),
        ({"src": " #top"}, DropReason.NO_IMAGE_URL),
        ({"src": "file:///a.jpg"}, DropReason.NO_IMAGE_URL),
        ({"src": "a?u=data:x y"}, "a?u=data:x y"),
        ({"src": "{name}.jpg"}, DropReason.NO_IMAGE_URL),
        ({"src": "${x}"}, DropReason.NO_IMAGE_URL),
        ({"src": "data:x", "data-src": "blank.gif"}, DropReason.DATA_URL),
        ({"src": "blank.gif", "data-src": "data:x"}, DropReason.PLACEHOLDER),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:12],
)
def test_what_can_be_fetched_is_chosen_in_a_fixed_order_and_up_to_8192_characters(attributes, chosen):
    assert choose_reference(attributes, target_px=336) == chosen


def test_the_first_source_of_a_picture_that_can_be_fetched_is_chosen():
    sources = [{"srcset": value} for value in ("", "data:y 1x", "b 1x", "c 1x")]
    assert choose_reference({"src": "data:x"}, sources, target_px=336) == "b"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("blank.gif", True),
        ("https://h/x/Blank.GIF?v=1", True),
        ("a/blank.gif#x?y", True),
        ("1x1.png", True),
        ("lazy-placeholder_1234x1234.webp", True),
        ("blank.gif/a.jpg", False),
        ("a.jpg?blank.gif", False),
        ("a.jpg?x/blank.gif", False),
        ("blanket.gif", False),
        ("blank.txt", False),
        ("default-transparent-placeholder.gif", False),
        ("", False),
    ],
)
def test_placeholders_are_known_by_the_name_of_their_file(reference, expected):
    assert is_placeholder(reference) is expected
