"""The token ids of clip_train and of open_clip for the same texts and the same merges file, and the CPU time of both.

    python benchmarks/tokenizer_parity.py --texts captions.txt coco.json table.parquet --peer-python PEERS/bin/python

open_clip's SimpleTokenizer runs in a process of its own, with the merges file that its package brings; ours reads that
file. Both give ids for a context of 77, texts that are longer cut. Every text that differs is counted, by its source,
and the first few are shown. Rounds are interleaved; each is a new process, one thread, so that no round profits from
the words that another remembered. A source is a text file (one text a line) or its .gz, a .csv, .tsv or .parquet table
with a column of texts, or COCO's captions as .json; a folder stands for its files.
The peers' environment: ``pip install torch==2.13.0 torchvision==0.28.0 open_clip_torch==3.3.0``.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision_without_cuda import declare_operators

CONTEXT_LENGTH = 77
TEXT_COLUMNS = ("text", "caption", "title")
NUM_SHOWN = 5


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        run_side(arguments.side, Path(arguments.folder))
        return
    if not arguments.peer_python:
        sys.exit("nothing to compare with: give --peer-python, the Python of an environment with open_clip")
    sources = {path: read_texts(path) for given in arguments.texts for path in list_files(Path(given))}
    texts = [text for found in sources.values() for text in found]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps(texts))
        for _ in range(arguments.rounds):
            for side, python in (
                ("peer", arguments.peer_python),
                ("ours", sys.executable),
            ):  # the peer tells its merges
                start(python, side, folder)
        ours, peer = (np.load(folder / f"{side}.npy") for side in ("ours", "peer"))
        seconds = {side: read_seconds(folder, side) for side in ("ours", "peer")}
    print_differences(sources, (ours != peer).any(axis=1))
    print_times(len(texts), seconds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--texts", nargs="+", default=[], metavar="PATH", help="text, CSV, JSON or Parquet files, folders"
    )
    parser.add_argument("--peer-python", help="Python of an environment with open_clip")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def list_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def read_texts(path: Path) -> list[str]:
    """The texts of a source, each as it stands there."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix == ".json":
        return [annotation["caption"] for annotation in json.loads(content)["annotations"]]
    if path.suffix not in (".csv", ".tsv", ".parquet") and not content.startswith(b"image,caption\n"):
        return content.decode().splitlines()
    rows: list[dict[str, Any]]
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # here, because the peers' environment has none

        rows = pq.read_table(path).to_pylist()
    else:
        rows = list(csv.DictReader(content.decode().splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))
    column = next(name for name in rows[0] if name.lower() in TEXT_COLUMNS)
    return [row[column] for row in rows if row[column]]


def start(python: str, side: str, folder: Path) -> None:
    """One round of one side, in a process of its own."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [python, __file__, "--side", side, "--folder", str(folder)]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL if side == "peer" else None)


def run_side(side: str, folder: Path) -> None:
    texts = json.loads((folder / "texts.json").read_text())
    tokenize = load_peer(folder) if side == "peer" else load_ours(folder)
    begun = time.process_time()
    ids = tokenize(texts)
    taken = time.process_time() - begun
    np.save(folder / f"{side}.npy", np.asarray(ids, dtype=np.int32))
    with open(folder / f"{side}.seconds", "a", encoding="utf-8") as file:
        file.write(f"{taken}\n")


def load_peer(folder: Path) -> Callable[[Sequence[str]], Any]:
    """open_clip's tokenizer; says where its merges are."""
    declared = declare_operators()  # noqa: F841
    from open_clip import tokenizer

    (folder / "merges").write_text(tokenizer.default_bpe())
    simple = tokenizer.SimpleTokenizer()
    return lambda texts: simple(texts, CONTEXT_LENGTH)


def load_ours(folder: Path) -> Callable[[Sequence[str]], Any]:
    import clip_train

    tokenizer = clip_train.ClipTokenizer.load((folder / "merges").read_text())
    return lambda texts: clip_train.tokenize(texts, CONTEXT_LENGTH, truncate=True, tokenizer=tokenizer)


def read_seconds(folder: Path, side: str) -> list[float]:
    return [float(line) for line in (folder / f"{side}.seconds").read_text().splitlines()]


def print_differences(sources: dict[Path, list[str]], differs: np.ndarray) -> None:
    print("| source | texts | other ids |\n|---|---|---|")
    shown, begin = [], 0
    for path, texts in sources.items():
        own = differs[begin : begin + len(texts)]
        begin += len(texts)
        print(f"| {path.name} | {len(texts):,} | {int(own.sum()):,} |")
        shown += [text for text, is_other in zip(texts, own, strict=True) if is_other]
    print(f"| all | {begin:,} | {len(shown):,} |")
    for text in shown[:NUM_SHOWN]:
        print(f"other ids: {text!r:.200}")


def print_times(num_texts: int, seconds: dict[str, list[float]]) -> None:
    ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True)]
    ours, peer = (num_texts / statistics.median(seconds[side]) for side in ("ours", "peer"))
    print(
        f"\n{ours:,.0f} texts per CPU second, open_clip {peer:,.0f}: "
        f"{statistics.median(ratios):.2f} times ({min(ratios):.2f}..{max(ratios):.2f}) over {len(ratios)} rounds"
    )


if __name__ == "__main__":
    main()
