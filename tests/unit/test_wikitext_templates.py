"""Templates that show text of the article: what a reader sees of each."""

import pytest

from vocab.normalize import tokenize
from vocab.site import Site
from vocab.wikitext.prose import Edition, clean_wikitext

SHOWN = {
    "lang": ("{{lang|fr|Chez ''moi''}}", "Chez moi"),
    "lang-by-name": ("{{Lang|code=fr|text=moi}}", "moi"),
    "lang-xx": ("({{lang-la|omnibus|links=no}})", "(omnibus)"),
    "langx": ("{{langx|de|Haus}}", "Haus"),
    "transl": ("{{transl|ar|ALA|al-Jazāʾir}} {{Transliteration|ar|Allāh}}", "al-Jazāʾir Allāh"),
    "convert": ("{{convert|1300|mi|km}}", "1,300 miles"),
    "convert-short": ("{{cvt|5|km}} {{convert|2,413|ft|0|abbr=on}}", "5 kilometres 2,413 ft"),
    "convert-range": ("{{convert|3|to|5|ft|m}} {{convert|3|-|5|kg|lb|abbr=on}}", "3 to 5 feet 3–5 kg"),
    "convert-sides": ("{{convert|3|x|4|x|5|m|ft}}", "3 by 4 by 5 metres"),
    "convert-feet-and-inches": ("{{convert|5|ft|10|in|cm}}", "5 feet 10 inches"),
    "convert-unknown-unit": ("{{convert|3|smoot|m}}", "3 smoot"),
    "convert-without-a-number": ("{{convert|a|b}}", ""),
    "ill": ("{{ill|Hans Meier|de|lt=Meier}} {{Interlanguage link|Hans|de}} {{ill|bus|de|Bus}}", "Meier Hans bus"),
    "ill-of-old": ("{{ill|de|Gymnasium Gotha|Gymnasium Ernestinum}}", "Gymnasium Gotha"),
    "nihongo": ("{{Nihongo|'''Aikido'''|合気道|Aikidō|lead=yes}}", "Aikido (合気道, Aikidō)"),
    "nihongo-extra": ("{{nihongo|Tokyo|東京||the capital|now}}", "Tokyo (東京, the capital) now"),
    "nihongo-alone": ("{{nihongo||東京|Tōkyō}}", "東京, Tōkyō"),
    "nihongo-2-and-3": ("{{nihongo2|東京}} {{nihongo3|capital|東京|Tōkyō}}", "東京 Tōkyō"),
    "nowrap": ("{{nowrap|[[Pope Clement IV|Clement]] the {{small|4th}}}}", "Clement the 4th"),
    "abbr": ("{{abbr|HTML|HyperText Markup Language}} {{tooltip| W–L | Win–Loss}}", "HTML  W–L"),
    "as-of": ("{{As of|2010|4|5}} {{as of|2014|lc=y}} {{as of|2001|9|11|df=US|lc=on}}",
              "As of 5 April 2010 as of 2014 as of September 11, 2001"),
    "as-of-text": ("{{as of|2010|alt=By 2010}} {{as of|2010|March|since=y|bare=y}}", "By 2010 March 2010"),
    "circa": ("{{circa|1650|1660}} {{c.}}", "c. 1650–1660 c."),
    "color": ("{{font color|red|blue|a}} {{resize|88%|b}} {{color|red|c}}", "a b c"),
    "quote": ("a{{quote|To be, or not|[[Hamlet]]|1603}}b", "a\nTo be, or not\nHamlet\n1603\nb"),
    "quote-by-name": ("{{cquote|author=B|text=A}}", "A\nB"),
    "list": ("{{hlist|[[Biology]]|Zoology}} {{plainlist|\n* a\n* b\n}}", "Biology\nZoology\na\nb"),
    "list-in-columns": ("{{columns-list|colwidth=30em|\n* a\n* b}}", "a\nb"),
    "country": ("{{flag|France}} {{flag|Georgia (U.S. state)|name=Georgia}}", "France Georgia"),
    "country-by-code": ("a {{flag|USA}} b", "a \x1f b"),
    "ship": ("{{USS|Hornet|CV-12}} {{HMS|Ajax|22|6}} {{ship|SMS|Emden}}", "USS Hornet (CV-12) HMS Ajax SMS Emden"),
    "chinese": ("{{zh|t=臺灣|s=台湾|p=Táiwān}}", "臺灣\x1f台湾\x1fTáiwān"),
    "formula-of-chemistry": ("{{chem|H|2|O}}", "H2O"),
    "script": ("{{script|Copt|Ⲁ}} {{Script/Hebrew|אב}} {{rtl-lang|ar|الله}}", "Ⲁ אב الله"),
    "punctuation": ("Kant{{'}}s a{{ndash}}b c{{nbsp}}d e{{shy}}f {{=}}{{!}}", "Kant's a–b c d ef =|"),
    "french": ("{{unité|10|km}} {{XIXe siècle}} {{citation|Je suis}}", "10 km XIXe siècle\nJe suis"),
    "japanese": ("{{仮リンク|東京|en|Tokyo|label=都}}", "都"),
    "chinese-link": ("{{link-en|東京|Tokyo}} {{tsl|en|Tokyo|東京}}", "東京 東京"),
    "russian": ("{{нп5|Токио|город|en|Tokyo}}", "город"),
    "functions": ("{{lc:ABC}} {{ucfirst:abc}} {{formatnum:1234}} {{DEFAULTSORT:x}}", "abc Abc 1,234"),
    "number-of-an-argument": ("{{lang|2=moi|1=fr}}", "moi"),
    "the-later-of-two-equal": ("{{small|1=a|1=b}}", "b"),
    "underscores-and-case": ("{{ as_Of |2010}} {{Template:Small|x}}", "As of 2010 x"),
    "empty": ("a {{lang|fr|}} b", "a \x1f b"),
    "nested-in-what-is-not-shown": ("a {{Infobox|name={{lang|fr|moi}}}} b", "a \x1f b"),
    "bar-of-a-template": ("{{small|a{{!}}b}}", "a"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_template_shows_text_of_the_article(name):
    wikitext, prose = SHOWN[name]
    assert clean_wikitext(wikitext) == prose


@pytest.mark.parametrize(
    ("template", "captions"),
    [
        ("{{multiple image|image1=A.jpg|caption1=A [[fox]]|width1=9|image2=B.jpg|caption2=B|footer=C}}", "A fox\nB\nC"),
        ("{{Wide image|A.jpg|900px|The ''sea''|right}}", "The sea"),
        ("{{double image|right|A.jpg|100|B.jpg|90|A|B}}", "A\nB"),
        ("{{Gallery|title=x|File:A.jpg|The sea|B.PNG|The land}}", "The sea\nThe land"),
        ("{{small|[[File:A.jpg|thumb|{{wide image|B.jpg|9|inner}} outer]]}}", "inner\n outer"),
        ("{{multiple image|caption1={{wide image|B.jpg|9|inner}} outer}}", "inner\n outer"),
        ("<gallery>\nA.jpg|{{small|outer}} {{wide image|B.jpg|9|inner}}\n</gallery>", "outer\ninner"),
    ],
)
def test_captions_of_templates_are_captions(template, captions):
    prose = clean_wikitext(f"a {template} b", Edition.of_site(Site(host="en.wikipedia.org")))
    assert tokenize(prose) == ["a", "b", *tokenize(captions)]
    assert prose.split("\n")[-captions.count("\n") - 1 :] == [line.strip() for line in captions.split("\n")]
    silent = Edition.of_site(Site(host="en.wikipedia.org"), captions=False)
    assert tokenize(clean_wikitext(f"a {template} b", silent)) == ["a", "b"]


@pytest.mark.parametrize(
    "note", ["{{sfn|Meier|2010}}", "{{Citation needed|date=May 2010}}", "{{#tag:ref|x}}", "{{R|a}}"]
)
def test_what_stands_as_a_reference_does_ends_no_phrase(note):
    assert clean_wikitext(f"the cat{note} sat{note}on") == "the cat  sat on"


@pytest.mark.parametrize("template", ["{{Infobox}}", "{{cite web|url=http://x.org}}", "{{IPAc-en|k}}", "{{Coord|1|2}}"])
def test_other_templates_leave_a_boundary(template):
    assert clean_wikitext(f"cat {template} sat") == "cat \x1f sat"


def test_templates_in_templates_are_shown_up_to_mediawikis_depth():
    def nest(depth):
        return "{{small|" * depth + "a" + "}}" * depth

    assert clean_wikitext(f"{nest(40)} b") == "a b"
    assert tokenize(clean_wikitext(f"{nest(5000)} b")) == ["b"]
