"""Flags that are handed to Beam: spelt with dashes or underscores, in one word or two, they mean the same."""

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from jobs.engines import BadFlags, Engine, _beam_flags, _spell_beam_flags


def options_of(*flags):
    return PipelineOptions(list(Engine(workers=1, beam_flags=flags).beam_flags)).get_all_options(drop_default=True)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        pytest.param(["--temp-location=gs://b/tmp"], "temp_location", "gs://b/tmp", id="one word"),
        pytest.param(["--temp-location", "gs://b/tmp"], "temp_location", "gs://b/tmp", id="two words"),
        pytest.param(["--num-workers", "3"], "num_workers", 3, id="a number"),
        pytest.param(["--num_workers=3"], "num_workers", 3, id="underscores"),
        pytest.param(["--no-auth"], "no_auth", True, id="a switch"),
        pytest.param(["--job_server_timeout=5"], "job_server_timeout", 5, id="one that Beam spells with dashes"),
        pytest.param(["--sdk-location=a-b/c_d=e"], "sdk_location", "a-b/c_d=e", id="a value stays as it is"),
    ],
)
def test_dashes_and_underscores_have_the_same_effect(flags, name, value):
    assert options_of(*flags)[name] == value


def test_a_dry_run_is_one_however_it_is_spelt():
    assert options_of("--dry-run=True") == options_of("--dry_run=True") == options_of("--dry-run", "True")
    assert options_of("--dry-run=True")["dry_run"] in (True, "True")


def test_every_flag_of_beam_is_known_with_dashes_too():
    flags = _beam_flags()
    assert len(flags) > 150
    for canonical, beams in flags.items():
        dashed = "--" + canonical.replace("_", "-")
        assert _spell_beam_flags([f"{dashed}=a-b", "a-b"]) == (f"{beams}=a-b", "a-b")


@pytest.mark.parametrize("flag", ["--max_samples=1", "--dry-runs", "--num--workers=1", "-x", "--dry.run"])
def test_what_is_no_flag_of_beam_is_refused(flag):
    with pytest.raises(BadFlags, match="unknown flag: " + flag.partition("=")[0]):
        Engine(workers=1, beam_flags=(flag,))


def test_a_portable_runner_without_a_service_is_refused():
    with pytest.raises(BadFlags, match="needs --job_endpoint"):
        Engine(workers=1, beam_flags=("--runner=PortableRunner",))
