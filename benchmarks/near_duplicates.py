"""Near-duplicates: planted copies that are found, other pictures that are taken for copies, and what it costs.

    python benchmarks/near_duplicates.py --images flickr8k=DATA/flickr8k/images fashion=DATA/fashion60x80/images.tar

Of every picture of a folder or a tar it makes copies: JPEG of qualities 30 to 95, WebP, half and a third of the size,
cut by 5 % (half of it on either side, or all on one), and in a mirror. Originals and copies go through what
fetch-images does with a picture, and then through the rule of write-shards. Printed are, by distance: of each kind of
copy, how many are found alike to their original; how many pairs of originals are found, which are either copies too or
mistakes (--sheets FOLDER lays those side by side, to be looked at); of all samples together, originals and copies, how
many leave and how many of these wrongly, for there is nothing of the same original with a smaller key; and CPU time.
"""

import argparse
import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from pipeline.base.schemas import LOOKS, PAIR_ID
from pipeline.pixels.averages import average_cells
from pipeline.pixels.hashing import hash_averages
from pipeline.pixels.images import CheckedImage, ImageRules, normalize_image
from pipeline.pixels.looks import Looks, describe_averages, looks_array
from pipeline.sharding.selection.alike import DISTANCE, find_alike
from pipeline.sharding.selection.near_duplicates import Alikeness, find_copies, make_records

RULES = ImageRules(min_side_px=8, max_aspect_ratio=20)  # of tiny pictures a third is tinier
SHEET = (10, 12)  # pairs across and down
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Picture = Image.Image


class Planted(NamedTuple):
    """A data set with copies.

    Attributes:
        sources: The originals' files.
        looks: Of the originals, and of each kind of copy; rows of pictures that some copy was refused of are missing.
    """

    sources: list[bytes]
    looks: dict[str, Looks]


def encode(picture: Picture, kind: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def reduce(picture: Picture, by: int) -> bytes:
    size = [max(1, round(side / by)) for side in picture.size]
    return encode(picture.resize(size, Image.Resampling.LANCZOS), "JPEG", 85)


def cut(picture: Picture, *, left: float, right: float, ends: float) -> bytes:
    width, height = picture.size
    box = (width * left, height * ends, width * (1 - right), height * (1 - ends))
    return encode(picture.crop(tuple(map(round, box))), "JPEG", 90)


def as_jpeg(quality: int) -> Callable[[Picture], bytes]:
    return lambda picture: encode(picture, "JPEG", quality)


COPIES: dict[str, Callable[[Picture], bytes]] = {
    **{f"JPEG q{quality}": as_jpeg(quality) for quality in (30, 50, 75, 95)},
    "WebP q50": lambda picture: encode(picture, "WEBP", 50),
    "WebP q80": lambda picture: encode(picture, "WEBP", 80),
    "half": lambda picture: reduce(picture, 2),
    "third": lambda picture: reduce(picture, 3),
    "cut all round": lambda picture: cut(picture, left=0.025, right=0.025, ends=0.025),
    "cut on a side": lambda picture: cut(picture, left=0.05, right=0, ends=0),
    "mirrored": lambda picture: encode(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", 90),
}
NOT_PLANTED = ("cut all round", "cut on a side", "mirrored")  # when samples that leave are counted


def read_sources(path: Path) -> Iterator[bytes]:
    """The files of pictures in a folder or a tar, in the order of their names."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                yield file.read_bytes()
        return
    with tarfile.open(path) as tar:
        for member in sorted((m for m in tar if m.name.lower().endswith(SUFFIXES)), key=lambda m: m.name):
            yield tar.extractfile(member).read()


def plant(path: Path) -> Planted:
    """Makes the copies of a data set."""
    sources, rows = [], []
    for source in read_sources(path):
        with Image.open(io.BytesIO(source)) as image:
            picture = image.convert("RGB")
        made = [normalize_image(data, RULES) for data in (source, *(copy(picture) for copy in COPIES.values()))]
        if all(isinstance(image, CheckedImage) for image in made):
            sources.append(source)
            rows.append([image.looks for image in made])
    columns = zip(*rows, strict=True)
    arrays = [looks_array(pa.array(column, LOOKS)) for column in columns]
    return Planted(sources, dict(zip(("original", *COPIES), arrays, strict=True)))


def find_recalls(planted: Planted, distance: float) -> dict[str, float]:
    """Of each kind of copy, the share that is found alike to its original."""
    recalls = {}
    for kind, looks in planted.looks.items():
        ones, others = find_alike(planted.looks["original"], looks, distance=distance, mirrored=kind == "mirrored")
        recalls[kind] = np.count_nonzero(ones == others) / len(looks)
    del recalls["original"]
    return recalls


def find_pairs(planted: Planted, distance: float, *, mirrored: bool) -> np.ndarray:
    """Pairs of originals that are found and are not the same bytes: [pairs, 2]."""
    looks = planted.looks["original"]
    pairs = np.stack(find_alike(looks, looks, distance=distance, mirrored=mirrored), axis=1)
    digests = [hashlib.sha256(source).digest() for source in planted.sources]
    return np.array([(one, other) for one, other in pairs.tolist() if one < other and digests[one] != digests[other]])


class Selection(NamedTuple):
    """What the rule does with originals and copies together."""

    samples: int
    leave: int
    wrongly: int
    stay_wrongly: int
    pack_us: float  # of CPU, a sample
    find_us: float


def select(planted: Planted, distance: float) -> Selection:
    """Runs the rule on originals and copies, under random keys."""
    kinds = [looks for kind, looks in planted.looks.items() if kind not in NOT_PLANTED]
    digests = [hashlib.sha256(source).digest() for source in planted.sources]
    looks, origins = np.concatenate(kinds), np.tile([digests.index(digest) for digest in digests], len(kinds))
    keys = np.random.default_rng(0).bytes(16 * len(looks))
    ids = pa.FixedSizeBinaryArray.from_buffers(PAIR_ID, len(looks), [None, pa.py_buffer(keys)])
    column = pa.FixedSizeBinaryArray.from_buffers(LOOKS, len(looks), [None, pa.py_buffer(looks.tobytes())])
    begin = time.process_time()
    records = make_records(pa.table({"pair_id": ids, "looks": column}), Alikeness(False, distance, False))
    packed = time.process_time()
    found = b"".join(rows for _, rows in find_copies([records.tobytes()], distance=distance))
    ended = time.process_time()
    leaves = np.zeros(len(looks), bool)
    leaves[np.frombuffer(found, np.int32)] = True
    names, is_first = np.frombuffer(keys, "S16"), np.zeros(len(looks), bool)
    order = np.lexsort((names, origins))
    is_first[order[np.flatnonzero(np.diff(origins[order], prepend=-1))]] = True
    scale = 1e6 / len(looks)
    return Selection(
        len(looks),
        int(leaves.sum()),
        int((leaves & is_first).sum()),
        int((~leaves & ~is_first).sum()),
        (packed - begin) * scale,
        (ended - packed) * scale,
    )


def draw_sheet(path: Path, planted: Planted, pairs: np.ndarray) -> None:
    """Lays pairs side by side."""
    across, down = SHEET
    sheet = Image.new("RGB", (across * 180, down * 115), "gray")
    draw = ImageDraw.Draw(sheet)
    for place, pair in enumerate(pairs[: across * down].tolist()):
        left, top = place % across * 180, place // across * 115
        draw.text((left + 4, top), f"{pair[0]} {pair[1]}", fill="white")
        for side, row in enumerate(pair):
            with Image.open(io.BytesIO(planted.sources[row])) as image:
                image.thumbnail((86, 100))
                sheet.paste(image, (left + 2 + 88 * side, top + 13))
    sheet.save(path)


def describe_costs(planted: Planted) -> str:
    """Milliseconds of CPU a picture, of the first hundred."""
    sources = planted.sources[:100]
    stored = [Image.open(io.BytesIO(normalize_image(source, RULES).data)) for source in sources]
    pictures = [np.asarray(image.convert("RGB")) for image in stored]
    averages = [average_cells(picture) for picture in pictures]
    works = {
        "all that fetch-images does with its bytes": (lambda: [normalize_image(source, RULES) for source in sources]),
        "averages": (lambda: [average_cells(picture) for picture in pictures]),
        "hash of them": (lambda: [hash_averages(planes) for planes in averages]),
        "descriptor of them": (lambda: [describe_averages(planes) for planes in averages]),
    }
    return ", ".join(f"{name} {cpu_ms(work) / len(sources):.3f} ms" for name, work in works.items())


def cpu_ms(work: Callable[[], object]) -> float:
    """The least CPU of a few runs."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1000 * min(times)


def main() -> None:
    """Prints what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True, metavar="NAME=PATH", help="folders or tars of pictures")
    parser.add_argument("--distances", nargs="+", type=float, default=[DISTANCE, 0.1, 0.2], metavar="SHARE")
    parser.add_argument("--sheets", type=Path, help="where to lay pairs of originals side by side")
    arguments = parser.parse_args()
    for name, _, path in (given.partition("=") for given in arguments.images):
        planted = plant(Path(path))
        print(f"\n{name}: {len(planted.sources):,} pictures; CPU a picture: {describe_costs(planted)}", flush=True)
        for distance in arguments.distances:
            recalls = find_recalls(planted, distance)
            print(f"  distance {distance}: " + ", ".join(f"{kind} {recall:.4f}" for kind, recall in recalls.items()))
            for mirrored in (False, True):
                pairs = find_pairs(planted, distance, mirrored=mirrored)
                words = "with mirrors, " if mirrored else ""
                print(f"    {words}pairs of originals that are not the same bytes: {len(pairs):,}")
                if arguments.sheets and len(pairs):
                    arguments.sheets.mkdir(parents=True, exist_ok=True)
                    draw_sheet(arguments.sheets / f"{name}-{distance}{'-mirrored' * mirrored}.png", planted, pairs)
            found = select(planted, distance)
            print(
                f"    of {found.samples:,} samples {found.leave:,} leave, {found.wrongly:,} of them wrongly (precision "
                f"{1 - found.wrongly / found.leave:.4f}), {found.stay_wrongly:,} stay wrongly; CPU a sample: "
                f"{found.pack_us:.1f} us packing, {found.find_us:.1f} us finding",
                flush=True,
            )


if __name__ == "__main__":
    main()
