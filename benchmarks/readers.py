"""Other people's readers on a finished set of shards: whether each reads every sample, its image and its text.

    python -m venv /tmp/readers && /tmp/readers/bin/pip install datasets webdataset wids img2dataset mlcroissant
    /tmp/readers/bin/python benchmarks/readers.py SHARDS

Runs in any environment and knows nothing of ours: what is installed there is tried, what is not is said. The truth is
what Python's `tarfile` finds in the tars that the manifest names. open_clip is best installed in an environment of its
own: ``pip install torch==2.13.0 torchvision==0.28.0 'open_clip_torch[training]==3.3.0'``. The exit code is 1 when a
reader lost or changed something.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from torchvision_without_cuda import declare_operators

Sample = tuple[str, str]  # digest of the pixels, text
Reader = Callable[[Path], Iterator[Sample]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, metavar="SHARDS", help="Folder of a finished set.")
    shards = parser.parse_args().shards.absolute()
    wanted = sorted(read_tars(shards))
    print(f"{len(wanted):,} samples\n\n| reader | version | samples | all there and the same |\n|---|---|--:|---|")
    failed = False
    for name, (package, reader) in READERS.items():
        owners = importlib.metadata.packages_distributions().get(package, [])
        if not owners:
            print(f"| {name} | not installed | | |")
            continue
        version = f"{owners[0]} {importlib.metadata.version(owners[0])}"
        try:
            found, error = sorted(reader(shards)), ""
        except Exception as problem:
            found, error = [], f"{type(problem).__name__}: {str(problem).splitlines()[0][:100]}"
        failed |= found != wanted
        print(f"| {name} | {version} | {len(found):,} | {error or ('yes' if found == wanted else 'no')} |", flush=True)
    return int(failed)


def digest(image: Image.Image) -> str:
    return hashlib.md5(image.convert("RGB").tobytes()).hexdigest()


def splits(shards: Path) -> dict[str, list[str]]:
    """The tars of each split that has some."""
    found: dict[str, list[str]] = {}
    for entry in json.loads((shards / "manifest.json").read_text())["shards"]:
        found.setdefault(entry.get("split", "train"), []).append(str(shards / entry["name"]))
    return found


def tars(shards: Path) -> list[str]:
    return [path for paths in splits(shards).values() for path in paths]


def pattern_of(paths: list[str]) -> str:
    """What the shards of a split are called in shells: those from the first number to the last."""
    (before, first, after), (_, last, _) = (
        re.split(r"(?<!\d)(\d{5,})(?=\D*(?:\d+\.tar|tar)$)", p, maxsplit=1) for p in (paths[0], paths[-1])
    )
    return f"{before}{{{first}..{last}}}{after}"


def read_tars(shards: Path) -> Iterator[Sample]:
    """Every sample, by the standard library."""
    for path in tars(shards):
        with tarfile.open(path) as tar:
            members: dict[str, dict[str, bytes]] = {}
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member)
                assert content is not None
                members.setdefault(key, {})[suffix] = content.read()
        for parts in members.values():
            [image] = [data for suffix, data in parts.items() if suffix not in ("txt", "json")]
            yield digest(Image.open(io.BytesIO(image))), parts["txt"].decode()


def read_webdataset(shards: Path) -> Iterator[Sample]:
    import webdataset

    dataset = webdataset.WebDataset(tars(shards), shardshuffle=False).decode("pil")
    for image, text in dataset.to_tuple("jpg;png;webp", "txt"):
        yield digest(image), text


def read_wids(shards: Path) -> Iterator[Sample]:
    import wids

    for split in splits(shards):
        index = shards / ("wids.json" if split == "train" else f"{split}-wids.json")
        with tempfile.TemporaryDirectory() as cache:
            dataset = wids.ShardListDataset(str(index), base=str(shards), cache_dir=cache)
            for number in range(len(dataset)):
                sample = dataset[number]
                [image] = [sample[name] for name in (".jpg", ".png", ".webp") if name in sample]
                image = Image.open(image) if isinstance(image, io.BytesIO) else image  # WebP it leaves to its user
                yield digest(image), sample[".txt"]


def read_by_loader(shards: Path) -> Iterator[Sample]:
    """`load_dataset` by the name of the format."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        for split, paths in splits(shards).items():
            found = datasets.load_dataset("webdataset", data_files={split: paths}, split=split, cache_dir=cache)
            yield from _of_rows(found)


def read_folder(shards: Path) -> Iterator[Sample]:
    """`load_dataset` of the folder."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        for split in splits(shards):
            yield from _of_rows(datasets.load_dataset(str(shards), split=split, cache_dir=cache))


def stream_folder(shards: Path) -> Iterator[Sample]:
    import datasets

    for split in splits(shards):
        yield from _of_rows(datasets.load_dataset(str(shards), split=split, streaming=True))


def _of_rows(rows: Iterator[dict]) -> Iterator[Sample]:
    for row in rows:
        image = next(row[name] for name in ("jpg", "png", "webp") if row.get(name) is not None)
        assert "json" not in row or row["json"]["caption"] == row["txt"]
        yield digest(image), row["txt"]


def read_mlcroissant(shards: Path) -> Iterator[Sample]:
    """The records that ``croissant.json`` tells of, after it was validated."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CROISSANT_CACHE"] = cache  # it would take shards of one name for those of another set
        import mlcroissant

        dataset = mlcroissant.Dataset(jsonld=str(shards / "croissant.json"))
        for record in dataset.records("samples"):
            yield digest(record["samples/image"]), record["samples/caption"].decode()


def read_img2dataset(shards: Path) -> Iterator[Sample]:
    """The tables beside the shards as a list of URLs to download: whether all captions are there."""
    import fsspec
    import pyarrow as pa
    from img2dataset.reader import Reader

    by_text: dict[str, list[str]] = {}
    for pixels, text in read_tars(shards):
        by_text.setdefault(text, []).append(pixels)
    for tables in {os.path.dirname(path) for path in tars(shards)}:
        with tempfile.TemporaryDirectory() as folder:
            for _, path in Reader(tables, "parquet", "url", "caption", None, None, None, 10_000, set(), folder):
                with fsspec.open(path, "rb") as file:
                    for row in pa.ipc.open_file(file).read_all().to_pylist():
                        yield by_text[row["caption"]].pop(), row["caption"]


def read_open_clip(shards: Path) -> Iterator[Sample]:
    """The pipeline of open_clip's training script: made for 2 ranks of 8 workers, and read to its end by 2 workers."""
    declared = declare_operators()  # noqa: F841
    logging.disable(logging.WARNING)
    from open_clip_train.data import get_wds_dataset

    for paths in splits(shards).values():
        pattern = pattern_of(paths)
        arguments = argparse.Namespace(
            train_data=pattern,
            train_num_samples=None,  # from sizes.json
            train_data_upsampling_factors=None,
            val_data=pattern,
            val_num_samples=None,
            dataset_resampled=False,
            seed=0,
            batch_size=1,
            workers=8,
            world_size=2,
        )
        get_wds_dataset(arguments, digest, is_train=True, tokenizer=lambda text: [text])  # wants as many shards
        arguments.workers = 2
        loader = get_wds_dataset(arguments, digest, is_train=False, tokenizer=lambda text: [text]).dataloader
        for digests, texts in loader:
            yield from zip(digests, texts, strict=True)


READERS: dict[str, tuple[str, Reader]] = {
    "webdataset": ("webdataset", read_webdataset),
    "wids": ("wids", read_wids),
    "Hugging Face, webdataset": ("datasets", read_by_loader),
    "Hugging Face, the folder": ("datasets", read_folder),
    "Hugging Face, the folder as a stream": ("datasets", stream_folder),
    "mlcroissant, the records": ("mlcroissant", read_mlcroissant),
    "img2dataset, the tables": ("img2dataset", read_img2dataset),
    "open_clip, training": ("open_clip_train", read_open_clip),
}


if __name__ == "__main__":
    sys.exit(main())
