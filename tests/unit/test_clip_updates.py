"""From a loss to new weights: steps that are no numbers are left out on all ranks alike, counted, and end a run."""

import copy
import math
import multiprocessing
import os
import socket

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clip_train.errors import DivergedError, InputError
from clip_train.training.distributed import choose_device, decide_first, join_ranks
from clip_train.training.updates import Updates, first_not_finite


def make_updates(model, *, precision="fp32", max_skipped=3, clip_norm=None):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    return Updates(model, optimizer, clip_norm=clip_norm, precision=precision, max_skipped=max_skipped), optimizer


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def state_of(model, optimizer):
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))


def assert_equal_states(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


BAD = {
    "nan in the loss": lambda loss: loss * math.nan,
    "infinite loss": lambda loss: loss + math.inf,
    "gradients that overflow": lambda loss: loss * 1e38 * 10,
    "nan in one gradient only": lambda loss: (loss - loss.detach()).abs().sqrt() + loss,  # the root's slope at zero
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_bad_step_changes_neither_weights_nor_moments_nor_batch_statistics(spoil, precision, clip_norm):
    model = make_model()
    updates, optimizer = make_updates(model, precision=precision, clip_norm=clip_norm)
    x = torch.randn(8, 3)
    updates.apply(model(x).square().mean())
    before = state_of(model, optimizer)
    norm = updates.apply(spoil(model(x + 1).square().mean()))
    assert not norm.isfinite()
    assert_equal_states(state_of(model, optimizer), before)
    updates.settle()
    assert updates.skipped == 1
    assert updates.apply(model(x).square().mean()).isfinite()
    assert not torch.equal(model[0].weight, before[0]["0.weight"])


def test_batch_statistics_of_a_bad_input_are_not_kept():
    model = make_model()
    updates, _ = make_updates(model)
    updates.apply(model(torch.full((8, 3), math.nan)).mean())
    assert first_not_finite(model.state_dict()) is None
    assert model[1].num_batches_tracked == 0


def test_a_run_with_a_bad_step_goes_on_as_if_that_step_had_not_been():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    states = []
    for spoiled in (True, False):
        model = make_model()
        updates, optimizer = make_updates(model)
        for step in range(4):
            if step == 2 and not spoiled:
                continue
            updates.apply(model(x).square().mean() * (math.nan if step == 2 else 1))
        states.append(state_of(model, optimizer))
    assert_equal_states(*states)


def test_a_stated_number_of_bad_steps_in_a_row_ends_the_run_and_a_good_one_begins_the_count_anew():
    model = make_model()
    updates, _ = make_updates(model)
    x = torch.randn(8, 3)
    for factor in (math.nan, math.nan, 1, math.nan, math.nan):
        updates.apply(model(x).mean() * factor)
    with pytest.raises(DivergedError, match="3 steps in a row had a loss or gradients that are no finite numbers"):
        updates.apply(model(x).mean() * math.nan)


def test_counts_and_the_scale_of_fp16_go_through_a_checkpoint():
    model = make_model()
    updates, _ = make_updates(model, precision="fp16")
    x = torch.randn(8, 3)
    for factor in (math.nan, 1, math.nan):
        updates.apply(model(x).mean() * factor)
    resumed, _ = make_updates(make_model(), precision="fp16")
    resumed.load_state_dict(updates.state_dict())
    assert resumed.state_dict() == updates.state_dict()
    assert resumed.skipped == 2
    assert updates.state_dict()["scaler"]["scale"] == 2.0**16 / 4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_scaled_loss_gives_the_gradients_of_the_plain_one(precision):
    model = make_model()
    updates, _ = make_updates(model, precision=precision)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    loss = model(x).square().mean()
    expected = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    norm = updates.apply(loss)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(norm, torch.cat([gradient.flatten() for gradient in expected]).norm())


def run_ranks(work, number):
    """What `work(ranks)` gives on each of some forked processes, in their order."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def run(rank):
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(number), "MASTER_ADDR": "localhost"}
        os.environ |= {"MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(number)}
        with join_ranks(torch.device("cpu")) as ranks:
            answers.put((rank, work(ranks)))
            answers.close()
            answers.join_thread()
        os._exit(0)

    processes = [context.Process(target=run, args=(rank,), daemon=True) for rank in range(number)]
    for process in processes:
        process.start()
    try:
        return [answer for _, answer in sorted(answers.get(timeout=100) for _ in processes)]
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.parametrize("number", [2, 4])
def test_ranks_leave_out_the_same_steps_when_one_of_them_has_a_bad_loss(number):
    def work(ranks):
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        updates, _ = make_updates(model)
        parallel = DistributedDataParallel(model)
        for step in range(4):
            loss = parallel(torch.full((2, 3), float(ranks.rank + 1))).mean()
            updates.apply(loss * (math.inf if step == 1 and ranks.rank == number - 1 else 1))
        updates.settle()
        return updates.skipped, model.weight.tolist()

    answers = run_ranks(work, number)
    assert answers == [answers[0]] * number
    assert answers[0][0] == 1
    assert all(math.isfinite(value) and value != 1 for value in answers[0][1][0])


def test_what_the_first_rank_decides_or_refuses_is_so_on_every_rank():
    def work(ranks):
        def refuse():
            raise InputError("not this one")

        found = decide_first(lambda: f"by {ranks.rank}", ranks)
        try:
            decide_first(refuse, ranks)
        except InputError as error:
            return found, str(error)

    assert run_ranks(work, 2) == [("by 0", "not this one")] * 2


def test_a_gpu_becomes_the_processs_own_and_each_rank_takes_the_one_of_its_number(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with join_ranks(choose_device("cuda")):
        assert chosen == [torch.device("cuda:3")]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(InputError, match="device 'cuda:1' is one GPU for 4 ranks"):
        choose_device("cuda:1")


def test_the_first_tensor_that_is_not_finite_is_named():
    state = {
        "a": torch.ones(2),
        "count": torch.tensor(3),
        "b": torch.tensor([1, math.inf]),
        "c": torch.tensor(math.nan),
    }
    assert first_not_finite(state) == "b"
    assert first_not_finite({"big": torch.full((9,), 3e38)}) is None
