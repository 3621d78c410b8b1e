"""Training steps and encoding on one GPU: ours, plain and compiled, beside open_clip as shipped and at its best.

    python benchmarks/gpu.py --peer-python PEERS/bin/python
    python benchmarks/gpu.py --peer-python PEERS/bin/python --toy       # small models on a CPU: whether all of it works

Each variant is a process of its own; those of a model live side by side and take turns, so that what else a machine
does falls on all. They start from the same weights, written by ``export --format open-clip``, and the same batch:
random images and texts of random tokens, as long as alt texts are (lognormal, 20 tokens on average, 77 at most). The
loss of the first step is printed: it must be the same but for rounding. A step is what each trainer does: images from
bytes, forward in bf16, loss, backward, AdamW, clamp. Each model has its share of --seconds; a variant that is late is
left out and said so.

    ours          `clip_train train --precision bf16`: packed texts, fused AdamW, steps that are no number left out
    compiled      the same with --compile
    peer          open_clip 3.3.0's training step as shipped: amp_bf16, AdamW
    peer-best     with torch.compile and fused AdamW

MFU counts three times the floating-point operations of the peer's forward, padded texts included, for all alike.
The peers' environment: ``pip install torch open_clip_torch==3.3.0``, with a torch for this GPU.
"""

import argparse
import json
import math
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

MODELS = {"ViT-B/32": 1024, "RN50": 512, "ViT-B/16": 512, "ViT-L/14": 192}  # pairs in a batch
TOYS = {"tiny-32": 8, "tiny-64": 4}
VARIANTS = ("peer", "peer-best", "ours", "compiled")
CONTEXT, VOCABULARY = 77, 49_408
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None] * 255
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None] * 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default="", help="Python of an environment with open_clip; none: ours alone")
    parser.add_argument("--models", nargs="+", default=[], help=f"Presets [{' '.join(MODELS)}]")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seconds", type=float, default=420, help="For all of it [%(default)g]")
    parser.add_argument("--rounds", type=int, default=3, help="Turns of each variant [%(default)s]")
    parser.add_argument("--steps", type=int, default=6, help="Steps of a turn [%(default)s]")
    parser.add_argument("--peak-tflops", type=float, default=989, help="Of the GPU in bf16 [%(default)g]")
    parser.add_argument("--toy", action="store_true", help="Small models on a CPU")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.device = "cpu" if arguments.toy else "cuda"
    if arguments.worker:
        Worker(arguments).serve()
        return
    if arguments.peer_python and not shutil.which(arguments.peer_python):
        parser.error(f"peer-python: no such program: {arguments.peer_python!r}")
    models = arguments.models or list(TOYS if arguments.toy else MODELS)
    variants = [name for name in arguments.variants if arguments.peer_python or not name.startswith("peer")]
    print(
        "| model | variant | batch | first loss | samples/s | of peer | of best | peak GiB | MFU | images/s encoded |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    until = time.monotonic() + arguments.seconds
    for place, name in enumerate(models):
        share = (until - time.monotonic()) / (len(models) - place)
        with tempfile.TemporaryDirectory() as folder:
            batch = (TOYS if arguments.toy else MODELS).get(name, 256)
            prepare(Path(folder), name, batch)
            compare(name, batch, variants, folder, arguments, until=time.monotonic() + share)


def prepare(folder: Path, name: str, batch: int) -> None:
    """Writes the weights and the batch that all variants of a model start from."""
    from clip_train.exchange.open_clip import write_open_clip

    model = make_model(name)
    write_open_clip(model, str(folder / "model"))
    lengths = torch.empty(batch).log_normal_(math.log(16.8), 0.6).clamp(3, CONTEXT).long()
    ids = torch.randint(1, VOCABULARY - 2, (batch, CONTEXT))
    ids[:, 0] = VOCABULARY - 2
    ids = torch.where(torch.arange(CONTEXT) < lengths[:, None] - 1, ids, 0)
    ids.scatter_(1, lengths[:, None] - 1, VOCABULARY - 1)
    side = model.config.image.image_size
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    save_file({"images": images, "ids": ids}, folder / "batch.safetensors")


def make_model(name: str) -> Any:
    """A preset with random weights, the same each time."""
    from clip_train.models.clip import Clip
    from clip_train.presets import find_preset

    torch.manual_seed(0)
    return Clip(find_preset(name).model.with_text(vocab_size=VOCABULARY, context_length=CONTEXT))


def compare(name: str, batch: int, variants: list[str], folder: str, arguments: Any, *, until: float) -> None:
    """Has all variants of a model take turns, and prints a row for each."""
    children = {variant: Child(name, variant, folder, arguments) for variant in variants}
    turns: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    told: dict[str, dict[str, float]] = {}
    try:
        for variant, child in children.items():
            if ready := child.ask("start", until):
                told[variant] = ready
        for _ in range(arguments.rounds):
            for variant in list(told):
                if turn := children[variant].ask("train", until):
                    turns[variant].append(turn)
        for variant in list(told):
            told[variant] |= children[variant].ask("encode", until) or {}
    finally:
        for child in children.values():
            child.end()
    speeds = {variant: sorted(batch / turn["s"] for turn in found) for variant, found in turns.items() if found}
    middle = {variant: found[len(found) // 2] for variant, found in speeds.items()}
    flops = next((one["flops"] for one in told.values() if "flops" in one), math.nan)
    for variant in variants:
        if variant not in middle:
            print(f"| {name} | {variant} | {batch} | {children[variant].problem} | | | | | | |", flush=True)
            continue
        ratios = [middle[variant] / middle.get(other, math.nan) for other in ("peer", "peer-best")]
        peak = max(turn["peak"] for turn in turns[variant]) / 2**30
        mfu = 3 * flops * middle[variant] / (arguments.peak_tflops * 1e12)
        spread = f"{middle[variant]:,.0f} ({speeds[variant][0]:,.0f} to {speeds[variant][-1]:,.0f})"
        encoded = told[variant].get("encoded", math.nan)
        print(
            f"| {name} | {variant} | {batch} | {told[variant]['loss']:.5f} | {spread} | {ratios[0]:.2f} "
            f"| {ratios[1]:.2f} | {peak:.1f} | {mfu:.1%} | {encoded:,.0f} |",
            flush=True,
        )


class Child:
    """A process of one variant, which does what it is told line by line."""

    def __init__(self, name: str, variant: str, folder: str, arguments: Any) -> None:
        python = arguments.peer_python if variant.startswith("peer") else sys.executable
        flags = [
            "--worker",
            variant,
            "--folder",
            folder,
            "--models",
            name,
            "--steps",
            str(arguments.steps),
            *["--toy"] * arguments.toy,
        ]
        self.problem = "late"
        self._process = subprocess.Popen(
            [python, __file__, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, what: str, until: float) -> dict[str, float] | None:
        """Its answer; None when it comes too late, or never."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        while True:
            try:
                line = self._lines.get(timeout=max(0.1, until - time.monotonic()))
            except queue.Empty:
                self.end()
                return None
            if not line:
                self.problem = f"ended ({self._process.wait()})"
                return None
            with suppress(ValueError):  # what else it prints
                return dict(json.loads(line))

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


class Worker:
    """One variant: a model, and a step of its trainer."""

    def __init__(self, arguments: Any) -> None:
        self._device = torch.device(arguments.device)
        self._variant, self._steps, self._name = arguments.worker, arguments.steps, arguments.models[0]
        self._folder = Path(arguments.folder)
        batch = load_file(self._folder / "batch.safetensors")
        self._images, self._ids = batch["images"].to(self._device), batch["ids"]
        if self._device.type == "cpu":
            torch.set_num_threads(1)

    def serve(self) -> None:
        """Answers each line with one of JSON."""
        self._build = self._build_peer if self._variant.startswith("peer") else self._build_ours
        for line in sys.stdin:
            print(json.dumps(getattr(self, f"_{line.strip()}")()), flush=True)

    def _start(self) -> dict[str, float]:
        told = self._build()
        loss = float(self._step())
        self._step()
        return told | {"loss": loss}

    def _train(self) -> dict[str, float]:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._step()
        self._wait()
        began = time.perf_counter()
        for _ in range(self._steps):
            self._step()
        self._wait()
        took = (time.perf_counter() - began) / self._steps
        return {"s": took, "peak": torch.cuda.max_memory_allocated() if self._device.type == "cuda" else 0}

    def _encode(self) -> dict[str, float]:
        self._model.eval()
        with torch.inference_mode():
            self._encode_images()
            self._wait()
            began = time.perf_counter()
            for _ in range(self._steps):
                self._encode_images()
            self._wait()
        self._model.train()
        return {"encoded": self._steps * len(self._images) / (time.perf_counter() - began)}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _build_ours(self) -> dict[str, float]:
        from clip_train.config import TrainConfig
        from clip_train.data.decode import normalize_pixels
        from clip_train.models.precision import half_products
        from clip_train.training.distributed import Ranks
        from clip_train.training.loop import PairLoss
        from clip_train.training.optimizer import build_optimizer
        from clip_train.training.parts import pack_batch
        from clip_train.training.run import prepare_model
        from clip_train.training.updates import Updates

        config = TrainConfig(precision="bf16", compile=self._variant == "compiled", learning_rate=1e-5)
        self._model = make_model(self._name).to(self._device).train()
        prepare_model(self._model, config)
        pair_loss = PairLoss(self._model, Ranks())
        updates = Updates(
            self._model, build_optimizer(self._model, config), clip_norm=None, precision="bf16", max_skipped=10
        )

        def step() -> Tensor:
            images = normalize_pixels(self._images)
            ids = pack_batch(self._model, self._ids, few_shapes=config.compile).to(self._device)
            with half_products(self._device, config.precision):
                loss: Tensor = pair_loss(images, ids)
            updates.apply(loss)
            self._model.clamp_logit_scale()
            return loss.detach()

        self._step = step
        self._encode_images = lambda: self._model.encode_image(normalize_pixels(self._images))
        return {}

    def _build_peer(self) -> dict[str, float]:
        if self._device.type == "cpu":
            from torchvision_without_cuda import declare_operators

            self._declared = declare_operators()
        import open_clip
        from torch.utils.flop_counter import FlopCounterMode

        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        is_best = self._variant == "peer-best"
        self._model = open_clip.create_model(
            f"local-dir:{self._folder / 'model'}", device=self._device, precision="fp32", output_dict=True
        )
        self._model.train()
        named = list(self._model.named_parameters())
        is_plain = {
            name: p.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale")) for name, p in named
        }
        groups = [
            {"params": [p for name, p in named if is_plain[name] is wanted], "weight_decay": 0.0 if wanted else 0.2}
            for wanted in (True, False)
        ]
        optimizer = torch.optim.AdamW(
            groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, **({"fused": True} if is_best else {})
        )
        network = torch.compile(self._model) if is_best else self._model
        compute_loss = open_clip.ClipLoss(cache_labels=True)
        ids, mean, std = self._ids.to(self._device), MEAN.to(self._device), STD.to(self._device)

        def normalized() -> Tensor:
            return (self._images.float() - mean) / std

        def step() -> Tensor:
            images = normalized()
            optimizer.zero_grad()
            with torch.autocast(self._device.type, torch.bfloat16):
                found = network(images, ids)
                loss: Tensor = compute_loss(found["image_features"], found["text_features"], found["logit_scale"])
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                self._model.logit_scale.clamp_(0, math.log(100))
            return loss.detach()

        def encode() -> Tensor:
            with torch.autocast(self._device.type, torch.bfloat16):
                return self._model.encode_image(normalized())

        self._step, self._encode_images = step, encode
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._model(normalized()[:2], ids[:2])
        return {"flops": counter.get_total_flops() / 2}


if __name__ == "__main__":
    main()
