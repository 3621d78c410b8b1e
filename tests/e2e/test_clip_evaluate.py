"""Evaluation and fine-tuning by the commands, on small drawn images: what training is worth, on one rank and two."""

import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from clip_train.__main__ import main

PATTERNS = ("rows", "columns", "dots", "checks")
SIDE = 32
FINETUNE = ["finetune", "--train", "{test}", "--test", "{test}", "--output", "x"]


def draw(pattern, rng):
    """A pattern in two colours of its own, with noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rows, columns = y // 4 % 2 == 0, x // 4 % 2 == 0
    mask = {"rows": rows, "columns": columns, "dots": rows & columns, "checks": rows ^ columns}[pattern]
    ink, paper = rng.integers(0, 255, (2, 3))
    pixels = np.where(mask[..., None], ink, paper) + rng.normal(0, 12, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Shards with captions, labelled tars, class folders, lists of classes."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("world")
    (folder / "shards").mkdir()
    captioned = []
    for number in range(384):
        pattern = PATTERNS[number % 4]
        text = f"{['a picture of', 'some', 'a surface of'][number % 3]} {pattern}"
        captioned += [(f"{number:04d}.png", draw(pattern, rng)), (f"{number:04d}.txt", text.encode())]
    write_tar(folder / "shards" / "00000.tar", captioned)
    for part, count in (("fit", 96), ("test", 80)):
        rows = [(PATTERNS[number % 4], number) for number in range(count)]
        write_tar(folder / f"{part}.tar", [(f"{pattern}/{n:03d}.png", draw(pattern, rng)) for pattern, n in rows])
    for number in range(24):
        place = folder / "faint" / PATTERNS[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(draw(PATTERNS[number % 3], rng))).convert("L")
        image.point(lambda value: 100 + value // 6).save(place / f"{number}.png")
    (folder / "classes.txt").write_text("".join(f"{pattern}\n" for pattern in PATTERNS))
    return folder


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A model that has seen captioned patterns."""
    output = str(tmp_path_factory.mktemp("run"))
    flags = ["--model", "tiny-32", "--vocab-size", "560", "--batch-size", "48", "--warmup-steps", "10"]
    flags += ["--steps", "150", "--learning-rate", "0.001", "--device", "cpu", "--threads", "1", "--save-every", "150"]
    assert main(["train", "--shards", str(world / "shards"), "--output", output, *flags]) == 0
    return output


@pytest.fixture
def measure(world, trained, tmp_path):
    """Runs a command on the trained model and returns its figures."""

    def run(*command):
        figures = tmp_path / "figures.json"
        flags = ["--classes", str(world / "classes.txt"), "--checkpoint", trained, "--json", str(figures)]
        assert main([*command, *flags, "--device", "cpu"]) == 0
        return json.loads(figures.read_text())

    return run


def test_a_linear_probe_of_the_trained_model_beats_that_of_random_weights(world, measure, capsys):
    data = ["--train", str(world / "fit.tar"), "--test", str(world / "test.tar")]
    trained = measure("evaluate", "linear-probe", *data)
    random = measure("evaluate", "linear-probe", *data, "--random-weights")
    assert trained["num_images"] == 80 and trained["num_training_images"] == 96
    assert trained["top1"] > random["top1"]
    assert "fitted on 96 images, L2 strength" in capsys.readouterr().out
    shared = measure("evaluate", "linear-probe", *data, "--features", "shared", "--l2", "0.1")
    assert shared["l2"] == 0.1 and shared["top1"] > 0.5


def test_fine_tuning_begins_at_zero_shot_and_ends_above_that_of_random_weights(world, measure, tmp_path):
    data = ["--train", str(world / "fit.tar"), "--test", str(world / "test.tar"), "--output", str(tmp_path / "out")]
    flags = ["--epochs", "8", "--batch-size", "16", "--learning-rate", "0.0005", "--wise-ft", "0", "0.5", "1"]
    flags += ["--templates", "textures", "--workers", "0", "--min-crop-share", "0.8", "--no-flip"]
    found = measure("finetune", *data, *flags)
    zero_shot = measure("evaluate", "zero-shot", "--images", str(world / "test.tar"), "--templates", "textures")
    assert found["wise_ft"]["0.0"] == zero_shot
    assert found["losses"][-1] < found["losses"][0]
    fresh = measure("finetune", *data, *flags, "--random-weights", "--head", "zeros")
    assert found["wise_ft"]["1.0"]["top1"] > fresh["wise_ft"]["1.0"]["top1"]


def test_robustness_compares_test_sets_zero_shot_and_fine_tuned(world, trained, measure, tmp_path, capsys):
    (tmp_path / "models.csv").write_text("model,plain,faint\nA,0.5,0.4\nB,0.7,0.5\nC,0.9,0.7\n")
    sets = ["--images", f"plain={world / 'test.tar'}", f"faint={world / 'faint'}"]
    prompts = ["--templates", "textures"]
    rows = measure(
        "evaluate", "robustness", *sets, *prompts, "--present-only", "--baselines", str(tmp_path / "models.csv")
    )
    assert [(row["name"], row["accuracies"]["num_classes"]) for row in rows] == [("plain", 4), ("faint", 3)]
    assert rows[1]["drop"] == pytest.approx(rows[0]["accuracies"]["top1"] - rows[1]["accuracies"]["top1"])
    assert rows[0]["effective_robustness"] is None and abs(rows[1]["effective_robustness"]) < 1
    assert "effective" in capsys.readouterr().out
    output = str(tmp_path / "classifier")
    data = ["--train", str(world / "fit.tar"), "--test", str(world / "test.tar"), "--output", output]
    tuned = measure("finetune", *data, "--epochs", "1", "--batch-size", "32", "--workers", "0", "--save-share", "0.5",
                    "--wise-ft", "0.5")  # fmt: skip
    figures = tmp_path / "tuned.json"
    assert main(["evaluate", "robustness", *sets, "--checkpoint", output, "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())[0]["accuracies"] == tuned["wise_ft"]["0.5"]


@pytest.mark.slow
def test_two_ranks_find_the_figures_of_one(world, trained, measure, tmp_path):
    one = measure("evaluate", "zero-shot", "--images", str(world / "test.tar"), "--templates", "photos")
    figures = tmp_path / "two.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "clip_train", "evaluate", "zero-shot"]
    command += ["--images", str(world / "test.tar"), "--templates", "photos", "--classes", str(world / "classes.txt")]
    command += ["--checkpoint", trained, "--json", str(figures), "--device", "cpu", "--batch-size", "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1
    assert json.loads(figures.read_text()) == one


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate", "zero-shot", "--images", "{test}", "--templates", "nosuch"], "neither a file nor one of"),
        (["evaluate", "zero-shot", "--images", "{test}.csv"], "No such file"),
        (["evaluate", "linear-probe", "--train", "{test}"], "--test must be given"),
        (["evaluate", "robustness", "--images", "{test}"], "must be NAME=PATH"),
        ([*FINETUNE, "--batch-size", "1000"], "does not fit"),
        ([*FINETUNE, "--wise-ft", "2"], "wise-ft must be at most 1"),
        ([*FINETUNE, "--wise-ft", "0,1"], "invalid float value"),
    ],
    ids=["templates", "no images", "no test set", "no name", "batch", "share", "word"],
)
def test_what_cannot_be_used_is_told_in_one_line(world, trained, capsys, command, message):
    words = [word.format(test=world / "test.tar") for word in command]
    try:
        code = main([*words, "--checkpoint", trained, "--classes", str(world / "classes.txt"), "--device", "cpu"])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
