"""What the data card says of rules that were switched off, of opt-outs, of queries and of what people state."""

import html
import re

import numpy as np
import pyarrow as pa
import pytest

from pipeline.base.options import options_of
from pipeline.base.options import switched_off as options_switched_off
from pipeline.extraction.stage import ExtractPairs
from pipeline.fetching.stage import FetchImages
from pipeline.sharding.card.counting import SCORE_COUNTS, VALUE_COUNTS
from pipeline.sharding.card.facts import CardFacts
from pipeline.sharding.card.manners import MANNERS, OPT_OUTS, honoured, switched_off
from pipeline.sharding.card.options import Said
from pipeline.sharding.card.page import render_page
from pipeline.sharding.card.picking import PICKS
from pipeline.sharding.card.queries import CARD_QUERIES, head_rows, query_table, tail_rows, with_fewer
from pipeline.sharding.card.readme import render_readme
from pipeline.sharding.card.survey import Survey

KEPT = {"robots": True, "respect_noindex": True, "allow_private": False, "verify_tls": True, "host_rate": 20.0}


def run(stage="fetch-images", **options):
    return {"stage": stage, "counts": {}, "options": KEPT | options}


def facts(history=(), **others):
    """Facts on an empty set, and others."""
    empty = CardFacts(
        manifest={"samples": 0, "bytes": 0, "images": {}, "shards": []},
        carried=(),
        queries=CARD_QUERIES.empty_table(),
        history=list(history),
        survey=Survey(VALUE_COUNTS.empty_table(), PICKS.empty_table()),
        scores=SCORE_COUNTS.empty_table(),
        pictures={},
        said=Said(),
        versions=[],
        decontamination=[],
    )
    return empty._replace(**others)


@pytest.fixture(params=[render_readme, render_page], ids=["readme", "page"])
def card(request):
    """Gives the text of the card, as Markdown and as a page, of a history."""
    return lambda history: html.unescape(request.param(facts(history)))


def test_a_card_says_so_when_no_rule_was_switched_off(card):
    text = card([run("extract-pairs", noindex=True), run("match-pairs"), run()])
    assert "None: all rules" in text
    assert "were not kept" not in text


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.option)
def test_a_card_names_each_rule_that_was_switched_off(card, manner):
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


def test_runs_are_counted(card):
    assert "in 2 of 3 runs" in card([run(robots=False), run(robots=False, allow_private=True), run()])


def test_of_a_run_without_options_nothing_is_claimed(card):
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


def test_opt_outs_are_counted_over_all_runs_and_other_losses_are_none():
    counts = {"images/in": 9, "images/kept": 2, "images/drop/robots_disallow": 3, "images/drop/not_found": 4}
    rows = honoured([{"stage": "fetch-images", "counts": counts}] * 2)
    assert rows == [("fetch-images, images", OPT_OUTS["robots_disallow"], 6)]


def table(*found, samples):
    cuts = {"query_id": list(range(len(found))), "query": [f"q{place}" for place in range(len(found))]}
    return query_table(pa.table({**cuts, "count": found, "kept": found}), np.array(samples))


def test_queries_are_shown_from_both_ends():
    queries = table(5, 900, 0, 7, 7, samples=[0, 100, 0, 2, 7])
    assert [row[0] for row in head_rows(queries, 3)] == ["q1", "q3", "q4"]
    assert [row[0] for row in tail_rows(queries, 2)] == ["q3", "q4"]
    assert [row[0] for row in tail_rows(queries, 9)] == ["q3", "q4", "q1"]  # none without samples
    assert with_fewer(queries, np.array([0, 1, 0, 0, 7]))["samples"].to_pylist() == [99, 2, 0, 0, 0]


def test_of_many_rare_queries_not_the_first_letters_are_shown():
    queries = table(*[3] * 500, samples=[1] * 500)
    rows = tail_rows(queries, 20)
    assert len(rows) == 20
    assert rows != sorted(rows)


def words(page):
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


@pytest.mark.parametrize("render", [render_readme, render_page], ids=["readme", "page"])
def test_what_nobody_stated_is_said_to_be_so_and_what_was_is_shown(render):
    text = words(render(facts()))
    assert text.count("is not stated") == 3
    said = Said("Cats", "cats@lab.example", "cc-by-4.0", "@misc{cats,\n  title={Cats}}")
    text = words(render(facts(said=said)))
    assert "not stated" not in text
    assert all(word in text for word in ("Cats", "cats@lab.example", "cc-by-4.0", "@misc{cats, title={Cats}}"))


def test_a_contact_is_a_link_if_it_is_an_address_and_never_a_script():
    pages = {
        contact: render_page(facts(said=Said(contact=contact)))
        for contact in ("me@lab.example", "https://lab.example/ask", "javascript:alert(1)", "room <3>")
    }
    links = {contact: re.findall('href="([^#][^"]*)"', page) for contact, page in pages.items()}
    assert list(links.values()) == [["mailto:me@lab.example"], ["https://lab.example/ask"], [], []]


def test_evaluation_sets_and_removals_are_told():
    report = {"name": "cifar", "images": 10_000, "unreadable": 1, "hashes": 0, "exact": 5, "near": 77, "images_hit": 60}
    removal = {"stage": "remove", "counts": {"samples/in": 50, "samples/kept": 47, "samples/drop/blocked": 3}}
    text = words(render_page(facts([removal], decontamination=[report])))
    assert "cifar 10,000 0 1 5 77 60" in text
    assert "3 samples were removed since the set was made, in 1 run." in text
    assert "was not compared" not in text
