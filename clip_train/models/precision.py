"""What matrix products and convolutions are computed in, by the names that options use.

In: a precision's name. Out: contexts to compute in. Weights, sums, norms and the loss stay in float32 under each.

Source: IEEE 754 (fp32, fp16); Kalamkar et al. 2019 (bf16); Micikevicius et al. 2017 (mixed precision, the scaled
loss); NVIDIA's Ampere white paper (TF32: 10 bits of mantissa).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch

from clip_train.config import InferencePrecision, Precision

_HALF_TYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CUBLAS_VARIABLE, _CUBLAS_REPEATS = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # as cuBLAS's manual asks for


@contextlib.contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Makes float32 mean float32: TF32 is used in matrix products and in convolutions with ``tf32``, else in neither.

    By itself torch uses it in convolutions alone.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def half_products(device: torch.device, precision: Precision) -> torch.autocast:
    """Autocast for matrix products and convolutions in half precision; of no effect with the other precisions."""
    return torch.autocast(device.type, _HALF_TYPES.get(precision, torch.bfloat16), enabled=precision in _HALF_TYPES)


def choose_precision(precision: InferencePrecision, device: torch.device) -> Precision:
    """What a precision means on a device; ``auto`` is bf16 on GPUs and fp32 on CPUs.

    >>> choose_precision("auto", torch.device("cpu"))
    'fp32'
    """
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" else "fp32"


@contextlib.contextmanager
def inference_products(device: torch.device, precision: InferencePrecision) -> Iterator[None]:
    """Computes in a precision where nobody asks for gradients or has an autocast of his own; else nothing changes."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled(device.type):
        yield
        return
    chosen = choose_precision(precision, device)
    with float32_products(chosen), half_products(device, chosen):
        yield


@contextlib.contextmanager
def repeatable_kernels(wanted: bool) -> Iterator[None]:
    """Where wanted, only kernels that give the same bits each time, and no search for the fastest one.

    Raises:
        RuntimeError: Inside, from an operation that has no such kernel; torch names it.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(_CUBLAS_VARIABLE, _CUBLAS_REPEATS)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
