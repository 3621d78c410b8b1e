"""Presets of options: their values, what is given besides, and flags."""

import argparse
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pipeline.base.options import add_flags, option, options_from, options_of
from pipeline.vocabulary.stage import BuildVocab
from vocab.normalize import METACLIP, Normalization


@dataclass(kw_only=True)
class Kitchen:
    """A stage with presets."""

    name: ClassVar[str] = "kitchen"
    presets: ClassVar = {"soup": {"max_spoons": 3, "heat": "low"}}

    max_spoons: int | None = option(None, "Spoons.")
    heat: str = option("high", "Heat.")


def test_a_preset_stands_for_its_values():
    assert options_from(Kitchen, {"preset": "soup"}) == Kitchen(max_spoons=3, heat="low")
    assert options_from(Kitchen, {}) == Kitchen(max_spoons=None, heat="high")


@pytest.mark.parametrize("key", ["max-spoons", "max_spoons"])
def test_what_is_given_besides_goes_before_a_preset_even_if_it_is_the_default(key):
    assert options_from(Kitchen, {"preset": "soup", key: 9}) == Kitchen(max_spoons=9, heat="low")
    assert options_from(Kitchen, {"heat": "high", "preset": "soup"}) == Kitchen(max_spoons=3, heat="high")


def test_an_unknown_preset_is_refused_and_so_is_one_of_a_class_without():
    with pytest.raises(ValueError, match="kitchen: preset must be one of soup, not 'stew'"):
        options_from(Kitchen, {"preset": "stew"})
    plain = type("Plain", (), {})
    with pytest.raises(ValueError, match="unknown option 'preset'"):
        options_from(dataclass(plain), {"preset": "soup"})


def test_the_preset_is_a_flag_and_no_field():
    parser = argparse.ArgumentParser()
    add_flags(parser, Kitchen)
    assert vars(parser.parse_args([])) == {}
    assert vars(parser.parse_args(["--preset", "soup", "--heat", "no"])) == {"preset": "soup", "heat": "no"}
    with pytest.raises(TypeError):
        Kitchen(preset="soup")


def test_metaclips_preset_has_its_thresholds_and_its_matching():
    stage = options_from(BuildVocab, {"dump": ["d"], "preset": "metaclip"})
    assert (stage.numbers_below, stage.min_word_count, stage.min_pmi, stage.min_views) == (100, 100, 30.0, 70)
    assert (stage.min_bigram_count, stage.least_bigram_word_count, stage.max_bigrams) == (1, 1, None)
    assert (stage.qualifiers, stage.articles_only, stage.all_lemmas) == ("keep", False, False)
    assert stage.max_queries == 500_000
    assert stage.normalization_in("en") == METACLIP
    assert stage.counting_in("en") == Normalization(clitics="none")
    assert stage.case == "fold"  # its words are in lower case


def test_clips_numbers_are_the_default():
    stage = options_from(BuildVocab, {"dump": ["d"]})
    assert (stage.min_word_count, stage.max_queries) == (100, 500_000)
    assert stage.normalization_in("simple") == stage.counting_in("en") == Normalization()
    assert stage.least_bigram_word_count == 100


def test_clitics_are_those_of_the_wiki_or_as_the_option_says():
    stage = options_from(BuildVocab, {"dump": ["d"]})
    found = [stage.normalization_in(language).clitics for language in ("fr", "tr", "uk", "")]
    assert found == ["fr", "tr", "none", "none"]
    assert options_from(BuildVocab, {"dump": ["d"], "clitics": "ca"}).normalization_in("es").clitics == "ca"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clitics": "english"}, "build-vocab: clitics must be one of none, .*, not 'english'"),
        ({"clitics": "en", "preset": "metaclip"}, "build-vocab: MetaCLIP's search knows no clitics; .* not 'en'"),
    ],
)
def test_clitics_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        options_from(BuildVocab, {"dump": ["d"], **values})


def test_presets_name_options_only():
    known = {opt.name for opt in options_of(BuildVocab)}
    for values in BuildVocab.presets.values():
        assert values.keys() <= known
