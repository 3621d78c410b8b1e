"""The loader of clip_train beside open_clip's: samples a second, and CPU seconds, from the same shards.

    python benchmarks/loading.py --images PHOTOGRAPHS --peer-python PEERS/bin/python

Photographs become JPEG files whose short side is 256 pixels (quality 95), repeated to `--samples`, with invented
captions, in WebDataset shards. Both sides then read one epoch of them for ViT-B/32 by two worker processes, in turn, in
processes of their own: ours as a training run loads them, theirs by `get_wds_dataset` of open_clip's training script
with its training transform. Counted are samples a second after the first batch, and CPU seconds of all processes.
The peers' environment: ``pip install torch==2.13.0 torchvision==0.28.0 'open_clip_torch[training]==3.3.0'``.
"""

import argparse
import io
import json
import logging
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchvision_without_cuda import declare_operators

QUALITY = 95
WORDS = ["a", "the", "red", "old", "photograph", "of", "in", "two", "people", "dog", "street", "bridge", "mountain"]


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(json.dumps({"ours": load_ours, "peer": load_peer}[arguments.side](Path(arguments.shards), arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        num_bytes = write_shards(Path(folder), arguments)
        print(f"{arguments.samples} samples, {num_bytes / arguments.samples / 1000:.0f} kB an image")
        pythons = {"ours": sys.executable, "peer": arguments.peer_python}
        found: dict[str, list[dict[str, float]]] = {side: [] for side in pythons if pythons[side]}
        for _ in range(arguments.rounds):
            for side in found:
                found[side].append(start(pythons[side], side, folder, arguments))
                print(side, found[side][-1], file=sys.stderr, flush=True)
    print_table(found)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", help="folder of photographs")
    parser.add_argument("--peer-python", default="", help="Python of an environment with open_clip; ours alone without")
    parser.add_argument("--samples", type=int, default=4096, help="samples of an epoch [4096]")
    parser.add_argument("--short-side", type=int, default=256, help="pixels; 0: photographs as they are [256]")
    parser.add_argument("--workers", type=int, default=2, help="worker processes [2]")
    parser.add_argument("--batch-size", type=int, default=128, help="pairs in a batch [128]")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds [5]")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--shards", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_shards(folder: Path, arguments: argparse.Namespace) -> int:
    """Writes 8 shards and their sizes; returns the bytes of all images."""
    images = [encode(path, arguments.short_side) for path in list_images(arguments.images)]
    rng = random.Random(0)
    per_shard, total, sizes = arguments.samples // 8, 0, {}
    for shard in range(8):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(per_shard):
                image = images[(shard * per_shard + number) % len(images)]
                text = " ".join(rng.choices(WORDS, k=rng.randint(5, 20)))
                members = {"jpg": image, "txt": text.encode(), "json": json.dumps({"caption": text}).encode()}
                total += len(image)
                for suffix, content in members.items():
                    info = tarfile.TarInfo(f"{shard:04d}{number:06d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        sizes[f"{shard:05d}.tar"] = per_shard
    (folder / "sizes.json").write_text(json.dumps(sizes))
    return total


def encode(path: Path, short_side: int) -> bytes:
    from PIL import Image

    if not short_side:
        return path.read_bytes()
    with Image.open(path) as opened:
        scale = short_side / min(opened.size)
        width, height = (round(length * scale) for length in opened.size)
        image = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def list_images(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


def start(python: str, side: str, folder: str, arguments: argparse.Namespace) -> dict[str, float]:
    """One epoch on one side, in a process of its own."""
    flags = ["--side", side, "--shards", folder, "--samples", str(arguments.samples)]
    flags += ["--workers", str(arguments.workers), "--batch-size", str(arguments.batch_size)]
    environment = {**os.environ, "WIT400M_CACHE": os.path.join(folder, "cache"), "OMP_NUM_THREADS": "1"}
    command = [python, __file__, *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def load_ours(shards: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One epoch by the loader of a training run."""
    import torch

    from clip_train.data.order import EpochOrder
    from clip_train.data.shards import ShardReader, list_shards
    from clip_train.presets import find_preset
    from clip_train.tokenizers.bpe import train_tokenizer
    from clip_train.training.distributed import Ranks
    from clip_train.training.loader import BatchDataset, load_batches

    listed = list_shards([str(shards)])
    reader = ShardReader(listed, lenient=True)
    dataset = BatchDataset(
        reader,
        EpochOrder([shard.num_samples for shard in listed], seed=0, shuffle_shards=8),
        tokenizer=train_tokenizer(reader.texts(1_000), vocab_size=1_000),
        model=find_preset("ViT-B/32").model,
        batch_size=arguments.batch_size,
        ranks=Ranks(),
        crop_seed=0,
        keep_decoded=False,
    )
    reader.close()
    steps = range(arguments.samples // arguments.batch_size)
    return measure(load_batches(dataset, steps, workers=arguments.workers, device=torch.device("cpu")), arguments)


def load_peer(shards: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One epoch by the loader of open_clip's training script."""
    declared = declare_operators()  # noqa: F841
    logging.disable(logging.WARNING)
    import open_clip
    from open_clip_train.data import get_wds_dataset

    data = argparse.Namespace(
        train_data=str(shards / "{00000..00007}.tar"),
        train_num_samples=arguments.samples,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        world_size=1,
    )
    preprocess = open_clip.image_transform(224, is_train=True)
    loader = get_wds_dataset(data, preprocess, is_train=True, tokenizer=open_clip.get_tokenizer("ViT-B-32")).dataloader
    return measure(loader, arguments)


def measure(batches: Iterable[Any], arguments: argparse.Namespace) -> dict[str, float]:
    iterator = iter(batches)
    next(iterator)
    begun, cpu_begun = time.perf_counter(), cpu_seconds()
    num_batches = 0
    for _ in iterator:
        num_batches += 1
        seconds, cpu = time.perf_counter() - begun, cpu_seconds() - cpu_begun  # the last time while workers live
    samples = num_batches * arguments.batch_size
    return {"samples_per_s": samples / seconds, "cpu_ms": 1000 * cpu / samples}


def cpu_seconds() -> float:
    """Of this process and its workers, which are alive."""
    total = time.process_time()
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time
    return total


def print_table(found: dict[str, list[dict[str, float]]]) -> None:
    print("\n| loader | samples/s | CPU ms a sample |\n|---|---|---|")
    for side, rounds in found.items():
        cells = []
        for name, digits in (("samples_per_s", 0), ("cpu_ms", 2)):
            values = [one[name] for one in rounds]
            cells.append(
                f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"
            )
        print(f"| {side} | {' | '.join(cells)} |")
    if len(found) == 2:
        pairs = list(zip(found["ours"], found["peer"], strict=True))
        faster = [ours["samples_per_s"] / peer["samples_per_s"] for ours, peer in pairs]
        less = [peer["cpu_ms"] / ours["cpu_ms"] for ours, peer in pairs]
        for what, ratios in (("times the samples/s", faster), ("times less CPU", less)):
            print(f"{what}: {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})")


if __name__ == "__main__":
    main()
