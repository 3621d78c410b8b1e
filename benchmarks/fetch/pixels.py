"""How near stored images come to the best reduction there is: fetch-images and img2dataset against Lanczos.

    python benchmarks/fetch/pixels.py --peer-python peers/bin/python [--photographs FOLDER]

Pictures of 640 x 480 pixels are reduced to a short side of 480 / factor, JPEG quality 95, by both programs as run.py
runs them. What each stored is decoded and compared with the decoded source reduced by Pillow's LANCZOS to that size:
PSNR over RGB, and SSIM of the luma (Gaussian window, sigma 1.5; Wang et al. 2004). Medians over the pictures.
"""

import argparse
import glob
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from statistics import median

import numpy as np
import slow_web
from likeness import Likeness, liken
from measuring import measure
from pictures import make_pictures
from PIL import Image
from programs import Program, Scene, describe_peer, fetch_images, img2dataset
from scenes import Setting, serve_web

SIZE = (640, 480)
FACTORS = (1.25, 1.5, 2, 3, 4, 6, 8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="The interpreter that img2dataset is installed for")
    parser.add_argument("--photographs", metavar="FOLDER", help="Of JPEG files [pictures are drawn]")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, metavar="X", help="Of reduction")
    arguments = parser.parse_args()
    print(describe_peer(arguments.peer_python))
    pictures = make_pictures(arguments.photographs, SIZE)
    print(f"{len(pictures)} pictures\n\n| reduced by | program | PSNR, dB | SSIM | stored |\n|--:|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="fetch-bench-") as folder:
        urls = slow_web.fast_urls(len(pictures), num_hosts=len(pictures), scheme="http")
        with serve_web(Setting(folder, len(pictures), pictures), urls) as (scene, _, _):
            for factor in arguments.factors:
                for program in programs_for(round(SIZE[1] / factor), arguments.peer_python):
                    found = [compare(stored, pictures[at]) for at, stored in stored_images(program, scene)]
                    psnr, ssim = (median(values) for values in zip(*found, strict=True))
                    print(f"| {factor:g} | {program.name} | {psnr:.1f} | {ssim:.4f} | {len(found)} |", flush=True)
    return 0


def programs_for(side_px: int, python: str) -> list[Program]:
    size = f"--image_size={side_px}"
    return [
        img2dataset("img2dataset", python, size, processes=2, threads=64),
        fetch_images("fetch-images", "--image-size", str(side_px)),
    ]


def stored_images(program: Program, scene: Scene) -> Iterator[tuple[int, bytes]]:
    """What a program stores: numbers of pictures, and images."""
    output = os.path.join(scene.folder, "output")
    shutil.rmtree(output, ignore_errors=True)
    run = program.prepare(scene, output)
    measure(run.command, folder=scene.folder, env=run.env, limit_s=900)
    for path in sorted(glob.glob(os.path.join(glob.escape(output), "*.tar"))):
        yield from read_samples(path)


def read_samples(path: str) -> Iterator[tuple[int, bytes]]:
    images, urls = {}, {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            content = tar.extractfile(member).read()
            if suffix == "jpg":
                images[key] = content
            elif suffix == "json":
                urls[key] = json.loads(content)["url"]
    for key, image in images.items():
        yield slow_web.parse_path(slow_web.split_url(urls[key])[1]).picture, image


def compare(stored: bytes, source: bytes) -> Likeness:
    """A stored image against its source, reduced to the same size."""
    with Image.open(io.BytesIO(stored)) as image, Image.open(io.BytesIO(source)) as picture:
        best = picture.convert("RGB").resize(image.size, Image.Resampling.LANCZOS)
        return liken(np.asarray(image.convert("RGB"), np.float64), np.asarray(best, np.float64))


if __name__ == "__main__":
    sys.exit(main())
