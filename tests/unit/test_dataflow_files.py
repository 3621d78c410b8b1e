"""What Dataflow is given besides the code: the image's recipe and the descriptions of the flex templates."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from jobs.__main__ import COMMANDS
from jobs.demo.world.folder import DUMP_NAME, WARC_NAME
from jobs.lead import split_parameters
from jobs.runner import load_stage
from pipeline.base.flow import STAGES
from pipeline.base.options import options_of


@pytest.fixture(scope="module")
def instructions(checkout: Path) -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile, with its arguments' defaults put in."""
    text = re.sub(r"^#.*\n", "", (checkout / "docs/dataflow/Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.split(None, 1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    defaults = dict(rest.split("=", 1) for name, rest in lines if name == "ARG" and "=" in rest)
    return [(name, re.sub(r"\$\{(\w+)\}", lambda m: defaults.get(m[1], m[0]), rest)) for name, rest in lines]


def arguments(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == name]


def test_the_image_is_made_of_images_of_one_version_each(instructions, checkout):
    bases = [rest.split()[0] for rest in arguments(instructions, "FROM")]
    assert len(bases) == 2
    assert all(re.search(r":[\w.-]*\d[\w.-]*$", base) and not base.endswith(":latest") for base in bases)
    locked = dict(line.split("==") for line in (checkout / "docs/dataflow/requirements.txt").read_text().split())
    assert bases[1] == f"apache/beam_python3.11_sdk:{locked['apache-beam']}"


def test_the_image_does_not_run_as_root_and_its_command_is_that_of_a_worker(instructions):
    assert arguments(instructions, "USER")[-1] not in ("root", "0")
    names = [name for name, _ in instructions]
    assert len(names) - 1 - names[::-1].index("USER") > len(names) - 1 - names[::-1].index("RUN")
    assert json.loads(arguments(instructions, "ENTRYPOINT")[0]) == ["/opt/apache/beam/boot"]


def test_the_image_copies_files_that_are_there_and_all_packages(instructions, checkout):
    copied = [word for rest in arguments(instructions, "COPY") if "--from" not in rest for word in rest.split()[:-1]]
    assert all((checkout / name).exists() for name in copied)
    assert {"vocab", "pipeline", "jobs", "clip_train", "pyproject.toml", "docs/dataflow/requirements.txt"} <= set(
        copied
    )


def test_the_image_takes_exact_versions_and_resolves_nothing(instructions, checkout):
    installs = [c for rest in arguments(instructions, "RUN") for c in rest.split("&&") if "pip install" in c]
    assert len(installs) == 2
    assert all("--no-deps" in command and "--no-cache-dir" in command for command in installs)
    for line in (checkout / "docs/dataflow/requirements.txt").read_text().splitlines():
        assert str(Requirement(line).specifier).startswith("=="), line


def test_the_commands_that_fill_the_images_cache_are_commands_of_stages(instructions):
    [filling] = [rest for rest in arguments(instructions, "RUN") if "wit400m" in rest and "write_world" in rest]
    commands = [words.split() for words in filling.split("&&") if words.split()[0] == "wit400m"]
    assert [words[1] for words in commands] == ["build-vocab", "extract-pairs", "match-pairs"]
    assert all(words[1] in COMMANDS for words in commands)
    assert f"/tmp/world/{DUMP_NAME}" in filling and f"/tmp/world/{WARC_NAME}" in filling
    for words in commands:
        flags = {word for word in words if word.startswith("--")} - {"--data", "--workers"}
        assert flags <= {option.flag for option in options_of(load_stage(words[1]))}


def test_the_launcher_runs_what_leads_a_stage(instructions):
    [started] = [rest for rest in arguments(instructions, "RUN") if rest.startswith("printf")]
    [place] = re.findall(r"FLEX_TEMPLATE_PYTHON_PY_FILE=(\S+)", " ".join(arguments(instructions, "ENV")))
    assert "from jobs.lead import main" in started and started.endswith(place)


def test_the_templates_in_the_docs_are_those_of_the_stages(checkout):
    spec = importlib.util.spec_from_file_location("make_templates", checkout / "docs" / "make_templates.py")
    make_templates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_templates)
    folder = checkout / "docs/dataflow/templates"
    assert {path.name: path.read_text() for path in folder.iterdir()} == make_templates.describe_templates(), (
        "run `make docs`"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_of_a_stage_is_a_parameter_that_its_command_takes(checkout, stage):
    template = json.loads((checkout / f"docs/dataflow/templates/{stage}.json").read_text())
    names = [parameter["name"] for parameter in template["parameters"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-zA-Z][-_a-zA-Z0-9]+", name) for name in names)
    for option in options_of(load_stage(stage)):
        value = "true" if option.scalar is bool else "1"
        assert option.key in names
        _, command, flags = split_parameters([f"--stage={stage}", f"--{option.key}={value}"])
        assert command[0].startswith(option.flag) and not flags


def test_the_leaders_own_flags_are_not_those_of_the_steps():
    given = ["--stage=match-pairs", "--data=gs://b/d", "--project=p", "--job_name=j", "--template_location=gs://b/t"]
    stage, command, flags = split_parameters([*given, "--steps_max_num_workers=9", "--max_num_workers=1"])
    assert (stage, command) == (
        "match-pairs",
        ["--data=gs://b/d", "--quiet", "--project=p", "--max_num_workers=9"],
    )
    assert flags == ["--project=p", "--job_name=j", "--template_location=gs://b/t", "--max_num_workers=1"]


def test_a_template_without_a_stage_is_refused():
    with pytest.raises(ValueError, match="stage must be one of"):
        split_parameters(["--stage=cook"])


def test_a_switch_is_true_or_false():
    with pytest.raises(ValueError, match="robots must be true or false, not 'yes'"):
        split_parameters(["--stage=fetch-images", "--robots=yes"])
