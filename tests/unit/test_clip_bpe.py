"""The byte-level BPE: its ids, its training, its file."""

import gzip
import html
import random

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_train.errors import InputError
from clip_train.tokenizers.bpe import ClipTokenizer, clean_text, train_tokenizer

TEXTS = [
    f"a photo of {n} {colour} {shape}s, isn't it"
    for n in range(9)
    for colour in ("red", "blue")
    for shape in ("star", "étoile", "星")
]
TOKENIZER = train_tokenizer(TEXTS, vocab_size=700)


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_every_text_comes_back_from_its_ids(text):
    (ids,) = TOKENIZER.encode([text])
    assert TOKENIZER.decode(ids).replace(" ", "") == "".join(clean_text(text).split())


def test_known_words_are_one_token_and_unknown_ones_fall_apart_into_bytes():
    known, unknown = TOKENIZER.encode(["photo", "xyzq"])
    assert len(known) == 1
    assert len(unknown) == 4
    assert TOKENIZER.decode(known) == "photo"


def test_special_tokens_are_the_two_last_ids():
    assert (TOKENIZER.start_id, TOKENIZER.end_id) == (TOKENIZER.vocab_size - 2, TOKENIZER.vocab_size - 1)
    assert TOKENIZER.vocab_size == 512 + len(TOKENIZER.merges) + 2 <= 700


def test_a_text_cannot_spell_a_special_token():
    (ids,) = TOKENIZER.encode(["<|endoftext|> <|startoftext|>"])
    assert max(ids) < TOKENIZER.start_id


def test_rows_are_start_text_end_and_zeros():
    row, other = TOKENIZER.tokenize(["a star", ""], 8).tolist()
    (ids,) = TOKENIZER.encode(["a star"])
    assert row == [TOKENIZER.start_id, *ids, TOKENIZER.end_id] + [0] * (6 - len(ids))
    assert other == [TOKENIZER.start_id, TOKENIZER.end_id] + [0] * 6
    assert TOKENIZER.tokenize("a star", 8).tolist() == [row]


def test_a_long_text_raises_unless_it_may_be_cut():
    text = "photo " * 20
    with pytest.raises(InputError, match="22 tokens is longer than the context of 10"):
        TOKENIZER.tokenize(text, 10)
    (row,) = TOKENIZER.tokenize(text, 10, truncate=True).tolist()
    assert row[0] == TOKENIZER.start_id
    assert row[-1] == TOKENIZER.end_id
    assert TOKENIZER.tokenize("photo " * 8, 10)[0, -1] == TOKENIZER.end_id


def test_training_gives_the_same_merges_for_texts_in_any_order():
    rng = random.Random(0)
    words = ["".join(rng.choice("abcdefgéz") for _ in range(rng.randint(1, 6))) for _ in range(200)]
    texts = [" ".join(rng.choices(words, k=8)) for _ in range(500)]
    first = train_tokenizer(texts, vocab_size=700)
    assert first.vocab_size == 700
    assert train_tokenizer(reversed(texts), vocab_size=700).merges == first.merges


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path):
    TOKENIZER.save(str(tmp_path / "merges.txt"))
    loaded = ClipTokenizer.load(str(tmp_path / "merges.txt"))
    assert loaded.vocab_size == TOKENIZER.vocab_size
    assert loaded.encode(TEXTS) == TOKENIZER.encode(TEXTS)


def test_openais_layout_of_a_merges_file_is_read(tmp_path):
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', "t h", "th e</w>"]
    (tmp_path / "merges.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    tokenizer = ClipTokenizer.load(str(tmp_path / "merges.txt.gz"))
    # CLIP numbers printable bytes first: "!" is 0, "a" is 64; word ends follow at 256, merges at 512
    assert tokenizer.encode(["!", "a", "the", "THE th"]) == [
        [256],
        [320],
        [513],
        [513, tokenizer.encode(["th"])[0][0], *tokenizer.encode(["th"])[0][1:]],
    ]
    assert (tokenizer.start_id, tokenizer.end_id) == (514, 515)


@pytest.mark.parametrize(
    "content", [b"", b"hello\nworld\n", b"#version: 1\na b c\n", b"\x1f\x8b broken", b"\xff\xfe"], ids=repr
)
def test_a_file_that_holds_no_merges_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.txt"):
        ClipTokenizer.load(str(path))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A\tRed\n circle ", "a red circle"),
        ("Tom &amp;amp; Jerry", "tom & jerry"),
        ("â€œquotedâ€\x9d", '"quoted"'),
        ("ＦＵＬＬ width", "full width"),
        ("a\x00 b\x1b[31mc\x7f", "a bc"),
    ],
    ids=["white space and case", "entities twice", "mojibake", "full width", "control characters"],
)
def test_cleaning_is_clips(text, cleaned):
    assert clean_text(text) == cleaned


@given(st.text(st.characters(max_codepoint=127) | st.sampled_from("&;\x00\x1b\x7f"), max_size=30))
def test_ascii_that_is_not_repaired_needed_no_repair(text):
    repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean_text(text) == " ".join(repaired.split()).lower()
