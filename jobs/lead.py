"""The job that a flex template starts: its one worker leads a stage, and starts the jobs of the stage's steps.

A flex template is one pipeline, and a stage is several with decisions in between. So the template's pipeline has one
element, the stage's command; the worker that gets it runs the command as anyone would, on Dataflow, and waits for it.
Should that worker be lost another one takes the command up where the files say.

In: parameters ``--stage=NAME --OPTION=VALUE …`` and the flags that Dataflow's launcher adds. A list has blanks between
its values; a switch is true or false.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from jobs.runner import OK, load_stage, run_job
from pipeline.base.flow import STAGES
from pipeline.base.options import Option, options_of

# Flags of the launching job that hold for it alone: what is launched for the steps has its own.
_OF_THE_LEADER: Final = ("template_location", "job_name", "num_workers", "max_num_workers", "machine_type")
_STEPS: Final = "steps_"  # of these the parameter for the jobs of the steps, e.g. --steps_max_num_workers=100


class LeadFailed(RuntimeError):
    """The stage's command ended with an error, which is in the worker's log."""


def main(argv: Sequence[str] | None = None) -> None:
    """Builds and runs the leading pipeline."""
    stage, command, flags = split_parameters(sys.argv[1:] if argv is None else argv)
    options = PipelineOptions([*flags, "--no_save_main_session"])
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | "Stage" >> beam.Create([(stage, command)]) | "Lead" >> beam.Map(lead)


def lead(command: tuple[str, list[str]]) -> None:
    """Runs a stage's command to its end.

    Raises:
        LeadFailed: When it fails; Dataflow then tries again, and what is done is skipped.
    """
    stage, flags = command
    if (code := run_job(load_stage(stage), flags)) != OK:
        raise LeadFailed(f"{stage} ended with {code}; its last line on standard error says why")


def split_parameters(argv: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Parameters as a template gets them ► the stage, the flags of its command, the flags of the leading job.

    >>> split_parameters(["--stage=fetch-images", "--from_archive=a b", "--robots=false", "--job_name=j", "--region=r"])
    ('fetch-images', ['--from-archive', 'a', 'b', '--no-robots', '--quiet', '--region=r'], \
['--job_name=j', '--region=r'])

    Raises:
        ValueError: For a stage that there is not.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--stage", default="")
    parser.add_argument("--data")
    known, rest = parser.parse_known_args(list(argv))
    if known.stage not in STAGES:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}, not {known.stage!r}")
    options = {opt.key.replace("_", "-"): opt for opt in options_of(load_stage(known.stage))}
    own, flags, of_steps = [f"--data={known.data}"] if known.data else [], list[str](), list[str]()
    for word in rest:
        name, _, value = word.removeprefix("--").partition("=")
        if (opt := options.get(name.replace("_", "-"))) is not None:
            own += _flag(opt, value)
        elif name.startswith(_STEPS):
            of_steps.append(f"--{name.removeprefix(_STEPS)}={value}")
        else:
            flags.append(word)
            if name not in _OF_THE_LEADER:
                of_steps.append(word)
    return known.stage, [*own, "--quiet", *of_steps], flags


def _flag(opt: Option, value: str) -> list[str]:
    if opt.is_list:
        return [opt.flag, *value.split()]
    if opt.scalar is bool:
        if value not in ("true", "false"):
            raise ValueError(f"{opt.key} must be true or false, not {value!r}")
        return [opt.flag if value == "true" else opt.flag.replace("--", "--no-", 1)]
    return [f"{opt.flag}={value}"]


def describe_template(stage: str) -> dict[str, Any]:
    """The metadata of a stage's flex template: a parameter an option, and those of the leading job."""
    cls = load_stage(stage)
    parameters = [
        _parameter("stage", "Name of the stage.", required=True, regexes=[f"^{stage}$"]),
        _parameter("data", "Folder of all stages' folders, gs://…", required=True, regexes=["^gs://.+$"]),
        _parameter("steps_max_num_workers", "Workers at most of a step's job.", regexes=["^[1-9][0-9]*$"]),
        _parameter("steps_machine_type", "Machine type of a step's workers, e.g. n2-standard-8."),
    ]
    for opt in options_of(cls):
        regexes = {bool: ["^(true|false)$"], int: ["^-?[0-9]+$"], float: ["^-?[0-9.eE+-]+$"]}.get(opt.scalar)
        if opt.choices:
            regexes = [f"^({'|'.join(opt.choices)})$"]
        said = opt.spec.help + (" Several have blanks between them." if opt.is_list else "")
        parameters.append(_parameter(opt.key, said, regexes=None if opt.is_list else regexes))
    return {"name": f"wit400m {stage}", "description": f"{STAGES[stage].help}", "parameters": parameters}


def _parameter(name: str, text: str, *, required: bool = False, regexes: Sequence[str] | None = None) -> dict[str, Any]:
    shown = {"name": name, "label": name.replace("_", " "), "helpText": text, "isOptional": not required}
    return shown | ({"regexes": list(regexes)} if regexes else {})
