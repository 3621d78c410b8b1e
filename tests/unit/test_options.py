"""Options: flags, TOML values and checks come from one declaration."""

import argparse
from dataclasses import dataclass
from typing import Literal

import pytest

from pipeline.base.options import add_flags, check_options, identity_of, option, options_from, options_of


@dataclass(kw_only=True)
class Toy:
    name = "toy-stage"
    cap: int = option(20, "Pairs kept.", minimum=1, maximum=100)
    share: float | None = option(None, "A share.", minimum=0)
    mode: Literal["fast", "slow"] = option("fast", "How.")
    pace: Literal["even"] | None = option(None, "How evenly.")
    inputs: tuple[str, ...] = option((), "Files.")
    strict: bool = option(False, "Whether.")
    workers: int = option(2, "Processes.", identity=False)
    pairs: str = option("", "Folder.", under_data="pairs")

    def __post_init__(self):
        check_options(self)


def parse(*words):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, Toy)
    return options_from(Toy, vars(parser.parse_args(words)), data="d")


def test_flags_give_what_fields_declare():
    toy = parse("--cap", "3", "--inputs", "a", "b", "--inputs", "c", "--strict", "--share", "0.5")
    assert (toy.cap, toy.inputs, toy.strict, toy.share) == (3, ("a", "b", "c"), True, 0.5)


def test_absent_flags_leave_the_defaults():
    assert parse() == Toy(pairs="d/pairs")


def test_an_empty_path_lies_under_the_data_folder():
    assert parse().pairs == "d/pairs"
    assert parse("--pairs", "x").pairs == "x"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"cap": 0}, "toy-stage: cap must be at least 1, not 0", id="too small"),
        pytest.param({"cap": 101}, "toy-stage: cap must be at most 100, not 101", id="too large"),
        pytest.param({"cap": "3"}, "toy-stage: cap must be a whole number, not '3'", id="wrong type"),
        pytest.param({"cap": True}, "toy-stage: cap must be a whole number, not True", id="a bool is no number"),
        pytest.param({"cap": None}, "toy-stage: cap must be given", id="missing"),
        pytest.param({"share": float("nan")}, "toy-stage: share must be a number, not nan", id="nan"),
        pytest.param({"mode": "quick"}, "toy-stage: mode must be one of fast, slow, not 'quick'", id="choice"),
        pytest.param({"pace": "odd"}, "toy-stage: pace must be one of even, not 'odd'", id="choice or none"),
        pytest.param({"inputs": "a"}, "toy-stage: inputs must be a list, not 'a'", id="not a list"),
        pytest.param({"capp": 3}, "toy-stage: unknown option 'capp'; did you mean cap?", id="misspelt"),
    ],
)
def test_a_bad_value_names_stage_field_and_value(values, message):
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")):
        options_from(Toy, values)


def test_identity_leaves_out_paths_and_what_cannot_change_the_output():
    assert identity_of(Toy()) == {"cap": 20, "share": None, "mode": "fast", "pace": None, "inputs": (), "strict": False}


def test_help_shows_defaults(capsys):
    parser = argparse.ArgumentParser()
    add_flags(parser, Toy)
    text = parser.format_help()
    assert "Pairs kept. [20]" in text
    assert "[DATA/pairs]" in text
    assert next(opt.flag for opt in options_of(Toy)) == "--cap"


def test_a_sparse_option_decides_the_output_only_when_it_is_not_the_default():
    @dataclass(kw_only=True)
    class Older:
        cap: int = option(20, "Pairs kept.")
        where: str = option("", "Which.", sparse=True)

    assert identity_of(Older()) == {"cap": 20}
    assert identity_of(Older(where="a > 1")) == {"cap": 20, "where": "a > 1"}
