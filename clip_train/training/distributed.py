"""Several processes as one: set-up from torchrun's variables, a differentiable gather, small agreements.

In: the variables ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE`` that torchrun sets; without them one process is all.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from clip_train.errors import InputError

T = TypeVar("T")


class Ranks(NamedTuple):
    """One process among those of a run."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


def choose_device(name: str | torch.device) -> torch.device:
    """The device a name means; ``auto`` is this rank's GPU when there is one, and ``cuda`` that in any case.

    Raises:
        InputError: When the machine has no such device, or several ranks would share one GPU.
    """
    local_rank, neighbours = os.environ.get("LOCAL_RANK", "0"), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    wanted = str(name)
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda:") and neighbours > 1:
        raise InputError(f"device {name!r} is one GPU for {neighbours} ranks of this machine; give cuda or auto")
    if wanted == "cuda":
        wanted = f"cuda:{local_rank}"
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {str(name)!r} cannot be used ({str(error).splitlines()[0]})") from error
    return device


@contextlib.contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """Joins the processes that torchrun started, and leaves them at the end; a GPU becomes this process's own."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or what names no device, NCCL's barriers for one, takes the first GPU
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Ranks()
        return
    # gloo carries what lives on the CPU, so that agreeing on a stop does not wait for the GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world_size)
    finally:
        dist.destroy_process_group()


def max_over_ranks(value: int, ranks: Ranks) -> int:
    """The largest of the ranks' numbers; every rank gets the same answer."""
    return maxima_over_ranks((value,), ranks)[0]


def maxima_over_ranks(values: Sequence[int], ranks: Ranks) -> list[int]:
    """The same for several numbers at once, each by itself."""
    if ranks.world_size == 1:
        return list(values)
    shared = torch.tensor(values)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return [int(value) for value in shared]


def mean_over_ranks(value: Tensor, ranks: Ranks) -> Tensor:
    """The mean of a tensor over the ranks, without gradient."""
    value = value.detach().clone()
    if ranks.world_size > 1:
        dist.all_reduce(value)
        value /= ranks.world_size
    return value


def broadcast(value: T | None, ranks: Ranks) -> T:
    """The first rank's value, on every rank."""
    box = [value]
    if ranks.world_size > 1:
        dist.broadcast_object_list(box, device=torch.device("cpu"))
    return cast(T, box[0])


def decide_first(decide: Callable[[], T], ranks: Ranks) -> T:
    """What the first rank finds, on every rank.

    Raises:
        InputError: On every rank, when it is raised on the first.
    """
    found, problem = None, ""
    if ranks.is_first:
        try:
            found = decide()
        except InputError as error:
            problem = str(error)
    found, problem = broadcast((found, problem), ranks)
    if problem:
        raise InputError(problem)
    return cast(T, found)


def take_turns(items: Iterable[T], ranks: Ranks) -> Iterator[T]:
    """Every item that is this rank's turn: the first to rank 0, the next to rank 1, and round again."""
    return islice(items, ranks.rank, None, ranks.world_size)


def gather_turns(rows: Tensor, ranks: Ranks) -> Tensor:
    """Puts what the ranks made of `take_turns` back into the order of the items, on every rank.

    Args:
        rows: ``[this rank's items, ...]``.
        ranks: All of them call this.
    """
    if ranks.world_size == 1:
        return rows
    counts = rows.new_empty(ranks.world_size, dtype=torch.int64)
    dist.all_gather_into_tensor(counts, torch.tensor([len(rows)], device=rows.device))
    longest = int(counts.max())
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    gathered = rows.new_empty(ranks.world_size * longest, *rows.shape[1:])
    dist.all_gather_into_tensor(gathered, padded.contiguous())
    in_turn = gathered.view(ranks.world_size, longest, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)
    return in_turn[: int(counts.sum())]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks in rank order; gradients flow back to the rank a row came from."""
    gathered: Tensor = _GatherRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num_rows = len(rows)
        out = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_into_tensor(out, rows.contiguous())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        out = gradient.new_empty(ctx.num_rows, *gradient.shape[1:])
        dist.reduce_scatter_tensor(out, gradient.contiguous())
        return out
