"""What the data card says of the rules that were switched off."""

import pytest

from pipeline.base.options import options_of
from pipeline.base.options import switched_off as options_switched_off
from pipeline.extraction.stage import ExtractPairs
from pipeline.fetching.stage import FetchImages
from pipeline.sharding.card import CARD_QUERIES, MANNERS, card_text, switched_off

KEPT = {"robots": True, "respect_noindex": True, "allow_private": False, "verify_tls": True, "host_rate": 20.0}


def run(stage="fetch-images", **options):
    return {"stage": stage, "counts": {}, "options": KEPT | options}


def card(history):
    manifest = {"samples": 0, "bytes": 0, "images": {}, "shards": []}
    return card_text(CARD_QUERIES.empty_table(), history, manifest, ())


def test_a_card_says_so_when_no_rule_was_switched_off():
    text = card([run("extract-pairs", noindex=True), run("match-pairs"), run()])
    assert "None: all rules" in text
    assert "were not kept" not in text


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.option)
def test_a_card_names_each_rule_that_was_switched_off(manner):
    history = [
        run(),
        run(manner.stage, **{manner.option: manner.off}),
        run("other-stage", **{manner.option: manner.off}),
    ]
    text = card(history)
    assert manner.sentence in text
    assert f"{manner.stage}, {manner.option.replace('_', '-')}; in 1 of" in text
    assert "None: all rules" not in text
    assert len(switched_off(history)) == 1


def test_a_rule_that_decides_no_output_is_known_by_its_name():
    rates = FetchImages(contact="me@lab.example", host_rate=0.0, shared_limit=0.0)
    assert options_switched_off(rates) == ["host_rate", "shared_limit"]
    history = [{"stage": "fetch-images", "counts": {}, "options": {}, "switched_off": options_switched_off(rates)}]
    assert [line.partition(" (")[0] for line in switched_off(history)] == [
        "Requests to one host were not held to a rate.",
        "Requests to the hosts of one site or address were not held to a rate.",
    ]


def test_every_rule_that_can_be_switched_off_has_a_sentence_on_the_card():
    named = {(manner.stage, manner.option) for manner in MANNERS}
    for stage in (ExtractPairs, FetchImages):
        for opt in options_of(stage):
            if opt.spec.off is not None:
                assert (stage.name, opt.name) in named
                assert opt.default != opt.spec.off


def test_runs_are_counted():
    assert "in 2 of 3 runs" in card([run(robots=False), run(robots=False, allow_private=True), run()])


def test_of_a_run_without_options_nothing_is_claimed():
    text = card([{"stage": "fetch-images", "counts": {}}, {"stage": "match-pairs", "counts": {}}])
    assert "Of 1 runs of an older version it is not known." in text
    assert "None: all rules" not in text


def test_the_rules_are_options_of_their_stages_and_not_off_by_default():
    stages = {stage.name: {opt.name: opt for opt in options_of(stage)} for stage in (ExtractPairs, FetchImages)}
    known = [(manner, opt) for manner in MANNERS if (opt := stages[manner.stage].get(manner.option))]
    assert {manner.option for manner, _ in known} >= {
        "noindex",
        "robots",
        "tdm_file",
        "respect_noindex",
        "allow_private",
    }
    for manner, opt in known:
        assert opt.default != manner.off
