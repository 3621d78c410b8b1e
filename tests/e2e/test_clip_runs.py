"""Runs that are killed, damaged, shared among ranks, extended or disturbed: what goes on is what would have been."""

import dataclasses
import io
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import socket
import tarfile
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from clip_train.__main__ import main
from clip_train.commands.train import parse_assignments
from clip_train.training.checkpoint import find_damage, list_checkpoints
from pipeline.base.options import option

NUM_SAMPLES, BATCH_SIZE = 24, 8  # three steps an epoch
TRAINING = ["--model", "tiny-32", "--vocab-size", "520", "--warmup-steps", "2", "--batch-size", str(BATCH_SIZE)]
TRAINING += ["--device", "cpu", "--threads", "1", "--log-every", "1"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("shards"), random.Random(0)
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(NUM_SAMPLES // 2):
                file = io.BytesIO()
                size = rng.choice([(32, 32), (40, 32)])
                Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(file, "PNG")
                for suffix, data in (("png", file.getvalue()), ("txt", f"a {rng.randrange(900)} b".encode())):
                    info = tarfile.TarInfo(f"{shard}{number:04d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def command(shards, output, *flags):
    return ["train", "--shards", str(shards), "--output", str(output), *TRAINING, *flags]


def metrics(output):
    lines = [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def newest(output):
    return Path(list_checkpoints(str(output))[-1])


def assert_same_run(found, expected):
    """Bit for bit: every loss, every weight, all that the next step needs."""
    assert metrics(found) == metrics(expected)
    assert newest(found).name == newest(expected).name
    one, other = (load_file(newest(output) / "model.safetensors") for output in (found, expected))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    one, other = (torch.load(newest(output) / "training.pt") for output in (found, expected))
    torch.testing.assert_close(one["optimizer"]["state"], other["optimizer"]["state"], rtol=0, atol=0)
    assert one["updates"] == other["updates"]


def start_ranks(arguments, number, *, before=lambda: None):
    """The command in forked processes, as torchrun would start them; `before` is called in each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])

    def run(rank):
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        os.environ |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
        before()
        os._exit(main(arguments))

    processes = [multiprocessing.get_context("fork").Process(target=run, args=(rank,)) for rank in range(number)]
    for process in processes:
        process.start()
    return processes


def wait(process):
    """Until a process has ended; `join` would also wait for the workers of one that was killed."""
    until = time.monotonic() + 100
    while process.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    return process.exitcode


def run_ranks(arguments, number):
    processes = start_ranks(arguments, number)
    codes = [wait(process) for process in processes]
    for process in processes:
        process.kill()
    return codes


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """An uninterrupted run of 12 steps, four epochs."""
    output = tmp_path_factory.mktemp("whole")
    assert main(command(shards, output, "--steps", "12", "--save-every", "2")) == 0
    return output


def kill_at_line(step):
    def install():
        from clip_train.training.progress import RunProgress

        log = RunProgress.log

        def log_and_die(self, now, **values):
            log(self, now, **values)
            if now == step:
                os.kill(os.getpid(), signal.SIGKILL)

        RunProgress.log = log_and_die

    return install


def kill_in_save(step):
    def install():
        from clip_train.training import checkpoint

        publish = checkpoint.publish

        def publish_or_die(aside, path):
            if path.endswith(f"{step:08d}"):
                os.kill(os.getpid(), signal.SIGKILL)
            publish(aside, path)

        checkpoint.publish = publish_or_die

    return install


KILLS = {
    "before a checkpoint": (kill_at_line(1), 0),
    "after one": (kill_at_line(7), 0),
    "with workers": (kill_at_line(9), 2),
    "in the last step": (kill_at_line(12), 2),
    "while one is written": (kill_in_save(6), 0),
    "while the first is written": (kill_in_save(2), 0),
}


@pytest.mark.parametrize(("kill", "workers"), KILLS.values(), ids=KILLS)
def test_a_run_that_is_killed_and_resumed_is_the_uninterrupted_one(shards, whole, tmp_path, kill, workers):
    flags = ["--steps", "12", "--save-every", "2", "--workers", str(workers), "--cache-mb", "0"]
    [process] = start_ranks(command(shards, tmp_path, *flags), 1, before=kill)
    assert wait(process) == -signal.SIGKILL
    assert main(command(shards, tmp_path, *flags, "--resume")) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("number", [2, 4])
def test_several_ranks_give_the_losses_of_one_process(shards, whole, tmp_path, number):
    assert run_ranks(command(shards, tmp_path, "--steps", "12"), number) == [0] * number
    one, several = metrics(whole), metrics(tmp_path)
    assert [several[step] for step in range(1, 13)] == pytest.approx([one[step] for step in range(1, 13)], rel=2e-3)
    assert several[1] == pytest.approx(one[1], rel=1e-6)


@pytest.mark.parametrize("number", [1, 2])
def test_batches_in_parts_give_the_losses_of_whole_ones(shards, whole, tmp_path, number):
    flags = ["--steps", "12", "--part-size", "3"]
    assert run_ranks(command(shards, tmp_path, *flags), number) == [0] * number
    expected, found = metrics(whole), metrics(tmp_path)
    assert [found[step] for step in range(1, 13)] == pytest.approx([expected[step] for step in range(1, 13)], rel=2e-3)


@pytest.mark.parametrize("stop", [6, 7], ids=["at the end of an epoch", "inside an epoch"])
def test_a_run_goes_on_with_another_number_of_ranks(shards, tmp_path, stop):
    one, four, straight = (tmp_path / name for name in ("one", "four", "straight"))
    until, after = (["--schedule", "constant", "--steps", str(steps)] for steps in (stop, 12))
    assert run_ranks(command(shards, one, *until), 2) == [0, 0]
    shutil.copytree(one, four)
    assert main(command(shards, one, *after, "--resume")) == 0
    assert run_ranks(command(shards, four, *after, "--resume"), 4) == [0] * 4
    assert main(command(shards, straight, *after)) == 0
    expected = [metrics(straight)[step] for step in range(1, 13)]
    for found in (one, four):
        assert [metrics(found)[step] for step in range(1, 13)] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("schedule", ["constant", "inverse-sqrt"])
def test_a_run_made_longer_is_the_one_that_was_so_long_from_the_beginning(shards, tmp_path, schedule):
    flags = ["--schedule", schedule]
    assert main(command(shards, tmp_path / "two", "--steps", "5", *flags)) == 0
    assert main(["train", "--output", str(tmp_path / "two"), "--resume", "--epochs", "3"]) == 0
    assert main(command(shards, tmp_path / "one", "--steps", "9", *flags)) == 0
    assert_same_run(tmp_path / "two", tmp_path / "one")


def test_a_run_is_not_made_shorter_than_it_is(shards, whole, capsys):
    assert main(["train", "--output", str(whole), "--resume", "--steps", "11"]) == 2
    assert "has done 12 steps, more than the 11 asked for" in capsys.readouterr().err


DAMAGES = {
    "model cut": lambda path: os.truncate(path / "model.safetensors", 1_000),
    "training cut": lambda path: os.truncate(path / "training.pt", 1_000),
    "model flipped": lambda path: flip(path / "model.safetensors"),
    "training flipped": lambda path: flip(path / "training.pt"),
    "tokenizer flipped": lambda path: flip(path / "tokenizer.txt"),
    "configuration flipped": lambda path: flip(path / "config.json"),
    "configuration changed": lambda path: (path / "config.json").write_text(
        (path / "config.json").read_text().replace('"step": 12', '"step": 10')
    ),
    "configuration cut": lambda path: os.truncate(path / "config.json", 100),
    "configuration empty": lambda path: os.truncate(path / "config.json", 0),
    "no model": lambda path: (path / "model.safetensors").unlink(),
    "no training": lambda path: (path / "training.pt").unlink(),
    "no configuration": lambda path: (path / "config.json").unlink(),
    "no tokenizer": lambda path: (path / "tokenizer.txt").unlink(),
    "empty folder": lambda path: [file.unlink() for file in path.iterdir()],
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(shards, whole, tmp_path, capsys, damage):
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    damage(newest(output))
    assert find_damage(str(newest(output)), all_files=True)
    assert main(["train", "--output", str(output), "--resume"]) == 0
    told = capsys.readouterr().err
    assert "step-00000012 is damaged (" in told and "Traceback" not in told
    assert (output / "checkpoints" / "damaged-step-00000012").is_dir()
    assert_same_run(output, whole)


def test_a_damaged_checkpoint_is_not_used_either_and_the_run_stays_as_it_is(whole, tmp_path, capsys):
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    flip(newest(output) / "model.safetensors")
    image = tmp_path / "a.png"
    Image.new("RGB", (32, 32)).save(image)
    classify = ["classify", str(image), "--labels", "a", "b", "--checkpoint"]
    assert main([*classify, str(newest(output))]) == 2
    assert "is damaged: model.safetensors has other content" in capsys.readouterr().err
    assert main([*classify, str(output)]) == 0
    assert "step-00000012 is damaged" in capsys.readouterr().err
    assert newest(output).name == "step-00000012"


def test_a_configuration_that_was_changed_by_hand_is_told_where_it_is_named(whole, tmp_path, capsys):
    import clip_train

    shutil.copytree(newest(whole), tmp_path / "changed")
    config = tmp_path / "changed" / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"quick_gelu"'))
    model, _ = clip_train.load(tmp_path / "changed", "cpu")
    assert model.config.image.activation == "quick_gelu"
    assert capsys.readouterr().err == f"{config}: other content than was written\n"


def test_when_every_checkpoint_is_damaged_nothing_is_begun_anew(whole, tmp_path, capsys):
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    for path in list_checkpoints(str(output)):
        flip(Path(path) / "training.pt")
    assert main(["train", "--output", str(output), "--resume"]) == 2
    assert "every checkpoint is damaged" in capsys.readouterr().err.splitlines()[-1]
    assert len(list_checkpoints(str(output))) == 3


def test_a_second_run_in_one_folder_is_refused_in_one_line_and_the_first_goes_on(shards, tmp_path, capfd):
    [first] = start_ranks(command(shards, tmp_path, "--steps", "100000"), 1)
    try:
        until = time.monotonic() + 100
        while not (tmp_path / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.01)
        capfd.readouterr()
        for flags in ([], ["--resume"]):
            assert main(command(shards, tmp_path, "--steps", "100000", *flags)) == 2
            lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("step ")]
            assert lines == [
                f"python -m clip_train train: {tmp_path}: another run is at work there; wait for it, or give another "
                "--output"
            ]
        os.kill(first.pid, signal.SIGTERM)
        assert wait(first) == 128 + signal.SIGTERM
    finally:
        first.kill()
    assert main(["train", "--output", str(tmp_path), "--resume", "--steps", str(len(metrics(tmp_path)) + 3)]) == 0


def test_sigusr1_saves_and_the_run_goes_on(shards, whole, tmp_path, monkeypatch):
    from clip_train.training.progress import RunProgress

    log = RunProgress.log

    def log_and_ask(self, step, **values):
        log(self, step, **values)
        if step == 4:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(RunProgress, "log", log_and_ask)
    assert main(command(shards, tmp_path, "--steps", "12", "--save-every", "100")) == 0
    assert [os.path.basename(path) for path in list_checkpoints(str(tmp_path))] == ["step-00000005", "step-00000012"]
    assert metrics(tmp_path) == metrics(whole)


def test_a_checkpoint_is_saved_when_its_minutes_are_over(shards, tmp_path):
    flags = ["--steps", "6", "--save-every", "100", "--save-minutes", "0", "--keep-checkpoints", "4"]
    assert main(command(shards, tmp_path, *flags)) == 0
    assert [os.path.basename(path) for path in list_checkpoints(str(tmp_path))] == [
        f"step-{step:08d}" for step in (3, 4, 5, 6)
    ]


def test_what_a_killed_process_left_half_written_or_half_deleted_goes_with_the_next_checkpoint(shards, tmp_path):
    assert main(command(shards, tmp_path, "--steps", "4")) == 0
    leftover = tmp_path / "checkpoints" / ".step-00000002.tmp"
    leftover.mkdir()
    assert main(command(shards, tmp_path, "--steps", "5", "--resume")) == 0
    assert not leftover.exists()


def test_a_disk_that_cannot_be_written_is_one_line_and_no_checkpoint(shards, tmp_path, monkeypatch, capsys):
    def full(values, path):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert main(command(shards, tmp_path, "--steps", "3")) == 2
    assert "step-00000003 cannot be written: [Errno 28] No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path / "checkpoints") == []


@pytest.fixture
def bad_steps(monkeypatch):
    """Makes the loss of some steps no number."""
    from clip_train.training.loop import PairLoss

    def install(*steps):
        forward, count = PairLoss.forward, iter(range(1, 1_000))

        def spoiled(self, *batch):
            return forward(self, *batch) * (math.nan if next(count) in steps else 1)

        monkeypatch.setattr(PairLoss, "forward", spoiled)

    return install


def test_a_bad_step_is_left_out_counted_and_never_saved(shards, tmp_path, bad_steps):
    bad_steps(3, 5)
    flags = ["--steps", "6", "--save-every", "1", "--keep-checkpoints", "9"]
    assert main(command(shards, tmp_path, *flags)) == 0
    states = [load_file(Path(path) / "model.safetensors") for path in list_checkpoints(str(tmp_path))]
    assert all(tensor.isfinite().all() for state in states for tensor in state.values())
    heads = [state["visual.proj"] for state in states]
    changed = [not torch.equal(one, two) for one, two in itertools.pairwise(heads)]
    assert changed == [True, False, True, False, True]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert [line["loss"] is None for line in lines] == [False, False, True, False, True, False]


def test_too_many_bad_steps_in_a_row_end_the_run_and_the_last_good_checkpoint_goes_on(
    shards, whole, tmp_path, bad_steps, monkeypatch, capsys
):
    bad_steps(*range(5, 20))
    assert main(command(shards, tmp_path, "--steps", "12", "--save-every", "2", "--max-skipped", "3")) == 1
    assert "3 steps in a row had a loss or gradients that are no finite numbers" in capsys.readouterr().err
    assert newest(tmp_path).name == "step-00000006"  # it holds the weights of step 4
    monkeypatch.undo()
    assert main(["train", "--output", str(tmp_path), "--resume"]) == 0
    assert newest(tmp_path).name == "step-00000012"


OPTIONS = {
    "file": ({"steps": 3, "batch-size": 8}, [], [], (3, 8)),
    "assignment goes before the file": ({"steps": 3}, ["steps=4"], [], (4, 8)),
    "flag goes before both": ({"steps": 3}, ["steps=4", "batch-size=12"], ["--steps", "5"], (5, 12)),
}


@pytest.mark.parametrize(("values", "assignments", "flags", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_options_come_from_a_file_assignments_and_flags(shards, tmp_path, values, assignments, flags, expected):
    lines = {"shards": [str(shards)], "model": "tiny-32", "vocab_size": 520, "warmup-steps": 2, "device": "cpu"}
    lines = {"batch-size": 8, **lines, **values}
    (tmp_path / "run.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    words = [f"output={tmp_path / 'run'}", "threads=1", *assignments]
    assert main(["train", "--config", str(tmp_path / "run.toml"), *words, *flags]) == 0
    info = json.loads((newest(tmp_path / "run") / "config.json").read_text())
    assert (info["step"], info["train"]["batch_size"]) == expected


def test_assignments_are_read_as_the_options_kinds():
    @dataclasses.dataclass
    class Options:
        shares: tuple[float, ...] = option((), "Numbers.")
        names: tuple[str, ...] = option((), "Texts.")
        rate: float = option(1.0, "A number.")
        name: str = option("", "A text.")

    words = ["shares=1, 2.5", "names=a,b", "rate=5e-4", "name=12"]
    expected = {"shares": [1, 2.5], "names": ["a", "b"], "rate": 5e-4, "name": "12"}
    assert parse_assignments(words, Options) == expected
    assert parse_assignments(["shares=[1, 2.5]", 'names=["a", "b"]', "name='12'"], Options) | {"rate": 5e-4} == expected


WRONG = {
    "no such file": (["--config", "none.toml"], "config none.toml: No such file"),
    "not TOML": (["--config", "bad.toml"], "config bad.toml: not TOML"),
    "no assignment": (["batch-size"], "'batch-size' is no option; give KEY=VALUE"),
    "unknown key": (["batchsize=3"], "unknown option 'batchsize'; did you mean batch-size?"),
    "wrong type": (["batch-size=many"], "batch-size must be a whole number, not 'many'"),
    "not a choice": (["precision=fp8"], "precision must be one of fp32, tf32, bf16, fp16, not 'fp8'"),
    "steps and epochs": (["steps=3", "epochs=1"], "steps 3 and epochs 1 are both given"),
    "cool-down of a cosine": (["cooldown-steps=3"], "cooldown-steps 3: a cosine ends at zero by itself"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_one_line_that_names_it(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("batch-size 3")
    assert main(["train", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


VARIANTS = {
    "dropped patches": ["--patch-dropout", "0.5"],
    "average": ["--ema", "0.9"],
    "frozen, by depth": ["--freeze", "image:1", "--layer-decay", "0.5"],
    "recomputed": ["--gradient-checkpointing"],
    "fp16": ["--precision", "fp16"],
    "deterministic": ["--deterministic", "--precision", "tf32"],
}


@pytest.mark.parametrize("flags", VARIANTS.values(), ids=VARIANTS)
def test_every_kind_of_run_goes_on_as_if_it_had_not_stopped(shards, tmp_path, flags):
    flags = [*flags, "--schedule", "constant", "--cooldown-steps", "0"]
    assert main(command(shards, tmp_path / "one", "--steps", "8", *flags)) == 0
    assert main(command(shards, tmp_path / "two", "--steps", "5", *flags)) == 0
    assert main(["train", "--output", str(tmp_path / "two"), "--resume", "--steps", "8"]) == 0
    assert_same_run(tmp_path / "two", tmp_path / "one")
    if "--gradient-checkpointing" in flags:
        plain = flags[1:]
        assert main(command(shards, tmp_path / "plain", "--steps", "8", *plain)) == 0
        assert metrics(tmp_path / "plain") == pytest.approx(metrics(tmp_path / "one"), rel=1e-4)


def test_a_checkpoint_with_an_average_is_used_by_it_and_goes_on_from_the_weights(shards, tmp_path):
    assert main(command(shards, tmp_path / "plain", "--steps", "4")) == 0
    assert main(command(shards, tmp_path / "run", "--steps", "4", "--ema", "0.99")) == 0
    averaged = load_file(newest(tmp_path / "run") / "model.safetensors")
    weights = torch.load(newest(tmp_path / "run") / "training.pt")["weights"]
    torch.testing.assert_close(weights, load_file(newest(tmp_path / "plain") / "model.safetensors"), rtol=0, atol=0)
    assert not torch.equal(averaged["visual.proj"], weights["visual.proj"])


def test_a_locked_image_tower_is_taken_from_a_checkpoint_and_stays(shards, whole, tmp_path):
    flags = ["--steps", "4", "--image-init", str(whole), "--freeze", "image", "--seed", "5"]
    assert main(command(shards, tmp_path, *flags)) == 0
    tuned, before = (load_file(newest(output) / "model.safetensors") for output in (tmp_path, whole))
    same = {name for name in before if torch.equal(tuned[name], before[name])}
    assert same == {name for name in before if name.startswith("visual.")}


def test_a_run_of_before_there_were_digests_and_counts_goes_on(shards, whole, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    shutil.rmtree(newest(output))
    path = newest(output)
    config = json.loads((path / "config.json").read_text())
    for name in ("files", "digest"):
        del config[name]
    for name in ("ema", "freeze", "schedule", "max_skipped", "layer_decay", "config", "image_init"):
        del config["train"][name]
    (path / "config.json").write_text(json.dumps(config))
    training = torch.load(path / "training.pt")
    del training["updates"]
    for group in training["optimizer"]["param_groups"]:
        del group["rate_factor"]
    training["random"] = {"cpu": torch.get_rng_state(), "cuda": []}
    torch.save(training, path / "training.pt")
    assert main(["train", "--output", str(output), "--resume"]) == 0
    assert_same_run(output, whole)


def test_ranks_train_parts_and_averages_as_one_process_does(shards, tmp_path):
    flags = ["--steps", "6", "--freeze", "image:1", "--ema", "0.9", "--gradient-checkpointing", "--layer-decay", "0.7"]
    assert main(command(shards, tmp_path / "one", *flags)) == 0
    assert run_ranks(command(shards, tmp_path / "two", *flags), 2) == [0, 0]
    for step, loss in metrics(tmp_path / "one").items():
        assert metrics(tmp_path / "two")[step] == pytest.approx(loss, rel=2e-3)
