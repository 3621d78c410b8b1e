"""Counting words over arrays equals counting them one by one."""

import subprocess
import sys
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocab.kernels import chunks
from vocab.kernels.chunks import ChunkTable, load_kernels, look_up
from vocab.kernels.sums import add_up
from vocab.normalize import normalize_column, tokenize
from vocab.words import PHRASE_END, WORD_FORMS, WORD_SUMS, TokenCounter, select_words, sum_forms

LINES = st.lists(
    st.text(st.sampled_from("abABs'+# .,1éÉßǅ中国\U0001f600\t\u00a0\u0301\u0345-"), max_size=12), max_size=8
)


def count(lines, case="fold", clitics="en"):
    counter = TokenCounter(case, clitics)
    for line in lines:
        counter.add_lines(line)
    return counter.count()


def forms_of(table):
    columns = (table[name].to_pylist() for name in WORD_FORMS.names)
    return {(word, form): number for word, form, number in zip(*columns, strict=True)}


def counts_of(table):
    return dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))


def table_of(counts, schema=WORD_SUMS):
    return pa.table([pa.array(list(counts), pa.string()), pa.array(list(counts.values()), pa.int64())], schema=schema)


def form_table(*rows):
    return pa.Table.from_pylist([dict(zip(WORD_FORMS.names, row, strict=True)) for row in rows], schema=WORD_FORMS)


def select(counts, **options):
    return select_words(form_table(*((word, word, number) for word, number in counts.items())), **options)


@settings(max_examples=150)
@given(LINES, st.sampled_from(["fold", "sensitive"]), st.integers(1, 30))
def test_counts_and_order_equal_those_of_single_tokens(plain_phrases, lines, case, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.words._BATCH_CHARACTERS", batch)
        table = count(lines, case, clitics="none")  # a clitic would be a phrase of its own
    tokens = [tokenize(line, case=case, clitics="none") for line in lines]
    assert counts_of(sum_forms(table.word_forms)) == Counter(token for line in tokens for token in line)
    rows = list(forms_of(table.word_forms))
    assert rows == sorted(rows)
    spelled = [None if number == PHRASE_END else rows[number][0] for number in table.tokens]
    assert not any(item is other is None for item, other in pairwise(spelled))
    phrases = [tokenize(phrase, case=case, clitics="none") for line in lines for phrase in plain_phrases(line)]
    found = [list(phrase) for is_end, phrase in groupby(spelled, lambda item: item is None) if not is_end]
    assert found == [phrase for phrase in phrases if phrase]


@settings(max_examples=100)
@given(LINES)
def test_forms_are_the_tokens_with_their_case(plain_phrases, lines):
    expected = Counter()
    for phrase in (phrase for chunk in " ".join(lines).split(" ") for phrase in plain_phrases(chunk)):
        words, forms = tokenize(phrase), tokenize(phrase, case="sensitive")
        expected.update(zip(words, forms if len(words) == len(forms) else words, strict=True))
    assert forms_of(count([" ".join(lines)]).word_forms) == expected


@settings(max_examples=150)
@given(st.text(max_size=30), st.sampled_from(["fold", "sensitive"]))
def test_chunks_have_the_tokens_of_the_whole_text(text, case):
    chunks = normalize_column(pa.array(text.split(" "), pa.string()), case=case).to_pylist()
    assert " ".join(chunk for chunk in chunks if chunk).split() == tokenize(text, case=case)


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from("ab é\n"), max_size=40), max_size=6))
def test_arrow_numbers_chunks_as_the_compiled_loop_does(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.kernels.chunks._FIRST_SLOTS", 4)  # so that the table grows
        compiled = ChunkTable()
        patch.setattr("vocab.kernels.standalone.Kernel.find_obstacle", lambda _: "none of it")
        by_arrow = ChunkTable()
    for text in texts:
        assert compiled.number_chunks(text.encode()).tolist() == by_arrow.number_chunks(text.encode()).tolist()
    assert compiled.chunks().equals(by_arrow.chunks())


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(-1, 9), max_size=4), min_size=1, max_size=5), st.data())
def test_numpy_looks_up_as_the_compiled_loop_does(rows, data):
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))
    arguments = (
        np.array(numbers, np.int32),
        np.array([value for row in rows for value in row], np.int32),
        np.cumsum([0, *map(len, rows)]),
    )
    compiled = look_up(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.kernels.standalone.Kernel.find_obstacle", lambda _: "none of it")
        assert look_up(*arguments).tolist() == compiled.tolist()
    assert compiled.tolist() == [value for number in numbers for value in rows[number]]


def test_a_case_that_makes_another_number_of_tokens_leaves_the_word_as_its_form():
    assert forms_of(count(["A \u0345"]).word_forms) == {("a", "A"): 1, ("ι", "ι"): 1}


def test_words_are_counted_as_they_are_searched_for():
    counter = TokenCounter("fold", "fr")
    counter.add_lines("L'église et l’École d'Art: C++")
    expected = Counter(tokenize("L'église et l’École d'Art: C++", clitics="fr"))
    assert counts_of(sum_forms(counter.count().word_forms)) == expected
    assert expected["église"] == expected["école"] == 1


def test_no_lines_give_no_words():
    table = count([])
    assert table.word_forms.num_rows == 0
    assert table.word_forms.schema == WORD_FORMS
    assert len(table.tokens) == 0


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), max_size=6))
def test_sums_do_not_depend_on_how_many_are_held_at_a_time(parts):
    total = sum(map(Counter, parts), Counter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocab.kernels.sums._PENDING_ROWS", 3)
        table = add_up(map(table_of, parts), WORD_SUMS)
    assert table["word"].to_pylist() == sorted(total)
    assert counts_of(table) == total


def test_sums_of_forms_tell_words_and_forms_apart():
    parts = [form_table(("a", "A", 1), ("b", "A", 2)), form_table(("a", "A", 3), ("a", "a", 1))]
    assert forms_of(add_up(parts, WORD_FORMS)) == {("a", "A"): 4, ("a", "a"): 1, ("b", "A"): 2}


def test_words_are_frequent_and_have_a_letter_unless_numbers_are_asked_for():
    counts = {"a": 5, "b2b": 5, "rare": 4, "1984": 50, "国": 5, "½": 9, "7": 3}
    assert counts_of(select(counts, min_count=5)) == {"a": 5, "b2b": 5, "国": 5}
    assert counts_of(select(counts, min_count=5, all_numbers=True)) == {"a": 5, "b2b": 5, "国": 5, "1984": 50, "½": 9}


def test_a_word_is_displayed_in_its_most_frequent_form():
    table = form_table(("us", "US", 4), ("us", "us", 9), ("nasa", "Nasa", 2), ("nasa", "NASA", 7), ("x", "X", 1))
    tied = form_table(("may", "may", 5), ("may", "May", 5))
    rows = select_words(pa.concat_tables([table, tied]), min_count=5).to_pylist()
    assert [(row["word"], row["count"], row["display"]) for row in rows] == [
        ("may", 10, "May"), ("nasa", 9, "NASA"), ("us", 13, "us"),
    ]  # fmt: skip


def test_numbers_may_be_words_however_rare():
    kept = select({"a": 5, "1": 3, "3": 9, "1984": 50}, min_count=5, numbers=["0", "1", "2"])
    assert counts_of(kept) == {"0": 0, "1": 3, "2": 0, "a": 5}
    assert kept["word"].to_pylist() == kept["display"].to_pylist() == ["0", "1", "2", "a"]


@pytest.mark.parametrize(
    ("clitics", "text", "phrases"),
    [
        ("en", "the dog's bowl", "the dog | s | bowl"),
        ("en", "bowl dog's bowl", "bowl dog | s | bowl"),
        ("fr", "qu'un d'un un", "qu | un | d | un un"),
        ("en", "It's o'clock, they'd've rock'n'roll", "it | s | o'clock | they | d | ve | rock'n'roll"),
        ("fr", "l'église romane d’aujourd'hui jusqu'à l'", "l | église romane | d | aujourd'hui | jusqu | à l"),
        ("ca", "anar-me'n d'allà", "anar me | n | d | allà"),
        ("tr", "İstanbul'da O'Neill'in evi", "istanbul | da | o'neill | in | evi"),
        ("none", "the dog's bowl", "the dog's bowl"),
    ],
)
def test_a_clitic_is_a_phrase_of_its_own(clitics, text, phrases):
    counter = TokenCounter(clitics=clitics)
    counter.add_lines(text)
    table = counter.count()
    words = table.word_forms["word"].to_pylist()
    spelled = " ".join("|" if number == PHRASE_END else words[number] for number in table.tokens)
    assert spelled.strip("| ") == phrases


@settings(max_examples=100)
@given(
    st.lists(st.text(st.sampled_from("sdlqu' ’aé."), max_size=14), max_size=5),
    st.sampled_from(["en", "fr", "ca", "tr"]),
)
def test_clitics_change_where_phrases_end_and_no_words(lines, clitics):
    counter = TokenCounter(clitics=clitics)
    for line in lines:
        counter.add_lines(line)
    table = counter.count()
    words = table.word_forms["word"].to_pylist()
    tokens = [word for line in lines for word in tokenize(line, clitics=clitics)]
    assert [words[number] for number in table.tokens if number != PHRASE_END] == tokens


def test_words_are_counted_by_machine_code_where_numba_cannot_be_loaded():
    load_kernels()  # makes it, where it is not kept yet
    if chunks._number_chunks.find_obstacle():
        pytest.skip("nothing is compiled here")
    code = """if True:
        import sys
        sys.modules["numba"] = None
        from vocab.kernels import chunks
        from vocab.words import TokenCounter
        assert not chunks._number_chunks.find_obstacle() and not chunks._look_up.find_obstacle()
        counter = TokenCounter()
        counter.add_lines("a b, a")
        print(counter.count().tokens.tolist())"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["[0,", "1,", "-1,", "0,", "-1]"]
