"""Draws what `make demo` left into docs/images/demo.png: samples, what became of the pairs, how good the model is.

make demo && python docs/make_demo_picture.py [DEMO_DATA]
"""

import io
import json
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

HERE = Path(__file__).resolve().parent
_COLUMNS, _ROWS = 4, 2
_INK, _QUIET, _BLUE, _GREY = "#222222", "#777777", "#0072b2", "#cccccc"


def read_samples(shards: Path, number: int) -> Iterator[tuple[Image.Image, str, list[str]]]:
    """Pictures of the first shards with their texts and the queries that selected them, no two texts alike."""
    texts: set[str] = set()
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in members:
            key, _, suffix = name.partition(".")
            text = members[f"{key}.txt"].decode()
            if suffix in ("jpg", "png", "webp") and 20 < len(text) < 60 and text.split()[0] not in texts:
                texts.add(text.split()[0])
                yield Image.open(io.BytesIO(members[name])), text, json.loads(members[f"{key}.json"])["kept_for"]
                if len(texts) == number:
                    return


def draw_samples(figure: Figure, shards: Path) -> None:
    """A grid of samples on the left."""
    for place, (image, text, queries) in enumerate(read_samples(shards, _COLUMNS * _ROWS)):
        row, column = divmod(place, _COLUMNS)
        axes = figure.add_axes((0.015 + column * 0.135, 0.62 - row * 0.48, 0.125, 0.3))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        axes.imshow(image.convert("RGB").crop((left, top, left + side, top + side)))
        axes.axis("off")
        lines = "\n".join(textwrap.wrap(text, 26)[:2])
        axes.set_title(lines, fontsize=7.5, color=_INK, y=-0.25, va="bottom", linespacing=1.15)
        axes.text(0.5, -0.36, textwrap.shorten(", ".join(queries), 30, placeholder=" …"), fontsize=6.5, color=_BLUE,
                  ha="center", transform=axes.transAxes)  # fmt: skip


def draw_funnel(axes: Axes, card: Path) -> None:
    """Pairs after each stage, and what they lost there."""
    stages = json.loads((card / "funnel.json").read_text())
    rows = []
    for stage in stages:
        counts = stage["counts"]
        thing = next((t for t in ("images", "samples", "pairs") if f"{t}/in" in counts), None)
        if thing:
            rows.append((stage["stage"], counts[f"{thing}/in"], counts[f"{thing}/kept"]))
    for place, (_, entered, kept) in enumerate(rows):
        axes.barh(-place, entered, color=_GREY, height=0.55)
        axes.barh(-place, kept, color=_BLUE, height=0.55)
        axes.text(entered, -place, f" {kept:,}", va="center", fontsize=8, color=_INK)
    axes.set_yticks([-place for place in range(len(rows))], [row[0] for row in rows], fontsize=8)
    axes.set_title("pairs kept, and dropped (grey), by stage", fontsize=8.5, color=_QUIET, loc="left")


def draw_scores(axes: Axes, model: Path) -> None:
    """Scores of the model beside chance."""
    zero_shot, retrieval = (json.loads((model / f"{name}.json").read_text()) for name in ("zero-shot", "retrieval"))
    texts = retrieval["num_texts"]
    rows = [
        ("zero-shot, 16 unseen classes", zero_shot["top1"], zero_shot["chance"]),
        ("image to text, recall@1", retrieval["image_to_text"][0], 1 / texts),
        ("text to image, recall@1", retrieval["text_to_image"][0], 1 / texts),
    ]
    for place, (_, score, chance) in enumerate(rows):
        axes.barh(-place, 100 * score, color=_BLUE, height=0.5)
        axes.plot([100 * chance] * 2, [-place - 0.35, -place + 0.35], color="#d55e00", linewidth=2)
        axes.text(100 * score, -place, f" {score:.1%}", va="center", fontsize=8, color=_INK)
    axes.set_yticks([-place for place in range(len(rows))], [row[0] for row in rows], fontsize=8)
    axes.set_title("the model, and chance (orange)", fontsize=8.5, color=_QUIET, loc="left")


def main() -> None:
    """Draws the picture."""
    demo = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "demo-data"
    shards = demo / "data" / "shards"
    figure = Figure((11, 4.5), dpi=150)
    figure.text(0.015, 0.95, "samples of the shards, their texts, and the queries that selected them", fontsize=8.5,
                color=_QUIET)  # fmt: skip
    draw_samples(figure, shards)
    for draw, folder, box in (
        (draw_funnel, shards / "card", (0.68, 0.5, 0.27, 0.4)),
        (draw_scores, demo / "model", (0.73, 0.08, 0.22, 0.27)),
    ):
        axes = figure.add_axes(box)
        draw(axes, folder)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelcolor=_INK)
        axes.set_xticks([])
    figure.savefig(HERE / "images" / "demo.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
