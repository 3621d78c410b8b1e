"""Pixels of fetch-images: how near to the best resize, and what it costs.

    python benchmarks/pixels.py --images /data/photographs
    python benchmarks/pixels.py --images /data/photographs --peer-python /tmp/peer/bin/python

Reads JPEG photographs below a folder. Quality: PSNR and SSIM against a full decode and Pillow's LANCZOS, at reductions
of 2, 4 and 8, of what the stage makes before it is encoded, and of Pillow's `draft` to the target with BICUBIC. With
--peer-python, the Python of an environment that has opencv-python and numpy, also of OpenCV's decode and AREA resize,
which is what img2dataset does. Cost: milliseconds of CPU a picture, by step and bytes to bytes; the candidates take
turns, the least of the rounds counts.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from pipeline.base import files
from pipeline.pixels.averages import average_cells
from pipeline.pixels.hashing import hash_averages
from pipeline.pixels.image_headers import Size
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.pixels.jpeg import decode_jpeg, encode_jpeg, read_jpeg
from pipeline.pixels.looks import describe_averages
from pipeline.pixels.resizing import fit_size, resize

REDUCTIONS = (2, 4, 8)
SIDE = 256
QUALITY = 95

PEER = """
import sys, time
import cv2, numpy as np
cv2.setNumThreads(1)
names, output, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
pictures = {}
jobs = [line.rsplit("\\t", 2) for line in open(names).read().splitlines()]
for number, (path, width, height) in enumerate(jobs):
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    pictures[str(number)] = cv2.resize(picture, (int(width), int(height)), interpolation=cv2.INTER_AREA)[..., ::-1]
np.savez(output, **pictures)
sources = [open(path, "rb").read() for path in sorted({path for path, _, _ in jobs})]
best = []
for source in sources:
    times = []
    for _ in range(5):
        begin = time.thread_time()
        picture = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
        scale = side / min(picture.shape[:2])
        if scale < 1:
            size = tuple(round(edge * scale) for edge in picture.shape[1::-1])
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        times.append(time.thread_time() - begin)
    best.append(min(times))
print(1000 * sum(best) / len(best))
"""


def with_draft(source: bytes, size: Size) -> np.ndarray:
    """Pillow's own: reduced by the decoder to no less than the target, then bicubic."""
    image = Image.open(io.BytesIO(source))
    image.draft(None, size)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def as_stored(source: bytes, size: Size) -> np.ndarray:
    """What the stage makes of it."""
    whole = Size(*Image.open(io.BytesIO(source)).size)
    return resize(decode_jpeg(source, size=whole, wanted=size), size)


def at_best(source: bytes, size: Size) -> np.ndarray:
    """What the others are compared with."""
    return np.asarray(Image.open(io.BytesIO(source)).convert("RGB").resize(size, Image.Resampling.LANCZOS))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise, decibels."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of the gray pictures, windows of 7 x 7 (Wang et al., 2004)."""
    x, y = (picture.astype(float) @ [0.299, 0.587, 0.114] for picture in (one, other))
    mean_x, mean_y = uniform_filter(x, 7), uniform_filter(y, 7)
    var_x, var_y = uniform_filter(x * x, 7) - mean_x**2, uniform_filter(y * y, 7) - mean_y**2
    both = uniform_filter(x * y, 7) - mean_x * mean_y
    low, high = 2.55**2, 7.65**2
    ratio = (2 * mean_x * mean_y + low) * (2 * both + high) / ((mean_x**2 + mean_y**2 + low) * (var_x + var_y + high))
    return float(ratio.mean())


def pillow_whole(source: bytes) -> None:
    """Bytes to bytes by Pillow alone, as the stage did it before."""
    image = Image.open(io.BytesIO(source))
    size = fit_size(Size(*image.size), mode="short_side", side=SIDE, enlarge=False).scaled
    Image.fromarray(with_draft(source, size)).save(io.BytesIO(), "JPEG", quality=QUALITY)


def describe(picture: np.ndarray) -> None:
    """What the stage finds out of a picture that it stores."""
    averages = average_cells(picture)
    hash_averages(averages)
    describe_averages(averages)


def cpu_ms(work: Callable[[], object], rounds: int = 5) -> float:
    """The least CPU of a few runs."""
    times = []
    for _ in range(rounds):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return 1000 * min(times)


def measure_costs(sources: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of CPU a picture, by step."""
    rules = {name: ImageRules(reencode=name) for name in ("always", "never")}
    totals: dict[str, list[float]] = {}
    normalize_image(sources[0], rules["always"])
    for source in sources:
        size = Size(*Image.open(io.BytesIO(source)).size)
        wanted = fit_size(size, mode="short_side", side=SIDE, enlarge=False).scaled
        decoded = decode_jpeg(source, size=size, wanted=wanted)
        small = resize(decoded, wanted)
        steps: dict[str, Callable[[], object]] = {
            "structure": lambda source=source: read_jpeg(source, keep_icc=False, orientation_kept=False),
            "decode": lambda source=source, size=size, wanted=wanted: decode_jpeg(source, size=size, wanted=wanted),
            "resize": lambda decoded=decoded, wanted=wanted: resize(decoded, wanted),
            "encode": lambda small=small: encode_jpeg(small, QUALITY),
            "averages, hash, descriptor": lambda small=small: describe(small),
            "whole": lambda source=source: normalize_image(source, rules["always"]),
            "verified only": lambda source=source: normalize_image(source, rules["never"]),
            "whole by Pillow, not hashed": lambda source=source: pillow_whole(source),
        }
        for name, work in steps.items():
            totals.setdefault(name, []).append(cpu_ms(work))
    return {name: statistics.mean(times) for name, times in totals.items()}


def run_peer(python: str, jobs: Sequence[tuple[str, Size]]) -> tuple[list[np.ndarray], float]:
    """OpenCV's pictures, and its milliseconds of CPU a picture, bytes to bytes."""
    with tempfile.TemporaryDirectory() as folder:
        names, output = f"{folder}/names", f"{folder}/pictures.npz"
        with open(names, "w") as file:
            file.writelines(f"{path}\t{size.width}\t{size.height}\n" for path, size in jobs)
        command = [python, "-c", PEER, names, output, str(SIDE)]
        spent = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        with np.load(output) as found:
            return [found[str(number)] for number in range(len(jobs))], spent


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of JPEG photographs")
    parser.add_argument("--number", type=int, default=60, help="how many are used, the largest files first")
    parser.add_argument("--peer-python", default="", help="Python of an environment with opencv-python")
    arguments = parser.parse_args()
    paths = files.list_files(arguments.images, ".jpg")
    if not paths:
        sys.exit(f"no .jpg below {arguments.images}")
    paths = sorted(paths, key=files.file_size, reverse=True)[: arguments.number]
    sources = []
    for path in paths:
        with open(path, "rb") as file:
            sources.append(file.read())
    print(f"{len(paths)} photographs, {sum(map(len, sources)) / len(sources) / 1000:.0f} kB each")
    jobs = []
    for path, source in zip(paths, sources, strict=True):
        width, height = Image.open(io.BytesIO(source)).size
        jobs += [(path, Size(round(width / by), round(height / by))) for by in REDUCTIONS]
    candidates: dict[str, list[np.ndarray]] = {
        name: [make(sources[number // len(REDUCTIONS)], size) for number, (_, size) in enumerate(jobs)]
        for name, make in (("best", at_best), ("ours", as_stored), ("Pillow draft", with_draft))
    }
    costs = measure_costs(sources)
    if arguments.peer_python:
        candidates["OpenCV AREA"], costs["whole by OpenCV, not hashed"] = run_peer(arguments.peer_python, jobs)
    best = candidates.pop("best")
    print("\nagainst Lanczos    " + "".join(f"{by:>8}x              " for by in REDUCTIONS))
    for name, pictures in candidates.items():
        cells = []
        for first in range(len(REDUCTIONS)):
            pairs = list(zip(pictures[first :: len(REDUCTIONS)], best[first :: len(REDUCTIONS)], strict=True))
            decibels = statistics.mean(psnr(*pair) for pair in pairs)
            cells.append(f"{decibels:6.2f} dB  SSIM {statistics.mean(ssim(*pair) for pair in pairs):.4f}")
        print(f"{name:<18} " + "   ".join(cells))
    print("\nms of CPU a picture")
    for name, spent in costs.items():
        print(f"{name:<28} {spent:6.2f}")


if __name__ == "__main__":
    main()
