"""Training on small generated shards, by the commands: it learns, stops, goes on, and is used."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import clip_train
from clip_train.__main__ import main
from clip_train.training.checkpoint import list_checkpoints

COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SHAPES = ("ellipse", "rectangle")
NUM_SAMPLES = 96
TRAINING = [
    "--model",
    "tiny-32",
    "--vocab-size",
    "600",
    "--batch-size",
    "16",
    "--warmup-steps",
    "4",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def draw(colour, shape, rng):
    image = Image.new("RGB", rng.choice([(32, 32), (40, 32), (36, 48)]), "white")
    left, top = rng.randint(1, 10), rng.randint(1, 10)
    getattr(ImageDraw.Draw(image), shape)((left, top, left + 18, top + 18), fill=colour)
    return image


def encode(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with shards, class folders, class and template files."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("world")
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    (folder / "shards").mkdir()
    sizes = {}
    for shard in range(3):
        path = folder / "shards" / f"{shard:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(NUM_SAMPLES // 3):
                colour, shape = names[(shard * 32 + number) % len(names)]
                text = f"{rng.choice(['a', 'one', 'A photo of a'])} {colour} {shape}"
                content = {
                    "jpg": encode(draw(colour, shape, rng), "JPEG"),
                    "json": json.dumps({"text": text, "class": f"{colour} {shape}"}).encode(),
                    "txt": text.encode(),
                }
                for suffix, data in content.items():
                    info = tarfile.TarInfo(f"{shard}{number:04d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        sizes[path.name] = NUM_SAMPLES // 3
    (folder / "shards" / "sizes.json").write_text(json.dumps(sizes))
    for colour, shape in names:
        (folder / "classes" / f"{colour} {shape}").mkdir(parents=True)
        for number in range(2):
            (folder / "classes" / f"{colour} {shape}" / f"{number}.png").write_bytes(encode(draw(colour, shape, rng)))
    (folder / "classes.txt").write_text("".join(f"{colour} {shape}\n" for colour, shape in names))
    (folder / "templates.txt").write_text("a {}\na photo of a {}\n")
    return folder


def train(world, output, *flags):
    return main(["train", "--shards", str(world / "shards"), "--output", str(output), *TRAINING, *flags])


def metrics(output):
    lines = [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A run of 40 steps with a line of metrics for each."""
    output = tmp_path_factory.mktemp("run")
    assert (
        train(world, output, "--steps", "40", "--log-every", "1", "--save-every", "15", "--keep-checkpoints", "2") == 0
    )
    return output


def test_the_loss_falls(trained):
    losses = metrics(trained)
    assert list(losses) == list(range(1, 41))
    assert sum(losses[step] for step in range(36, 41)) < 0.75 * sum(losses[step] for step in range(1, 6))


def test_the_newest_checkpoints_are_kept_and_each_is_whole(trained):
    names = [os.path.basename(path) for path in list_checkpoints(str(trained))]
    assert names == ["step-00000030", "step-00000040"]
    for name in names:
        found = sorted(os.listdir(trained / "checkpoints" / name))
        assert found == ["config.json", "model.safetensors", "tokenizer.txt", "training.pt"]


@pytest.mark.parametrize(
    "flags",
    [[], ["--cache-mb", "0", "--workers", "2"], ["--cache-mb", "0", "--workers", "0"]],
    ids=["images in memory", "two workers", "no workers"],
)
def test_a_stopped_and_resumed_run_gives_the_losses_of_an_uninterrupted_one(
    world, trained, tmp_path, monkeypatch, flags
):
    from clip_train.training.progress import RunProgress

    log = RunProgress.log

    def log_and_stop(self, step, **values):
        log(self, step, **values)
        if step == 11:
            os.kill(os.getpid(), signal.SIGTERM)

    steps = ["--steps", "40", "--log-every", "1", *flags]
    with monkeypatch.context() as patch:
        patch.setattr(RunProgress, "log", log_and_stop)
        assert train(world, tmp_path, *steps) == 128 + signal.SIGTERM
    assert [os.path.basename(path) for path in list_checkpoints(str(tmp_path))] == ["step-00000012"]
    # what a killed process would leave behind: a step that no checkpoint has, and half a line
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "loss": 99}\n{"step": 14, "lo')
    assert main(["train", "--output", str(tmp_path), "--resume"]) == 0
    assert metrics(tmp_path) == metrics(trained)


def test_a_finished_run_is_not_trained_again(world, trained, capsys):
    before = metrics(trained)
    assert main(["train", "--output", str(trained), "--resume"]) == 0
    assert "step 40 of 40, nothing left to do, checkpoint" in capsys.readouterr().out
    assert metrics(trained) == before


def test_a_run_goes_on_only_as_it_began(world, trained, tmp_path, capsys):
    assert train(world, trained, "--steps", "40") == 2
    assert "give --resume" in capsys.readouterr().err
    assert main(["train", "--output", str(trained), "--resume", "--seed", "3"]) == 2
    assert "was trained with seed 0, not 3" in capsys.readouterr().err
    shard = str(world / "shards" / "00000.tar")
    assert main(["train", "--output", str(trained), "--resume", "--shards", shard]) == 2
    assert "other shards" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_process(world, trained, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += ["-m", "clip_train", "train", "--shards", str(world / "shards"), "--output", str(tmp_path), *TRAINING]
    command += ["--steps", "40", "--log-every", "1", "--threads", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    one, two = metrics(trained), metrics(tmp_path)
    assert [two[step] for step in range(1, 11)] == pytest.approx([one[step] for step in range(1, 11)], rel=1e-4)
    assert two[40] == pytest.approx(one[40], rel=0.05)


@pytest.mark.slow
def test_sigterm_to_the_whole_process_group_saves_and_stops(world, tmp_path):
    command = [sys.executable, "-m", "clip_train", "train", "--shards", str(world / "shards"), *TRAINING]
    command += ["--output", str(tmp_path), "--steps", "100000", "--log-every", "1", "--cache-mb", "0", "--workers", "2"]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        assert run.stderr is not None
        assert run.stderr.readline().startswith("step 1/100000")
        os.killpg(run.pid, signal.SIGTERM)
        _, error = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in error
    assert len(list_checkpoints(str(tmp_path))) == 1


def test_bfloat16_learns_as_well(world, trained, tmp_path):
    assert train(world, tmp_path, "--steps", "40", "--log-every", "1", "--precision", "bf16") == 0
    wide, narrow = metrics(trained), metrics(tmp_path)
    assert narrow[1] == pytest.approx(wide[1], rel=0.02)
    assert narrow[40] == pytest.approx(wide[40], rel=0.2)


def test_an_unreadable_image_keeps_its_place_and_is_counted(tmp_path):
    (tmp_path / "shards").mkdir()
    rng = random.Random(0)
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        for number in range(8):
            image = b"broken" if number == 3 else encode(draw("red", "ellipse", rng))
            for suffix, data in (("png", image), ("txt", b"a red ellipse")):
                info = tarfile.TarInfo(f"{number}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    flags = [*TRAINING, "--batch-size", "8", "--steps", "5", "--log-every", "1"]
    assert main(["train", "--shards", str(tmp_path / "shards"), "--output", str(tmp_path / "run"), *flags]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["unreadable"] for line in lines] == [1] * 5


def write_pairs(path, number, broken=()):
    rng = random.Random(str(path))
    with tarfile.open(path, "w") as tar:
        for sample in range(number):
            colour = rng.choice(COLOURS)
            image = b"broken" if sample in broken else encode(draw(colour, "ellipse", rng))
            for suffix, data in (("png", image), ("txt", f"a {colour} ellipse".encode())):
                info = tarfile.TarInfo(f"{sample:04d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_ranks_leave_out_and_count_what_one_would(tmp_path):
    """Unreadable samples on either rank, a cut tar, more workers than shards; the losses are those of one process."""
    (tmp_path / "shards").mkdir()
    write_pairs(tmp_path / "shards" / "0.tar", 24, broken=(1, 7, 8))
    write_pairs(tmp_path / "shards" / "1.tar", 24)
    (tmp_path / "shards" / "sizes.json").write_text('{"0.tar": 24, "1.tar": 24}')
    cut = tmp_path / "shards" / "1.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    flags = ["--shards", str(tmp_path / "shards"), *TRAINING, "--batch-size", "12", "--log-every", "1"]
    flags += ["--steps", "8", "--cache-mb", "0", "--max-unreadable-share", "0.5", "--precision", "fp32"]
    assert main(["train", "--output", str(tmp_path / "one"), *flags, "--workers", "0"]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "clip_train", "train"]
    command += ["--output", str(tmp_path / "two"), *flags, "--workers", "3"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    one, two = lines_of(tmp_path / "one"), lines_of(tmp_path / "two")
    assert [line["unreadable"] for line in one] == [line["unreadable"] for line in two]
    assert 3 < sum(line["unreadable"] for line in one[:4]) == sum(line["unreadable"] for line in one[4:])
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in two], rel=1e-4)


def test_a_run_with_too_much_unreadable_ends_also_when_it_is_resumed(tmp_path, capsys, monkeypatch):
    from clip_train.training import unreadable

    monkeypatch.setattr(unreadable, "_FEW", 20)
    (tmp_path / "shards").mkdir()
    write_pairs(tmp_path / "shards" / "0.tar", 20, broken=(3, 7))
    flags = ["train", "--shards", str(tmp_path / "shards"), *TRAINING, "--batch-size", "10", "--log-every", "1"]
    run = tmp_path / "run"
    flags += ["--output", str(run), "--steps", "6", "--save-every", "3", "--warmup-steps", "1"]
    assert main([*flags, "--max-unreadable-share", "0.1"]) == 0
    (run / "checkpoints" / "step-00000006").rename(tmp_path / "gone")
    assert main([*flags, "--resume", "--max-unreadable-share", "0.05"]) == 1
    error = capsys.readouterr().err
    assert "4 of 40 samples have no readable image or no text" in error
    assert "more than max-unreadable-share 0.05" in error


def test_sets_are_mixed_by_weights_and_resumed(world, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    write_pairs(tmp_path / "more" / "0.tar", 24)
    sets = ["--shards", str(world / "shards" / "{00000..00002}.tar"), str(tmp_path / "more")]
    flags = [*TRAINING, "--weights", "3", "1", "--log-every", "1"]
    assert main(["train", *sets, "--output", str(tmp_path / "whole"), *flags, "--steps", "12"]) == 0
    assert main(["train", *sets, "--output", str(tmp_path / "run"), *flags, "--steps", "12", "--save-every", "5"]) == 0
    last = list_checkpoints(str(tmp_path / "run"))[-1]
    os.rename(last, tmp_path / "gone")
    assert main(["train", "--output", str(tmp_path / "run"), "--resume"]) == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert main(["train", "--output", str(tmp_path / "run"), "--resume", "--weights", "1", "1"]) == 2
    assert "weights" in capsys.readouterr().err
    assert main(["train", *sets, "--output", str(tmp_path / "other"), *flags, "--weights", "2"]) == 2
    assert "weights: 3 weights for 2 sets" in capsys.readouterr().err


@pytest.mark.parametrize("images", ["classes", "shards"])
def test_zero_shot_beats_chance_on_folders_and_shards(world, trained, tmp_path, images):
    report = tmp_path / "out.json"
    command = ["evaluate", "zero-shot", "--checkpoint", str(trained), "--images", str(world / images)]
    command += ["--classes", str(world / "classes.txt"), "--templates", str(world / "templates.txt")]
    assert main([*command, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["num_images"] == (24 if images == "classes" else NUM_SAMPLES)
    assert found["top1"] > 2 * found["chance"]
    assert found["top5"] >= found["top1"]


def test_retrieval_works_on_shards(world, trained, tmp_path, capsys):
    report = tmp_path / "out.json"
    command = ["evaluate", "retrieval", "--checkpoint", str(trained), "--data", str(world / "shards")]
    assert main([*command, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["num_images"] == NUM_SAMPLES
    assert found["image_to_text"] == sorted(found["image_to_text"])
    assert found["image_to_text"][2] > 0.6  # one text of 36 is right for an image: ten at random hold it in 28 %
    assert "text to image  recall@1" in capsys.readouterr().out


def test_classify_prints_the_labels_of_each_image(world, trained, capsys):
    images = [str(world / "classes" / f"{colour} ellipse" / "0.png") for colour in ("red", "black")]
    command = ["classify", *images, "--checkpoint", str(trained), "--labels", "red ellipse", "black ellipse"]
    assert main([*command, "--template", "a photo of a {}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3]] == images
    assert lines[1].endswith("red ellipse")
    assert lines[4].endswith("black ellipse")


def test_one_text_of_labels_is_split_at_its_commas_and_several_are_not(world, trained, capsys):
    command = ["classify", str(world / "classes" / "red ellipse" / "0.png"), "--checkpoint", str(trained)]
    assert main([*command, "--labels", "red ellipse,black ellipse"]) == 0
    joined = capsys.readouterr().out
    assert main([*command, "--labels", "red ellipse", "black ellipse"]) == 0
    assert joined == capsys.readouterr().out
    assert main([*command, "--labels", "red, not black", "black"]) == 0
    assert "red, not black" in capsys.readouterr().out


def test_the_library_gives_the_probabilities_of_the_command(world, trained):
    model, preprocess = clip_train.load(str(trained), "cpu")
    path = str(world / "classes" / "red ellipse" / "0.png")
    texts = ["a photo of a red ellipse", "a photo of a black ellipse"]
    probabilities = clip_train.classify(model, [path], texts)
    with torch.inference_mode():
        logits_per_image, logits_per_text = model(preprocess(Image.open(path))[None], model.tokenize(texts))
    torch.testing.assert_close(logits_per_image.softmax(dim=-1), probabilities)
    assert logits_per_text.shape == (2, 1)


def test_a_tokenizer_made_by_its_command_is_the_one_a_run_would_train(world, trained, tmp_path):
    output = tmp_path / "deep" / "merges.txt"
    command = ["tokenizer", "--train", str(world / "shards"), "--output", str(output), "--vocab-size", "600"]
    assert main(command) == 0
    newest = list_checkpoints(str(trained))[-1]
    assert output.read_bytes() == (Path(newest) / "tokenizer.txt").read_bytes()


@pytest.mark.parametrize("below", ["", "/below"])
def test_an_output_that_cannot_be_a_folder_is_one_line(world, tmp_path, capsys, below):
    (tmp_path / "file").write_bytes(b"")
    commands = (
        ["train", "--shards", str(world / "shards"), "--output", f"{tmp_path}/file{below}", *TRAINING],
        ["tokenizer", "--train", str(world / "shards"), "--output", f"{tmp_path}/file{below}/merges.txt"],
    )
    for command in commands:
        assert main(command) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert f"{tmp_path}/file{below} cannot be a folder" in line


WRONG = {
    "no command": ([], "required"),
    "unknown flag": (["train", "--lerning-rate", "1"], "--lerning-rate"),
    "abbreviated flag": (["train", "--learning", "1"], "--learning"),
    "no shards": (["train", "--output", "x"], "--shards must be given"),
    "no output": (["train", "--shards", "x"], "--output must be given"),
    "missing shards": (["train", "--shards", "none", "--output", "x"], "none: no such shard"),
    "unknown model": (["train", "--shards", "x", "--output", "x", "--model", "b33"], "unknown model 'b33'"),
    "limit": (["train", "--batch-size", "1"], "batch-size must be at least 2, not 1"),
    "device": (["train", "--shards", "x", "--output", "x", "--device", "tpu9"], "device 'tpu9' cannot be used"),
    "no checkpoint": (["classify", "a.png", "--labels", "a", "--checkpoint", "none"], "none: no folder of a run"),
    "no labels": (["classify", "a.png", "--checkpoint", "x", "--labels", " , "], "--labels must name"),
    "no images": (["classify", "--checkpoint", "x"], "IMAGE"),
    "no classes": (
        ["evaluate", "zero-shot", "--checkpoint", "x", "--images", "x", "--classes", "none.txt"],
        "none.txt: No such file",
    ),
    "no texts": (["tokenizer", "--train", "none.txt", "--output", "x"], "none.txt: No such file"),
}


@pytest.mark.parametrize(("command", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_line_and_exit_code_2(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(command)
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_batches_and_warm_up_must_fit_the_data(world, tmp_path, capsys):
    assert train(world, tmp_path, "--batch-size", "97") == 2
    assert "batch-size 97 is more than the 96 samples" in capsys.readouterr().err
    assert train(world, tmp_path, "--steps", "4") == 2
    assert "warmup-steps 4 must be fewer than the 4 steps" in capsys.readouterr().err


def test_a_broken_checkpoint_is_refused_by_name(trained, tmp_path, capsys):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(list_checkpoints(str(trained))[-1], broken)
    command = ["classify", "a.png", "--labels", "a", "--checkpoint", str(broken)]
    config = json.loads((broken / "config.json").read_text())
    config["model"]["embed_dim"] = 32
    (broken / "config.json").write_text(json.dumps(config))
    assert main(command) == 2
    assert "weights do not fit the model" in capsys.readouterr().err
    (broken / "model.safetensors").write_bytes(b"x" * 50)
    assert main(command) == 2
    assert "is damaged: model.safetensors has 50 bytes, not" in capsys.readouterr().err
    (broken / "config.json").write_text("{}")
    assert main(command) == 2
    assert "not a checkpoint's configuration" in capsys.readouterr().err


def test_a_diverging_run_stops_with_exit_code_1(world, tmp_path, capsys):
    assert train(world, tmp_path, "--steps", "30", "--learning-rate", "1e12", "--log-every", "5") == 1
    assert "try a lower learning rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["", "train", "evaluate", "evaluate zero-shot", "evaluate retrieval", "tokenizer", "classify"]
)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert f"python -m clip_train {command}".strip() in capsys.readouterr().out
