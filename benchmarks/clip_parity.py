"""The same weights and inputs in clip_train and in open_clip: features, logits, loss, gradients, pixels, CPU time.

    python benchmarks/clip_parity.py --images FOLDER --captions FILE --peer-python PEERS/bin/python

A model of ours starts at random (batch-norm gains and statistics are shaken, so that every branch counts), is written
by ``export --format open-clip`` and read by open_clip in a process of its own with ``local-dir:``. Both get the same
real images and captions and give their features and logits in evaluation mode, and loss and gradients of one training
batch. Differences are the largest of all elements; gradients are compared by their norm, over all tensors together
and for the worst tensor (those whose gradient is nothing but rounding, such as the bias of attention keys, left out).
Then both prepare the same images, and take whole training steps, one thread each, in turn; CPU seconds are taken.
The peers' environment: ``pip install torch==2.13.0 torchvision==0.28.0 open_clip_torch==3.3.0``.
"""

import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision_without_cuda import declare_operators

MODELS = ("tiny-64", "ViT-B/32", "RN50")
CONTEXT = 77  # tokens to which the peer fills up every text
WEIGHT_DECAY, LEARNING_RATE = 0.2, 1e-5
IS_ROUNDING = 1e-6  # gradients this much smaller than all together are zero but for rounding

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # images, ids -> features, features, logits


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    if arguments.peer:
        run_peer(Path(arguments.peer), arguments)
        return
    if arguments.ours:
        run_ours(Path(arguments.ours), arguments)
        return
    if not arguments.peer_python:
        sys.exit("nothing to compare with: give --peer-python, the Python of an environment with open_clip")
    print("| model | image features | text features | logits | loss | gradients, all | worst tensor | pixels, of 255 |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), name, arguments)
            for _ in range(arguments.rounds):
                start(sys.executable, "--ours", folder, arguments)
                start(arguments.peer_python, "--peer", folder, arguments)
            print_differences(name, Path(folder))
            ratios[name] = [read_seconds(Path(folder), side) for side in ("ours", "peer")]
    print_times(ratios, arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", help="folder of images")
    parser.add_argument("--captions", help="CSV with the columns image and caption")
    parser.add_argument("--peer-python", help="Python of an environment with open_clip")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help=f"models to compare [{' '.join(MODELS)}]")
    parser.add_argument("--batch-size", type=int, default=32, help="pairs in a batch [32]")
    parser.add_argument("--pixel-images", type=int, default=200, help="images whose pixels are compared [200]")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds [3]")
    parser.add_argument("--steps", type=int, default=2, help="training steps timed in a round, after one more [2]")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    return parser.parse_args()


def start(python: str, side: str, folder: str, arguments: argparse.Namespace) -> None:
    """One round of one side, in a process of its own."""
    flags = [side, folder, "--images", arguments.images, "--steps", str(arguments.steps)]
    flags += ["--pixel-images", str(arguments.pixel_images)]
    subprocess.run([python, __file__, *flags], check=True, stderr=subprocess.DEVNULL if side == "--peer" else None)


def prepare(folder: Path, name: str, arguments: argparse.Namespace) -> None:
    """Writes the model, as both sides read it, and a batch."""
    import clip_train
    from clip_train.exchange.formats import write_model
    from clip_train.models.clip import Clip
    from clip_train.presets import find_preset
    from clip_train.training.checkpoint import save_model

    torch.manual_seed(0)
    model = Clip(find_preset(name).model.with_text(context_length=CONTEXT))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.7)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    save_model(str(folder / "ours"), model)
    write_model(model, str(folder / "open_clip"), format="open-clip")
    with open(arguments.captions, encoding="utf-8", newline="") as file:
        captions = {row["image"]: row["caption"] for row in csv.DictReader(file)}
    tokenizer = clip_train.train_tokenizer(captions.values(), vocab_size=model.config.text.vocab_size)
    paths = [path for path in list_images(arguments.images) if path.name in captions][: arguments.batch_size]
    preprocess = clip_train.Preprocess(model.config.image.image_size)
    batch = {
        "images": torch.stack([preprocess(read_image(path)) for path in paths]),
        "ids": tokenizer.tokenize([captions[path.name] for path in paths], model.config.text.context_length),
    }
    save_file(batch, folder / "batch.safetensors")


def run_ours(folder: Path, arguments: argparse.Namespace) -> None:
    """Our side of a round."""
    import clip_train
    from clip_train.config import TrainConfig
    from clip_train.models.text import trim_padding
    from clip_train.training.distributed import Ranks
    from clip_train.training.loop import PairLoss
    from clip_train.training.optimizer import build_optimizer

    model, preprocess = clip_train.load(str(folder / "ours"), "cpu")
    batch = load_file(folder / "batch.safetensors")
    images, ids = batch["images"], trim_padding(batch["ids"])
    optimizer = build_optimizer(model, TrainConfig(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY))
    pair_loss = PairLoss(model, Ranks())

    def encode(images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return model.encode_image(images), model.encode_text(ids), model(images, ids)[0]

    found = compute(model, encode, lambda: pair_loss(images, ids), images, ids)
    found["gradients"] = {name.removeprefix("text."): tensor for name, tensor in found["gradients"].items()}
    write_results(folder, "ours", found, preprocess, arguments)
    time_steps(folder, "ours", lambda: pair_loss(images, ids), optimizer, arguments, after=model.clamp_logit_scale)


def run_peer(folder: Path, arguments: argparse.Namespace) -> None:
    """open_clip's side of a round: model, loss, optimiser and preprocessing as its own training script makes them."""
    declared = declare_operators()  # noqa: F841
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder / 'open_clip'}")
    batch = load_file(folder / "batch.safetensors")
    images, ids = batch["images"], batch["ids"].long()
    is_spared = [
        p.ndim < 2 or any(part in n for part in ("bn", "ln", "bias", "logit_scale"))
        for n, p in model.named_parameters()
    ]
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p, spared in zip(parameters, is_spared, strict=True) if spared], "weight_decay": 0.0},
            {"params": [p for p, spared in zip(parameters, is_spared, strict=True) if not spared]},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=WEIGHT_DECAY,
    )
    clip_loss = open_clip.ClipLoss()

    def encode(images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return model.encode_image(images), model.encode_text(ids), model.get_logits(images, ids)[0]

    def loss() -> Tensor:
        image_features, text_features, scale = model(images, ids)[:3]
        return clip_loss(image_features, text_features, scale)

    @torch.no_grad()
    def clamp() -> None:
        model.logit_scale.clamp_(0, math.log(100))

    write_results(folder, "peer", compute(model, encode, loss, images, ids), preprocess, arguments)
    time_steps(folder, "peer", loss, optimizer, arguments, after=clamp)


def compute(
    model: nn.Module, encode: Compute, loss: Callable[[], Tensor], images: Tensor, ids: Tensor
) -> dict[str, Any]:
    """Features and logits in evaluation mode, loss and gradients in training mode."""
    model.eval()
    with torch.no_grad():
        image_features, text_features, logits = encode(images, ids)
    model.train()
    value = loss()
    value.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    shown = {"image_features": image_features, "text_features": text_features, "logits": logits}
    return {**shown, "loss": value.detach(), "gradients": gradients}


def write_results(
    folder: Path,
    side: str,
    found: dict[str, Any],
    preprocess: Callable[..., Tensor],
    arguments: argparse.Namespace,
) -> None:
    gradients = found.pop("gradients")
    paths = list_images(arguments.images)[: arguments.pixel_images]
    found["pixels"] = torch.stack([preprocess(read_image(path)) for path in paths])
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / f"{side}.safetensors")
    save_file(
        {name: tensor.contiguous() for name, tensor in gradients.items()}, folder / f"{side}-gradients.safetensors"
    )


def time_steps(
    folder: Path,
    side: str,
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    arguments: argparse.Namespace,
    *,
    after: Callable[[], None],
) -> None:
    """Whole training steps; appends their CPU seconds to a file."""
    taken = []
    for _ in range(arguments.steps + 1):
        begun = time.process_time()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        after()
        taken.append(time.process_time() - begun)
    with open(folder / f"{side}.seconds", "a", encoding="utf-8") as file:
        file.write(json.dumps(taken[1:]) + "\n")


def print_differences(name: str, folder: Path) -> None:
    from clip_train.data.decode import STD

    ours, peer = (load_file(folder / f"{side}.safetensors") for side in ("ours", "peer"))
    largest = {key: (ours[key] - peer[key]).abs().max().item() for key in ours if key != "pixels"}
    pixels = ((ours["pixels"] - peer["pixels"]) * torch.tensor(STD)[:, None, None]).abs().max().item() * 255
    ours, peer = (load_file(folder / f"{side}-gradients.safetensors") for side in ("ours", "peer"))
    if ours.keys() != peer.keys():
        sys.exit(f"{name}: gradients of {sorted(ours.keys() ^ peer.keys())} on one side only")
    errors = {key: (ours[key] - peer[key]).norm().item() for key in ours}
    norms = {key: tensor.norm().item() for key, tensor in peer.items()}
    total = math.hypot(*norms.values())
    worst = max(errors[key] / norm for key, norm in norms.items() if norm > IS_ROUNDING * total)
    cells = [largest[key] for key in ("image_features", "text_features", "logits", "loss")]
    cells += [math.hypot(*errors.values()) / total, worst]
    print(f"| {name} | {' | '.join(f'{cell:.1e}' for cell in cells)} | {pixels:.2f} |", flush=True)


def read_seconds(folder: Path, side: str) -> list[float]:
    """The fastest step of each round."""
    return [min(json.loads(line)) for line in (folder / f"{side}.seconds").read_text().splitlines()]


def print_times(ratios: dict[str, list[list[float]]], arguments: argparse.Namespace) -> None:
    print(
        f"\n| training step, batch {arguments.batch_size}, one thread | ours, CPU s | open_clip, CPU s "
        "| times faster (rounds) |"
    )
    print("|---|---|---|---|")
    for name, (ours, peer) in ratios.items():
        faster = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
        spread = f"{min(faster):.2f}..{max(faster):.2f}"
        print(f"| {name} | {min(ours):.2f} | {min(peer):.2f} | {statistics.median(faster):.2f} ({spread}) |")


def list_images(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def read_image(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
