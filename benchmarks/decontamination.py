"""Evaluation images among samples: how many copies are found, how many others are taken for one, what looking costs.

    python benchmarks/decontamination.py --images flickr=/data/flickr8k fashion=/data/fashion.tar \
        --planted flickr fashion --sheet /tmp/sheet.jpg
    python benchmarks/decontamination.py --images flickr=/data/flickr8k fashion=/data/fashion.tar --cost 10000 100000

With --planted: of the sets named by --planted some images, evenly, are the evaluation set. Copies of them (JPEG of
several qualities, WebP, smaller ones, a crop, all at once) and all other images go through what fetch-images does to
pictures, and are compared with it. Others that are found are named, and shown on the sheet beside what they were found
to be, since sets hold copies of their own. Photograph-like noise of random sizes makes up for others that sets lack.
With --cost: looks of as many evaluation images are made up of those of the sets, and CPU time a row is told.
"""

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.pixels.images import CheckedImage, ImageRules, make_uniform
from pipeline.pixels.looks import LOOKS_BYTES, STEPS
from pipeline.sharding.evaluation.index import EvaluationArrays, EvaluationIndex
from pipeline.sharding.evaluation.readers import read_unit
from pipeline.sharding.evaluation.sets import EVALUATED, describe_evaluated
from pipeline.sharding.evaluation.sources import cut_units, list_sources, parse_sets

RULES = ImageRules(min_side_px=1, max_aspect_ratio=100)
ROWS_AT_ONCE = 10_000
THUMB = 120


def encode(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def smaller(picture: Image.Image, share: float) -> Image.Image:
    size = (max(8, round(picture.width * share)), max(8, round(picture.height * share)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def crop(picture: Image.Image, share: float) -> Image.Image:
    """A picture without a strip of a share of its sides, all around together."""
    width, height = round(picture.width * share / 2), round(picture.height * share / 2)
    return picture.crop((width, height, picture.width - width, picture.height - height))


COPIES: Mapping[str, Callable[[Image.Image], bytes]] = {
    **{f"JPEG {quality}": lambda picture, q=quality: encode(picture, quality=q) for quality in (30, 50, 75, 95)},
    "WebP 50": lambda picture: encode(picture, "WEBP", quality=50),
    "half size": lambda picture: encode(smaller(picture, 1 / 2), quality=85),
    "third size": lambda picture: encode(smaller(picture, 1 / 3), quality=85),
    "half size, JPEG 30": lambda picture: encode(smaller(picture, 1 / 2), quality=30),
    "crop of 2 %": lambda picture: encode(crop(picture, 0.02), quality=85),
    "crop of 5 %": lambda picture: encode(crop(picture, 0.05), quality=85),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True, metavar="NAME=PATH", help="Sets of images")
    parser.add_argument("--planted", nargs="+", default=[], metavar="NAME", help="Sets whose images are looked for")
    parser.add_argument("--number", type=int, default=200, metavar="N", help="How many of these [200]")
    parser.add_argument("--others", type=int, default=10_000, metavar="N", help="How many others at least [10000]")
    parser.add_argument("--sheet", metavar="FILE", help="Where to show the others that are found, as a JPEG")
    parser.add_argument("--cost", type=int, nargs="+", default=[], metavar="N", help="Evaluation images made up")
    parser.add_argument("--rows", type=int, default=50_000, metavar="N", help="Samples compared with those [50000]")
    arguments = parser.parse_args()
    images = dict(read_images(arguments.images))
    if arguments.planted:
        find_copies(images, arguments)
    if arguments.cost:
        known: dict[str, list[bytes]] = {}
        for name, data in images.items():
            known.setdefault(name.partition("/")[0], []).append(describe(data))
        for number in arguments.cost:
            measure_cost(number, arguments.rows, known)


def find_copies(images: Mapping[str, bytes], arguments: argparse.Namespace) -> None:
    """Prints what is found of the copies and of all others."""
    planted = choose(images, arguments.planted, arguments.number)
    index = make_index([describe_all(images[name]) for name in planted])
    print(f"{len(planted)} evaluation images of {', '.join(arguments.planted)}")
    for kind, copy in COPIES.items():
        rows = [describe(copy(Image.open(io.BytesIO(images[name])))) for name in planted]
        hits = index.find_hits(rows_table(rows), phash_distance=0)
        own = {int(hit["row"]) for hit in hits if hit["row"] == hit["image"]}
        print(f"{kind:<20} {len(own) / len(planted):7.1%} found", flush=True)
    known = {images[name] for name in planted}
    others = {name: data for name, data in images.items() if data not in known}
    print(f"others: {dict(Counter(name.partition('/')[0] for name in others))}", end=" ")
    others |= {f"noise/{number}": noise(number) for number in range(max(0, arguments.others - len(others)))}
    names = list(others)
    hits = index.find_hits(rows_table([describe(data) for data in others.values()]), phash_distance=0)
    found = [(names[hit["row"]], planted[hit["image"]]) for hit in hits]
    print(f"and {len(others):,} in all: {len({one for one, _ in found})} found")
    print("\n".join(f"  {one}  as  {other}" for one, other in found))
    if arguments.sheet and found:
        show_pairs([(others[one], images[other]) for one, other in found]).save(arguments.sheet)


def read_images(asked: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The images of some sets, by ``SET/NAME``."""
    sets = parse_sets(asked)
    sources = list_sources(sets)
    for unit in cut_units(sources):
        for source, found in read_unit(unit, sources):
            if found.image is not None:
                yield f"{sets[source.number].name}/{found.name}", found.image


def choose(images: Mapping[str, bytes], sets: Sequence[str], number: int) -> list[str]:
    """Images of some sets, as many of each, evenly; of equal ones the first."""
    first = {data: name for name, data in reversed(images.items())}
    chosen = []
    for one in sets:
        names = [name for name in first.values() if name.startswith(f"{one}/")][::-1]
        chosen += [names[place * len(names) * len(sets) // number] for place in range(number // len(sets))]
    return chosen


def describe(data: bytes) -> bytes:
    """The looks of an image as it would be stored."""
    image = make_uniform(data, RULES)
    assert isinstance(image, CheckedImage), image
    return image.looks


def describe_all(data: bytes) -> list[bytes]:
    """The looks of an evaluation image, whole and cut."""
    rows, refusal = describe_evaluated(data, [RULES])
    assert not refusal, refusal
    return [row["looks"] for row in rows if "looks" in row]


def make_index(looks: Sequence[Sequence[bytes]]) -> EvaluationIndex:
    """An index of images with some looks each."""
    flat = np.frombuffer(b"".join(one for its in looks for one in its), np.int8).reshape(-1, LOOKS_BYTES)
    images = np.repeat(np.arange(len(looks)), [len(its) for its in looks])
    nothing = np.empty(0, np.int64)
    return EvaluationIndex(
        EvaluationArrays(
            sets=np.zeros(len(looks), np.int32),
            digests=np.empty(0, "S32"),
            digest_images=nothing,
            phashes=nothing.view(np.uint64),
            phash_images=nothing,
            looks=flat,
            looks_images=images,
        )
    )


def rows_table(looks: Sequence[bytes]) -> pa.Table:
    """Samples with some looks."""
    digests = [row.to_bytes(32, "big") for row in range(len(looks))]
    schema = pa.schema([EVALUATED.field(name) for name in ("sha256", "phash", "looks")])
    return pa.table({"sha256": digests, "phash": [None] * len(looks), "looks": looks}, schema)


def noise(seed: int) -> bytes:
    """A picture with the spectrum of a photograph."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(40, 160))
    steps = np.fft.fftfreq(side)
    falling = 1 / np.maximum(np.hypot(steps[:, None], steps[None]), 1 / side)
    planes = np.stack([np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * falling).real for _ in range(3)], -1)
    mixed = planes @ np.array([[1, 1, 1], [0.3, 0, -0.3], [0.1, -0.2, 0.1]])
    levels = rng.uniform(60, 200) + rng.uniform(20, 60) * mixed / mixed.std()
    return encode(Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)), quality=90)


def measure_cost(number: int, num_rows: int, known: Mapping[str, Sequence[bytes]]) -> None:
    """Prints CPU time a row for as many evaluation images of each set, and rows of each.

    Args:
        number: Of evaluation images.
        num_rows: That are compared with them.
        known: Looks of the images of each set.
    """
    rng = np.random.default_rng(0)
    for name, looks in known.items():
        # Looks of an image cut in several ways differ by a few levels.
        shifts = rng.normal(0, 12 / np.sqrt(LOOKS_BYTES), (5, number, LOOKS_BYTES)) / STEPS
        cut = np.clip(np.rint(mix_looks(looks, number, rng) + shifts), -127, 127).astype(np.int8)
        index = make_index([[one.tobytes() for one in its] for its in cut.transpose(1, 0, 2)])
        for other, others in known.items():
            table = rows_table([row.tobytes() for row in mix_looks(others, num_rows, rng)])
            begin = time.process_time()
            for first in range(0, num_rows, ROWS_AT_ONCE):
                index.find_hits(table.slice(first, ROWS_AT_ONCE), phash_distance=0)
            spent = time.process_time() - begin
            print(
                f"{number:,} images of {name}, rows of {other}: {spent / num_rows * 1e6:.1f} CPU us a row", flush=True
            )


def mix_looks(known: Sequence[bytes], number: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Looks made up of those of two images each."""
    looks = np.frombuffer(b"".join(known), np.int8).reshape(-1, LOOKS_BYTES).astype(float)
    one, other = (looks[rng.integers(len(looks), size=number)] for _ in range(2))
    share = rng.uniform(0, 0.5, (number, 1))
    mixed: npt.NDArray[np.int8] = np.rint(one * (1 - share) + other * share).astype(np.int8)
    return mixed


def show_pairs(pairs: Sequence[tuple[bytes, bytes]]) -> Image.Image:
    """Pictures side by side, eight pairs a row."""
    sheet = Image.new("RGB", (16 * THUMB, -(-len(pairs) // 8) * THUMB), "gray")
    for place, pair in enumerate(pairs):
        for side, data in enumerate(pair):
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            picture.thumbnail((THUMB - 4, THUMB - 4))
            sheet.paste(picture, ((place % 8 * 2 + side) * THUMB, place // 8 * THUMB))
    return sheet


if __name__ == "__main__":
    main()
