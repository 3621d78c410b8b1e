"""Templates and pictures: nothing unescaped, the same bytes whatever the user's own settings, nothing said."""

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from pipeline.base.rendering import COLORS, PALETTE, draw_svg, escape_markdown, note, render_template

EVIL = '<script>&"$x_1$'
SVG = "{http://www.w3.org/2000/svg}"
DRAW = "from pipeline.base.rendering import draw_svg; print(draw_svg('p', lambda f: f.subplots().set_xlabel('Länge')))"


def evil_bars(figure):
    axes = figure.subplots()
    axes.bar([1, 2], [3, 4], color=COLORS["word"])[0].set_gid(note(EVIL))
    axes.set_xlabel(EVIL)


def shapes(name="p"):
    """The elements of a picture: for a wide screen, and for a phone."""
    broad, narrow = ElementTree.fromstring(f"<div>{draw_svg(name, evil_bars)}</div>")
    return broad, narrow


def test_a_picture_is_drawn_for_a_wide_screen_and_for_a_phone():
    broad, narrow = shapes()
    assert [broad.get("class"), narrow.get("class")] == ["broad", "narrow"]
    widths = [float(root.get("viewBox").split()[2]) for root in (broad, narrow)]
    assert widths == [720, 360]


def test_a_picture_shows_texts_and_notes_as_they_are():
    for root in shapes():
        assert root.tag == f"{SVG}svg"
        assert EVIL in [element.text for element in root.iter(f"{SVG}text")]
        assert [element.text for element in root.iter(f"{SVG}title")] == [EVIL]


def test_two_pictures_in_a_page_share_no_id():
    roots = [*shapes("first"), *shapes("second")]
    ids = [element.get("id") for root in roots for element in root.iter() if element.get("id")]
    assert ids
    assert len(ids) == len(set(ids))


def test_all_colours_of_a_picture_are_the_pages():
    svg = draw_svg("p", evil_bars)
    assert "var(--word)" in svg
    assert not [light for light, _ in PALETTE.values() if light in svg]


def test_a_picture_is_the_same_under_other_settings_and_without_a_home(checkout, tmp_path):
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\nsvg.fonttype: path\n")
    settings = (
        {"MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1"},
        {"HOME": os.devnull, "PYTHONHASHSEED": "2", "MPLBACKEND": "TkAgg"},
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", DRAW],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), "PYTHONUTF8": "1"} | own,
            capture_output=True,
            text=True,
            check=True,
        )
        for own in settings
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "Länge" in runs[0].stdout
    assert [run.stderr for run in runs] == ["", ""]


def test_matplotlib_is_loaded_only_where_something_is_drawn(checkout):
    code = (
        "import sys, pipeline.sharding.card.page, pipeline.vocabulary.report.page; print('matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "*a* _b_ `c`", "<script>", "[a](b)", "&lt;", "two\nlines"])
def test_a_cell_of_a_markdown_table_stays_one_cell_of_plain_text(text):
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    assert not set("|*`<[&") & set(re.sub(r"\\.", "", escaped))
    assert re.sub(r"\\(.)", r"\1", escaped) == text.replace("\n", " ")


def test_a_name_that_a_template_does_not_get_is_an_error():
    with pytest.raises(Exception, match="'front' is undefined"):
        render_template("pipeline.sharding.card", "readme.md.j2")
