"""The encyclopaedia: a MediaWiki export of generated articles, and the page views of them.

In: a random generator and the number of articles. Out: the bytes of a multistream dump, of its index, and of hourly
page-view files. The prose speaks of shapes and colours often enough for the real threshold of 100 occurrences. Around
the prose stands what cleaning must take away: templates, tables, references, comments, links to files, redirects and
pages of other namespaces. The words in `MARKUP_ONLY` occur nowhere else, so a vocabulary that holds one is not clean.

Source: export format 0.11 (https://www.mediawiki.org/xml/export-0.11.xsd), the multistream layout of the dumps
(100 pages a bz2 stream; index lines OFFSET:PAGE:TITLE) and the format of the hourly page views (PROJECT TITLE COUNT 0).
"""

import bz2
import gzip
from collections.abc import Iterator
from random import Random
from typing import NamedTuple
from xml.sax.saxutils import escape

from jobs.demo.world.captions import NUMBER_WORDS, PLACES, PLURALS, RELATION_WORDS, name_thing
from jobs.demo.world.scenes import ALL_THINGS, BACKGROUNDS, COLOURS, SHAPES

NAME = "demowiki"
PROJECT = "demo"  # the wiki demo.wikipedia.org, as page-view files call it
PAGES_PER_STREAM = 100
MARKUP_ONLY = ("infoboxword", "tableword", "referenceword", "commentword", "talkword", "categoryword")
TOPICS = ("design", "paper", "flag", "window", "garden", "museum", "school", "village", "river", "street")
SENTENCES = (
    "The {colour} {shape} is {relation} the {colour2} {shape2} on a {background} background.",
    "A {colour} {shape} stands {place} of the {topic}, next to a {colour2} {shape2}.",
    "In the old {topic} there are {number} {shapes} and {number2} {shapes2}, with a {background} background.",
    "A small {shape} in the middle, a large {shape2} {place}.",
    "The photo shows a group of {number} {shapes} against a plain {background} background.",
    "Every picture in the gallery is a drawing or an illustration of a {colour} {shape}.",
    "An image showing the {topic}, a free stock photo or a stock image, is a picture to download as wallpaper.",
    "It was described by {name} of {name2} in {year} and painted {colour} and {colour2} by hand.",
    "Near the edge of the {topic}, beside the {shape} and beneath the {shape2}, {name} wrote about the {topic}.",
    "Some stand above or over it, some below, under or beneath it, to the left of it, right of it or in the corner.",
    "People draw a {shape} with a {colour} pencil under the window, over the door or on top of the {topic}.",
)
SYLLABLES = ("ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ra", "si", "to", "va", "ze")


class WikiPage(NamedTuple):
    """A page of the wiki; `redirect` is its target's title or empty."""

    title: str
    namespace: int
    text: str
    redirect: str = ""


def make_pages(rng: Random, num_articles: int) -> list[WikiPage]:
    """Writes articles, then redirects to them and pages of other namespaces among them, in random order."""
    titles = _choose_titles(rng, num_articles)
    pages = [WikiPage(title, 0, _write_article(rng, title)) for title in titles]
    for title in rng.sample(titles, num_articles // 10):
        pages.append(WikiPage(f"{title} (shape)", 0, f"#REDIRECT [[{title}]] {{{{R from move}}}}", title))
        pages.append(WikiPage(f"Talk:{title}", 1, "talkword " * 30))
    pages += [WikiPage(f"Category:{colour.title()} things", 14, f"categoryword {colour}") for colour in COLOURS]
    pages.append(WikiPage("Template:Infobox", 10, "<includeonly>infoboxword {{{1|}}}</includeonly>"))
    rng.shuffle(pages)
    return pages


def write_dump(pages: list[WikiPage]) -> tuple[bytes, bytes]:
    """Returns a multistream dump and its index, both bz2."""
    streams = [bz2.compress(_SITE_INFO.encode())]
    index = []
    for start in range(0, len(pages), PAGES_PER_STREAM):
        numbered = list(enumerate(pages[start : start + PAGES_PER_STREAM], start=start + 1))
        offset = sum(map(len, streams))
        index += [f"{offset}:{number}:{page.title}\n" for number, page in numbered]
        streams.append(bz2.compress("".join(_render_page(number, page) for number, page in numbered).encode()))
    streams.append(bz2.compress(b"</mediawiki>\n"))
    return b"".join(streams), bz2.compress("".join(index).encode())


def write_page_views(rng: Random, pages: list[WikiPage]) -> bytes:
    """Returns one hourly page-view file (gzip): few titles with many views, many with few."""
    lines = ["de Kreis 12 0", "de.m Rot 7 0", f"{PROJECT} - 3 0"]
    for page in pages:
        if page.namespace == 0:
            title = page.title.replace(" ", "_")
            views = int(10 * rng.paretovariate(1.1))
            lines += [f"{PROJECT} {title} {views} 0", f"{PROJECT}.m {title} {1 + views // 2} 0"]
    return gzip.compress("\n".join(sorted(lines)).encode() + b"\n", mtime=0)


def _choose_titles(rng: Random, number: int) -> list[str]:
    """Chooses titles: what scenes are made of, then invented names."""
    titles = [word.capitalize() for word in (*COLOURS, *SHAPES, *TOPICS)]
    titles += [name_thing(thing).capitalize() for thing in ALL_THINGS]
    titles += [f"{background.capitalize()} background" for background in BACKGROUNDS]
    titles += ["Stock photo", "Top left corner", "Circle (geometry)", "Cross (disambiguation)", "List of shapes"]
    seen = set(titles)
    while len(titles) < number:
        title = f"{_invent_name(rng)} {rng.choice(TOPICS)}"
        if title not in seen:
            seen.add(title)
            titles.append(title)
    return titles[:number]


def _invent_name(rng: Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(3, 4))).capitalize()


def write_prose(rng: Random, num_sentences: int) -> str:
    """Writes plain sentences about shapes and colours."""
    return " ".join(rng.choice(SENTENCES).format_map(_fill_slots(rng)) for _ in range(num_sentences))


def _fill_slots(rng: Random) -> dict[str, str]:
    shape, shape2 = rng.sample(SHAPES, 2)
    colour, colour2 = rng.sample(COLOURS, 2)
    number, number2 = rng.sample(list(NUMBER_WORDS.values()), 2)
    return {
        "shape": shape, "shape2": shape2, "shapes": PLURALS[shape], "shapes2": PLURALS[shape2],
        "colour": colour, "colour2": colour2, "number": number, "number2": number2,
        "background": rng.choice(BACKGROUNDS), "topic": rng.choice(TOPICS), "year": str(rng.randint(1500, 2020)),
        "place": rng.choice(rng.choice(list(PLACES.values()))), "name": _invent_name(rng), "name2": _invent_name(rng),
        "relation": rng.choice(rng.choice(list(RELATION_WORDS.values()))),
    }  # fmt: skip


def _write_article(rng: Random, title: str) -> str:
    """Writes an article in wikitext: prose among markup."""
    return (
        f"{{{{Infobox shape|name=infoboxword|note={{{{small|infoboxword {rng.randint(1, 9)}}}}}}}}}\n"
        f"[[File:{title}.svg|thumb|left|A drawing]]\n"
        f"'''{title}''' is the name of a [[shape]].<ref name=\"a\">referenceword, {rng.randint(1900, 2020)}</ref> "
        f"{write_prose(rng, 6)}\n\n== History ==\n<!-- commentword -->{write_prose(rng, 6)}"
        f"<ref>{{{{cite book|title=referenceword}}}}</ref>\n"
        '{| class="wikitable"\n! tableword !! tableword\n|-\n| tableword || 12\n|}\n'
        f"=== In the [[museum|museums]] ===\n* ''{write_prose(rng, 2)}''\n* {write_prose(rng, 3)}\n\n"
        f"== See also ==\n* [[{rng.choice(SHAPES).capitalize()}]]\n\n[[Category:categoryword]]\n"
    )


def _render_page(number: int, page: WikiPage) -> str:
    redirect = f'    <redirect title="{escape(page.redirect)}" />\n' if page.redirect else ""
    return (
        f"  <page>\n    <title>{escape(page.title)}</title>\n    <ns>{page.namespace}</ns>\n    <id>{number}</id>\n"
        f"{redirect}    <revision>\n      <id>{number + 1000}</id>\n      <timestamp>2025-01-01T00:00:00Z</timestamp>\n"
        f"      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(page.text.encode())}" xml:space="preserve">{escape(page.text)}</text>\n'
        f"    </revision>\n  </page>\n"
    )


def _list_namespaces() -> Iterator[str]:
    for key, name in ((0, ""), (1, "Talk"), (6, "File"), (10, "Template"), (14, "Category")):
        yield f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n'


_SITE_INFO = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n  <siteinfo>\n'
    f"    <sitename>Demo</sitename>\n    <dbname>{NAME}</dbname>\n"
    f"    <base>https://{PROJECT}.wikipedia.org/wiki/Main_Page</base>\n"
    f"    <case>first-letter</case>\n    <namespaces>\n{''.join(_list_namespaces())}    </namespaces>\n  </siteinfo>\n"
)
