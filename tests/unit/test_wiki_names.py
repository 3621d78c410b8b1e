"""Names of wikis: what MediaWiki calls things in the language of each, and the table they come from."""

import importlib.util
import json
import pickle

import pytest

from vocab.site import Site, guess_site, parse_site
from vocab.wiki_names import TABLE_FILE, fold_name, names_of


def wikipedia(code):
    return names_of(Site(host=f"{code}.wikipedia.org"))


@pytest.mark.parametrize(
    ("code", "files", "categories"),
    [
        ("en", {"file", "image"}, {"category"}),
        ("de", {"datei", "bild", "file", "image"}, {"kategorie", "category"}),
        ("fr", {"fichier", "image", "file"}, {"catégorie", "category"}),
        ("vi", {"tập tin", "hình", "file"}, {"thể loại", "category"}),
        ("be", {"файл", "выява", "file"}, {"катэгорыя", "category"}),
        ("ru", {"файл", "изображение", "file"}, {"категория", "к", "category"}),
        ("zh", {"文件", "图像", "档案", "檔案", "圖像", "file"}, {"分类", "分類", "category", "cat"}),
        ("sr", {"датотека", "слика", "datoteka", "slika", "file"}, {"категорија", "kategorija"}),
        ("he", {"קובץ", "תמונה", "קו"}, {"קטגוריה", "קט"}),
        ("ar", {"ملف", "صورة"}, {"تصنيف"}),
        ("no", {"fil", "file"}, {"kategori", "category"}),
        ("zh-min-nan", {"tóng-àn", "file"}, {"lūi-pia̍t", "category"}),
        ("als", {"datei", "bild"}, {"kategorie"}),  # Alemannic falls back to German
        ("simple", {"file", "image"}, {"category"}),
        ("aa", {"file", "image"}, {"category"}),  # no message file
    ],
)
def test_namespaces_have_names_and_aliases_of_the_wiki_and_of_the_languages_it_falls_back_to(code, files, categories):
    names = wikipedia(code)
    assert files <= names.files
    assert categories <= names.categories
    assert files | categories <= names.files | names.media | names.categories <= names.namespaces
    assert not names.files & names.categories


def test_a_name_of_its_own_is_the_only_one_of_a_language_for_a_namespace():
    luxembourgish, german = wikipedia("lb"), wikipedia("de")  # falls back to German
    assert {"fichier", "bild"} <= luxembourgish.files
    assert not {"datei", "hilfe"} & luxembourgish.namespaces
    assert {"datei", "hilfe"} <= german.namespaces
    assert luxembourgish.find_image_option("mini")


def test_names_are_compared_as_mediawiki_compares_them():
    vietnamese = wikipedia("vi")
    assert all(fold_name(written) in vietnamese.files for written in ("Tập_tin", " TẬP  TIN ", "\u200etập tin"))
    assert "tập" not in vietnamese.files


def test_namespaces_that_the_dump_lists_are_known_and_win():
    site = Site(host="de.wikipedia.org", namespaces=((0, ""), (6, "Bilddatei"), (100, "Portal"), (10, "Bild")))
    names = names_of(site)
    assert {"bilddatei", "datei"} <= names.files
    assert {"portal", "bild"} <= names.namespaces
    assert "bild" not in names.files


@pytest.mark.parametrize(
    ("code", "wikitext", "left"),
    [
        ("en", "a__NOTOC__b __toc__ __NoEditSection__", "ab  "),
        ("en", "__NOINDEX__ __noindex__ __HIDDENCAT__ __hiddencat__", " __noindex__  __hiddencat__"),
        ("en", "__DISAMBIG__ __EXPECTED_UNCONNECTED_PAGE__ __NOTALK__ __EXPECTUNUSEDTEMPLATE__", "   "),
        ("en", "__INIT__ __FILE__ __NOTOC_ _NOTOC__", "__INIT__ __FILE__ __NOTOC_ _NOTOC__"),
        ("en", "__KEIN_INHALTSVERZEICHNIS__", "__KEIN_INHALTSVERZEICHNIS__"),
        ("de", "__KEIN_INHALTSVERZEICHNIS__ __kein_inhaltsverzeichnis__ __NOTOC__", "  "),
        ("de", "__BEGRIFFSKLÄRUNG__ __Begriffsklärung__", " __Begriffsklärung__"),
        ("ja", "__目次非表示__＿＿目次非表示＿＿", ""),
        ("zh", "__无目录__ __無目錄__", " "),
        ("ml", "__വിവക്ഷ__", ""),
    ],
)
def test_switches_are_known_by_language_and_by_case(code, wikitext, left):
    assert wikipedia(code).switches.sub("", wikitext) == left


@pytest.mark.parametrize(
    ("code", "part", "expected"),
    [
        ("en", "thumb", ("thumbnail", "")),
        ("en", " thumbnail ", ("thumbnail", "")),
        ("en", "Thumb", None),
        ("en", "220px", ("width", "220")),
        ("en", "220x100px", ("width", "220x100")),
        ("en", "x100px", ("width", "x100")),
        ("en", "220pxpx", ("width", "220px")),
        ("en", "px", None),
        ("en", "about 3px", None),
        ("en", "alt=A dog = a pet", ("alt", "A dog = a pet")),
        ("en", "alt=", ("alt", "")),
        ("en", "link=", ("link", "")),
        ("en", "upright=1.2", ("upright", "1.2")),
        ("en", "upright piano", None),
        ("en", "upright", ("upright", "")),
        ("en", "page=3", ("page", "3")),
        ("zh", "3页", ("page", "3")),
        ("zh", "书的最后一页", None),
        ("en", "thumbtime=1:20", ("thumbtime", "1:20")),
        ("en", "mini", None),
        ("en", "", None),
        ("en", "A thumb of a hand", None),
        ("de", "mini", ("thumbnail", "")),
        ("de", "hochkant", ("upright", "")),
        ("de", "hochkant=0.8", ("upright", "0.8")),
        ("de", "verweis=Hund", ("link", "Hund")),
        ("de", "alternativtext=Ein Hund", ("alt", "Ein Hund")),
        ("de", "rechts", ("right", "")),
        ("de", "thumb", ("thumbnail", "")),
        ("vi", "nhỏ", ("thumbnail", "")),
        ("be", "міні", ("thumbnail", "")),
        ("be", "злева", ("left", "")),
        ("zh", "缩略图", ("thumbnail", "")),
        ("zh", "縮圖", ("thumbnail", "")),
        ("ru", "200пкс", ("width", "200")),
        ("fr", "vignette", ("thumbnail", "")),
        ("simple", "thumb", ("thumbnail", "")),
    ],
)
def test_options_of_images_are_told_from_captions(code, part, expected):
    option = wikipedia(code).find_image_option(part)
    assert (option and tuple(option)) == expected


@pytest.mark.parametrize("filler", ["1", " ", "1.", "x", "-", "=", "upright=", "\t1"])
@pytest.mark.parametrize("start", ["upright=", "page ", "", "alt", "1"])
def test_long_captions_are_read_in_one_pass(start, filler):
    part = start + filler * (200_000 // len(filler)) + "!\n!"
    assert all(wikipedia(code).find_image_option(part) is None for code in ("en", "zh"))


@pytest.mark.parametrize(
    ("code", "prefix", "expected"),
    [
        ("en", "fr", True),
        ("en", "FR", True),
        ("en", " fr ", True),
        ("en", "zh-min-nan", True),
        ("en", "be-x-old", True),
        ("en", "simple", True),
        ("en", "nb", True),
        ("en", "en", False),  # the wiki itself
        ("de", "en", True),
        ("de", "de", False),
        ("simple", "simple", False),
        ("simple", "en", True),
        ("en", "re", False),
        ("en", "doi", False),
        ("en", "w", False),
        ("en", "wikt", False),
        ("en", "qqq", False),
        ("en", "", False),
    ],
)
def test_prefixes_are_those_of_languages_that_have_a_wiki(code, prefix, expected):
    assert wikipedia(code).is_other_language(prefix) is expected


def test_every_language_is_another_one_to_a_wiki_of_none():
    commons = names_of(Site(host="commons.wikimedia.org", language="en"))
    assert commons.prefix == ""
    assert commons.is_other_language("en")
    assert names_of(Site()).prefix == "en"


@pytest.mark.parametrize(
    ("site", "language", "prefix"),
    [
        (Site(host="de.wikipedia.org"), "de", "de"),
        (Site(database="dewiktionary"), "de", "de"),
        (Site(language="de"), "de", "de"),
        (Site(host="simple.wikipedia.org", language="en"), "en", "simple"),
        (Site(host="no.wikipedia.org", language="nb"), "nb", "no"),
        (Site(host="zh-min-nan.wikipedia.org", language="nan"), "nan", "zh-min-nan"),
        (Site(database="be_x_oldwiki"), "be-tarask", "be-x-old"),
        (Site(host="cbk-zam.wikipedia.org", language="cbk"), "cbk-zam", "cbk-zam"),
        (Site(host="commons.wikimedia.org", database="commonswiki", language="en"), "en", ""),
        (Site(host="wiki.example", language="fr"), "fr", ""),
        (Site(host="wiki.example", database="wiki", language="zh-Hans"), "zh-hans", ""),
        (Site(), "en", "en"),
    ],
)
def test_the_language_is_that_of_the_address_or_of_the_head(site, language, prefix):
    names = names_of(site)
    assert (names.language, names.prefix) == (language, prefix)


def test_titles_of_articles_begin_with_the_name_of_no_namespace():
    german = wikipedia("de")
    no_articles = ("Datei:A.jpg", "Benutzer Diskussion:A", "Benutzerin:A", "Wikipedia:A", "Image:A", "diskussion:A")
    assert [german.is_article_title(title) for title in no_articles] == [False] * len(no_articles)
    articles = ("A", "2001: Odyssee", "Re:Zero", "Dateien: A", ": A", "Datei")
    assert [german.is_article_title(title) for title in articles] == [True] * len(articles)


def test_names_travel_to_other_processes():
    names = wikipedia("zh")
    assert pickle.loads(pickle.dumps(names)) == names


def test_the_head_of_a_dump_tells_its_wiki():
    head = (
        b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/" version="0.3" xml:lang="be-x-old">\n<siteinfo>'
        b"<base>http://be-x-old.wikipedia.org/wiki/Main_Page</base><case>case-sensitive</case>"
        b'<namespaces><namespace key="0" /><namespace key="6">A</namespace></namespaces></siteinfo>'
    )
    expected = Site("be-x-old.wikipedia.org", "Main Page", ((6, "A"),), "", "be-x-old", is_case_sensitive=True)
    assert parse_site(head) == expected
    by_namespace = head.replace(b'key="0"', b'key="0" case="first-letter"')
    assert not parse_site(by_namespace).is_case_sensitive
    assert parse_site(b"<mediawiki version='0.11' xml:lang='de'><page>") == Site(language="de")
    assert parse_site(b"<page>") == Site()


def test_the_main_page_is_spelled_as_a_title():
    base = b"<siteinfo><base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5_1</base></siteinfo>"
    assert parse_site(base).main_page == "Wikipedia:首页 1"


@pytest.mark.parametrize(
    ("path", "database"),
    [
        ("zhwiki-20240101-pages-articles.xml.bz2", "zhwiki"),
        ("/data/dewiktionary-latest.xml", "dewiktionary"),
        ("gs://b/x-y/enwikisource-1.xml", "enwikisource"),
        ("be_x_oldwiki-id13.xml", "be_x_oldwiki"),
        ("dump.xml", ""),
        ("zhwiki/part-1.xml", ""),
        ("my-wiki-1.xml", ""),
    ],
)
def test_the_name_of_a_file_tells_the_wiki_where_its_head_does_not(path, database):
    assert guess_site(path) == Site(database=database)


@pytest.fixture(scope="module")
def generator(checkout):
    spec = importlib.util.spec_from_file_location("make_wiki_names", checkout / "docs" / "make_wiki_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_as_its_generator_writes_it(generator):
    text = TABLE_FILE.read_text(encoding="utf-8")
    table = json.loads(text)
    assert generator.write_table(table) == text
    assert table["source"].startswith("MediaWiki 1.")
    assert table["wiki_aliases"] == generator.WIKI_ALIASES
    assert set(generator.WIKI_LANGUAGES.split()) == set(table["wiki_languages"])
    codes = {code for facts in table["languages"].values() for code in facts.get("variants", [])}
    assert codes <= table["languages"].keys()


MESSAGES = """<?php
/** Testish: $namespaceNames = [ 'no' ]; */
$fallback = 'de, fr';
# $namespaceAliases = [];
$namespaceNames = array(
	NS_FILE             => 'It\\'s_a_file', // 'not this'
	NS_MAIN => '',
	NS_PROJECT_TALK     => '$1_talk',
	NS_HELP => "Help\\u{E9}",
);
$namespaceAliases = [ 'Pic' => NS_FILE, "$1_chat" => NS_PROJECT_TALK ];
$namespaceGenderAliases = [ NS_USER => [ 'male' => 'He', 'female' => 'She' ] ];
/* $magicWords = [ 'redirect' => [ 0, '#NO' ] ]; */
$magicWords = [
	'redirect' => [ '0', '#GO', '#REDIRECT' ],
	'img_width' => [ 1, '$1' . 'dots', ],
	'currentday' => [ 1, 'TODAY' ],
];
$linkTrail = '/^([a-z]+)(.*)$/sD';
"""


def test_the_generator_reads_the_arrays_of_a_message_file(generator):
    english = {"redirect": [0, "#REDIRECT"], "img_width": [1, "$1px"], "disambiguation": [1, "__DISAMBIG__"]}
    assert generator.describe_language(MESSAGES, english, {"disambiguation": [0, "__D__"]}) == {
        "fallbacks": ["de", "fr"],
        "namespaces": {"6": "It's_a_file", "12": "Helpé"},
        "aliases": {"Pic": 6, "He": 2, "She": 2},
        "words": {"redirect": ["#GO"], "img_width": ["$1dots"], "disambiguation": ["__D__"]},
    }
