"""Lemmas and synsets from WordNet's files: a tiny one, a zipped one, a broken one, the real one."""

import shutil

import nltk.data
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vocab.synsets import LEMMAS, WordNetMissing, cut_names, find_wordnet, name_synsets, read_lemmas

LICENCE = "  1 This software and database is being provided to you, the LICENSEE\n"
DATA = {
    "noun": "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is\n"
    "00002684 03 n 02 hot_dog 0 Red_Hot 1 001 @ 00001740 n 0000 | a snack (of sorts)\n",
    "verb": "00001740 29 v 01 breathe 0 001 @ 00002684 v 0000 01 + 02 00 | draw air\n",
    "adj": "00001740 00 a 02 able(p) 0 Able 1 001 = 05200169 n 0000 | having means\n",
    "adv": "00001740 02 r 0a a_cappella 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 000 | without music\n",
}


@pytest.fixture
def nltk_data(tmp_path):
    """A folder of NLTK data with a WordNet of five synsets."""
    folder = tmp_path / "nltk_data"
    corpus = folder / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    for part, lines in DATA.items():
        (corpus / f"data.{part}").write_text(LICENCE + lines)
    return folder


def names_in(folder="", **options):
    return sorted(set(read_lemmas(folder, **options)["lemma"].to_pylist()))


def test_every_lemma_is_a_name_as_wordnet_writes_it(nltk_data):
    one_word = ["Able", "able", "breathe", "entity", *"bcdefghij"]
    assert names_in(str(nltk_data)) == sorted([*one_word, "Red Hot", "a cappella", "hot dog"])
    assert find_wordnet(str(nltk_data)).endswith("data.noun")


def test_the_first_lemmas_may_be_taken_alone(nltk_data):
    assert names_in(str(nltk_data), all_lemmas=False) == ["a cappella", "able", "breathe", "entity", "hot dog"]


def test_a_lemma_comes_with_its_synset(nltk_data):
    rows = read_lemmas(str(nltk_data)).to_pylist()
    assert rows[:3] == [
        {"lemma": "entity", "synset": "n00001740"},
        {"lemma": "hot dog", "synset": "n00002684"},
        {"lemma": "Red Hot", "synset": "n00002684"},
    ]
    assert {"lemma": "breathe", "synset": "v00001740"} in rows


def test_lemmas_of_one_name_are_together_in_their_commonest_spelling():
    rows = [("May", "n3"), ("may", "v2"), ("May", "n1"), ("MAY", "n1"), ("'", "n9")]
    lemmas = pa.table([[row[0] for row in rows], [row[1] for row in rows]], schema=LEMMAS)
    named = name_synsets(lemmas, pa.array(["may", "may", "may", "may", ""]))
    assert named.to_pylist() == [{"synset": "may", "display": "May", "synsets": ["n1", "n3", "v2"]}]


def test_a_zipped_wordnet_is_read_as_it_is(nltk_data):
    corpora = nltk_data / "corpora"
    shutil.make_archive(str(corpora / "wordnet"), "zip", root_dir=corpora, base_dir="wordnet")
    expected = read_lemmas(str(nltk_data))
    shutil.rmtree(corpora / "wordnet")
    assert find_wordnet(str(nltk_data)).endswith("wordnet.zip")
    assert read_lemmas(str(nltk_data)).equals(expected)


def test_without_wordnet_the_message_tells_how_to_get_it(tmp_path):
    with pytest.raises(WordNetMissing, match=r"wit400m get-wordnet.*wordnet-base.*nltk\.downloader"):
        find_wordnet(str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nltk.data.path", [])
        with pytest.raises(WordNetMissing, match="search path"):
            find_wordnet()


def test_a_folder_is_on_nltks_search_path_only_while_it_is_read(nltk_data):
    before = list(nltk.data.path)
    read_lemmas(str(nltk_data))
    assert nltk.data.path == before


def test_a_wordnet_with_a_file_missing_is_not_whole(nltk_data):
    (nltk_data / "corpora" / "wordnet" / "data.adj").unlink()
    with pytest.raises(WordNetMissing, match="not whole"):
        read_lemmas(str(nltk_data))


@pytest.mark.slow
def test_names_equal_those_of_nltks_own_reader():
    from nltk.corpus import wordnet

    try:
        find_wordnet()
    except WordNetMissing:
        pytest.skip("no WordNet on NLTK's search path")
    lemmas = read_lemmas()
    assert set(pc.utf8_lower(lemmas["lemma"]).to_pylist()) == {n.replace("_", " ") for n in wordnet.all_lemma_names()}
    assert len(pc.unique(lemmas["synset"])) == 117_659
    dog = wordnet.synset("dog.n.01")
    in_dog = lemmas.filter(pc.equal(lemmas["synset"], f"{dog.pos()}{dog.offset():08d}"))["lemma"].to_pylist()
    assert in_dog == [lemma.name().replace("_", " ") for lemma in dog.lemmas()]
    names = {name.lower() for name in names_in(all_lemmas=False)}
    cut = pc.utf8_lower(cut_names(read_lemmas(all_lemmas=False))["lemma"]).to_pylist()
    assert set(cut) == {synset.name().split(".")[0].replace("_", " ") for synset in wordnet.all_synsets()}
    assert len(set(cut)) == 86_555  # MetaCLIP's rule, with the empty name of .22 caliber, which it leaves out later
    assert {synset.name().rsplit(".", 2)[0].replace("_", " ") for synset in wordnet.all_synsets("r")} <= names
    assert len(names) == 86_571  # of WordNet 3.0, by NLTK's all_synsets
