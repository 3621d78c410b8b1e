"""The flow of the demo: the world, every stage, training, evaluation, by the commands that a user would type.

In: an output folder and a size. Out, in the folder: `world/`, `demo.toml`, `data/` (all stages' outputs), `model/`; and
a report on standard output. What is done already is skipped, as the commands themselves do.
"""

import json
import os
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jobs.demo.server import serve_web
from jobs.demo.summary import Score, describe_data, describe_scores
from jobs.demo.world.folder import DUMP_NAME, SIZES, WARC_NAME, write_world
from jobs.demo.world.scenes import HELD_OUT
from jobs.interpreter import module_command, module_environment
from pipeline.base.files import write_bytes_whole
from vocab.synsets import WordNetMissing, find_wordnet


class Recipe(NamedTuple):
    """What the demo does with a world of a given size."""

    wants_wordnet: bool
    cap: int  # pairs a query
    model: str  # preset of clip_train
    steps: int
    batch_size: int
    min_times_chance: float  # zero-shot accuracy that must be reached


RECIPES = {
    "full": Recipe(wants_wordnet=True, cap=100, model="tiny-64", steps=400, batch_size=128, min_times_chance=3.0),
    "small": Recipe(wants_wordnet=False, cap=8, model="tiny-32", steps=20, batch_size=32, min_times_chance=0.0),
}
TIMEOUT_S = 3.0  # shorter than the server's slow answer
# Threads of torch that spin while they wait crawl on a machine that others use too.
_PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
GET_WORDNET_S = 90.0
NO_WORDNET = "none"


class DemoFailed(RuntimeError):
    """A command of the demo ended with an error, or the model learned too little."""


def run_demo(output: str, *, size: str, workers: int) -> list[Score]:
    """Runs the whole flow and prints its report.

    Args:
        output: Folder for everything; what is there already is continued.
        size: A key of `RECIPES`.
        workers: Worker processes of the stages.

    Returns:
        The model's scores, zero-shot accuracy first.

    Raises:
        DemoFailed: When a command fails or the zero-shot accuracy is too near to chance.
    """
    recipe, took_s = RECIPES[size], dict[str, float]()
    world, data, model = (os.path.join(output, name) for name in ("world", "data", "model"))
    config = os.path.join(output, "demo.toml")
    with _timed("world", took_s):
        print(f"Making a small world in {world}", flush=True)
        write_world(world, size)
    with _timed("stages", took_s), serve_web(os.path.join(world, "web")) as port:
        wordnet = choose_wordnet(data, config) if recipe.wants_wordnet else NO_WORDNET
        text = describe_stages(data=data, world=world, cap=recipe.cap, wordnet=wordnet, port=port)
        write_bytes_whole(config, text.encode())
        call("jobs", "run", config, "--workers", str(workers))
    print("", *describe_data(data), sep="\n", flush=True)
    with _timed("training", took_s):
        _train(data, model, recipe)
    with _timed("evaluation", took_s):
        scores = _evaluate(model, os.path.join(world, "holdout"), size)
    print(f"\nThe model in {model}, on {len(HELD_OUT)} combinations of colour and shape that no training pair has:")
    print(*describe_scores(scores), "", sep="\n")
    print("Took", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took_s.items()), flush=True)
    if scores[0].value < recipe.min_times_chance * scores[0].chance:
        raise DemoFailed(f"zero-shot accuracy must be at least {recipe.min_times_chance:g} times chance")
    return scores


def describe_stages(*, data: str, world: str, cap: int, wordnet: str, port: int) -> str:
    """Returns the TOML file by which `wit400m run` does all stages of the demo.

    Args:
        data: Folder for the stages' outputs.
        world: Folder of the world.
        cap: Pairs a query.
        wordnet: Folder of NLTK data, "none", or "" for where NLTK looks.
        port: Where the world's web is served on this machine.
    """
    tables: dict[str, dict[str, Any]] = {
        "build-vocab": {
            "dump": [os.path.join(world, DUMP_NAME)],
            "pageviews": [os.path.join(world, "wiki", "pageviews-*.gz")],
            "wordnet": wordnet,
        },
        "extract-pairs": {"input": [os.path.join(world, WARC_NAME)]},
        "match-pairs": {},
        "balance-pairs": {"cap": cap},
        "fetch-images": {
            "contact": "demo@localhost",
            "connect-to": [f"*.example=127.0.0.1:{port}"],
            "host-rate": 0.0,
            "timeout-s": TIMEOUT_S,
            "retries": 1,
        },
        "write-shards": {"max-samples": 1000},
    }
    lines = [
        "# Written by `make demo`; run it with `wit400m run` while the demo's server is up.",
        f"data = {_toml(data)}",
    ]
    for name, options in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in options.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and lists of them read the same in TOML


def choose_wordnet(data: str, config: str) -> str:
    """Returns the `wordnet` option: what NLTK finds, else what `wit400m get-wordnet` gets, else none, saying so.

    Args:
        data: Folder for the stages' outputs; WordNet goes beside them.
        config: Where the TOML file of an earlier run would be; its choice stands, or the vocabulary would change.
    """
    if os.path.exists(config):
        with open(config, "rb") as file:
            return str(tomllib.load(file)["build-vocab"]["wordnet"])
    try:
        find_wordnet()
        return ""
    except WordNetMissing:
        folder = os.path.join(data, "nltk_data")
    try:
        call("jobs", "get-wordnet", "--output", folder, timeout_s=GET_WORDNET_S)
        return folder
    except DemoFailed as error:
        print(f"{error}: the vocabulary goes without WordNet's synsets.", flush=True)
        return NO_WORDNET


def _train(data: str, model: str, recipe: Recipe) -> None:
    call(
        "clip_train", "train",
        "--shards", os.path.join(data, "shards"),
        "--output", model,
        "--model", recipe.model,
        "--steps", str(recipe.steps),
        "--batch-size", str(recipe.batch_size),
        "--warmup-steps", str(recipe.steps // 10),
        "--device", "cpu",
        "--resume",
    )  # fmt: skip


def _evaluate(model: str, holdout: str, size: str) -> list[Score]:
    """Measures the model on the held-out scenes."""
    zero_shot_json, retrieval_json = (os.path.join(model, f"{name}.json") for name in ("zero-shot", "retrieval"))
    call(
        "clip_train", "evaluate", "zero-shot",
        "--checkpoint", model,
        "--images", os.path.join(holdout, "classes"),
        "--classes", os.path.join(holdout, "classes.txt"),
        "--templates", os.path.join(holdout, "templates.txt"),
        "--device", "cpu",
        "--json", zero_shot_json,
    )  # fmt: skip
    call(
        "clip_train", "evaluate", "retrieval",
        "--checkpoint", model,
        "--data", os.path.join(holdout, "captions.tsv"),
        "--device", "cpu",
        "--json", retrieval_json,
    )  # fmt: skip
    zero_shot, retrieval = _read_json(zero_shot_json), _read_json(retrieval_json)
    scores = [Score(f"zero-shot accuracy, {zero_shot['num_images']} images", zero_shot["top1"], zero_shot["chance"])]
    for direction in ("image_to_text", "text_to_image"):
        for k, recall in zip((1, 5, 10), retrieval[direction], strict=True):
            name = f"recall@{k} {direction.replace('_', ' ')}, {retrieval['num_images']} images"
            scores.append(Score(name, recall, k / SIZES[size].num_captions))
    return scores


def _read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return dict(json.load(file))


def call(module: str, *arguments: str, timeout_s: float | None = None) -> None:
    """Runs `python -m MODULE ARGUMENTS` and shows the command and what it prints.

    Raises:
        DemoFailed: When it ends with an error or not in time.
    """
    program = "wit400m" if module == "jobs" else f"python -m {module}"
    print(f"\n$ {program} {shlex.join(arguments)}", flush=True)
    short = f"`{program} {shlex.join(arguments[:2])} ...`"
    try:
        done = subprocess.run(
            [*module_command(module), *arguments],
            env=_PATIENT_THREADS | module_environment(),
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoFailed(f"{short} took more than {timeout_s:g} s") from error
    if done.returncode != 0:
        raise DemoFailed(f"{short} ended with exit code {done.returncode}")


@contextmanager
def _timed(name: str, took_s: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    yield
    took_s[name] = time.monotonic() - started
