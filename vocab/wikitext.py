"""Wikitext to prose: what a reader of the article sees as running text, one paragraph a line.

In: the wikitext of an article. Out: its paragraphs, headings and list items as plain text. Left out: comments,
references, formulas, code, galleries, templates, tables, files with their captions, categories, links to other
languages, addresses and all remaining markup. Templates are not expanded.

Every pass reads the text once from left to right, and what is opened but never closed stays as text, so the time is
linear in the length of any text, however it is nested or broken.

Source: https://www.mediawiki.org/wiki/Help:Formatting, Help:Links, Help:Tables, Help:Images.
"""

import html
import re
from collections.abc import Iterable
from functools import cache

FILE_AND_CATEGORY = ("File", "Image", "Media", "Category")

# Elements whose content is no prose.
_NOT_PROSE = (
    "ref|references|math|chem|ce|score|hiero|timeline|graph|gallery|imagemap|mapframe|maplink|syntaxhighlight|source"
    "|code|pre|nowiki|templatedata|templatestyles|inputbox|categorytree|indicator|section"
)
_ELEMENT_TAG = re.compile(rf"<(/?)({_NOT_PROSE})\b([^<>]*)>", re.IGNORECASE)
_BRACES = re.compile(r"\{\{|\}\}|\n[ \t:;*#]*+(?:\{\||\|\}(?!\}))")
# Most links, references and templates are simple, and the others are fewer when those are gone. (A colon may hide a
# link. `split` and replacement by a constant run in C; replacement by a group does not.)
_SIMPLE_REFERENCE = re.compile(r"<ref\b[^<>]*+>(?:(?<=/>)|[^<>]*+</ref>)")
_SIMPLE_TEMPLATE = re.compile(r"\{\{[^{}]*+\}\}")
_SIMPLE_LINK = re.compile(r"\[\[(?:[^\[\]|:\n]*+\|([^\[\]|\n]++)|([^\[\]|:\n]++))\]\]")
_OTHER_LANGUAGE = re.compile(r"(?:[a-z]{2,3}|simple)(?:-[a-z]+){0,2}:\S")
_EXTERNAL_LINK = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s<>\[\]]*+[ \t]*+([^\[\]\n]*+)\]", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s<>\[\]|]*+")
_VARIANTS = re.compile(r"-\{([^{}]*+)\}-")
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|ul|ol|dl|dd|dt|td|tr|th|table|blockquote|center|hr|h[1-6])\b[^<>]*>", re.I)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_TABLE_REST = re.compile(r"^[ \t:]*+(?:\{\||\||![ \t])[^\n]*+", re.MULTILINE)
_QUOTES = re.compile(r"''++")
_SWITCH = re.compile(r"__[A-Z]++__")
_LONG_NUMBER_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{8,}+;?")  # no character; int() refuses thousands of digits
_LINE_MARKS = "*#:;=- \t"


def clean_wikitext(wikitext: str, hidden_namespaces: Iterable[str] = FILE_AND_CATEGORY) -> str:
    """Turns wikitext into prose.

    Args:
        wikitext: Of one article.
        hidden_namespaces: Names of the namespaces whose links show no text: files, media and categories, in English
            and in the language of the wiki.

    Returns:
        Non-empty lines, without white space around them.

    >>> clean_wikitext("A '''bus''' ({{lang|la|omnibus}}) is a [[road vehicle|vehicle]].<ref>Book</ref>")
    'A bus ( ) is a vehicle.'
    """
    text = _drop_comments(wikitext)
    text = _drop_elements(_SIMPLE_REFERENCE.sub(" ", text))
    if "{{'" in text:
        text = text.replace("{{'}}", "'").replace("{{'s}}", "'s")
    text = _drop_braces(_SIMPLE_TEMPLATE.sub(" ", text))
    text = _VARIANTS.sub(_choose_variant, text)
    text = "".join(filter(None, _SIMPLE_LINK.split(text)))  # leaves the labels
    text = _resolve_links(text, _hidden_link(tuple(hidden_namespaces)))
    text = _EXTERNAL_LINK.sub(r"\1", text)
    text = _ADDRESS.sub(" ", text)
    text = _TAG.sub("", _BLOCK_TAG.sub("\n", text))
    if "|" in text or "!" in text:
        text = _TABLE_REST.sub("", text)
    text = _SWITCH.sub(" ", _QUOTES.sub(_keep_apostrophe, text))
    text = html.unescape(_LONG_NUMBER_ENTITY.sub(" ", text))
    lines = (line.lstrip(_LINE_MARKS).rstrip("= \t") for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _drop_comments(text: str) -> str:
    kept = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        kept.append(text[position:start])
        stop = text.find("-->", start + 4)
        if stop < 0:
            return "".join(kept)
        position = stop + 3
    return "".join([*kept, text[position:]])


def _drop_elements(text: str) -> str:
    """Leaves out elements that are no prose; of one that never ends, or begins anew inside itself, only the tag."""
    tags = [(tag, tag[2].lower()) for tag in _ELEMENT_TAG.finditer(text)]
    last_end = {name: tag.start() for tag, name in tags if tag[1]}
    spans = []
    open_name, open_start = "", 0
    for tag, name in tags:
        if tag[1]:
            if name == open_name:
                spans.append((open_start, tag.end()))
                open_name = ""
        elif not tag[3].endswith("/") and open_name in ("", name) and last_end.get(name, -1) > tag.start():
            open_name, open_start = name, tag.start()
    return _without(text, spans)


def _drop_braces(text: str) -> str:
    """Leaves out templates and tables, each with all that is nested in it."""
    opened: dict[bool, list[int]] = {True: [], False: []}  # starts of open templates and of open tables
    spans: list[tuple[int, int]] = []
    text = "\n" + text  # tables begin and end at the start of a line
    for mark in _BRACES.finditer(text):
        is_template = mark[0][-2:] in ("{{", "}}")
        if mark[0][-1] in "{|" and mark[0][-2] == "{":
            opened[is_template].append(mark.end() - 2)
        elif opened[is_template]:
            start = opened[is_template].pop()
            inside = opened[not is_template]
            while inside and inside[-1] > start:
                inside.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, mark.end()))
    return _without(text, spans)


def _resolve_links(text: str, hidden: re.Pattern[str]) -> str:
    """Puts the label of a link in its place; a hidden one leaves nothing. No link goes on after an empty line."""
    parts: list[str] = []
    opened: list[tuple[int, bool]] = []  # first part, whether it is hidden
    for number, begun in enumerate(text.split("[[")):
        first, *others = begun.split("]]")
        if number:
            if opened and not opened[-1][1]:
                opened.pop()  # links do not nest: that was none
            opened.append((len(parts), hidden.match(begun) is not None))
        _append_text(first, parts, opened)
        for other in others:
            if opened:
                start, is_hidden = opened.pop()
                label = "" if is_hidden else _link_label("".join(parts[start:]))
                del parts[start:]
                parts.append(label)
            _append_text(other, parts, opened)
    return "".join(parts)


def _append_text(text: str, parts: list[str], opened: list[tuple[int, bool]]) -> None:
    if opened and "\n\n" in text:
        opened.clear()
    parts.append(text)


def _link_label(content: str) -> str:
    target, bar, label = content.partition("|")
    target = target.strip()
    if _OTHER_LANGUAGE.match(target):
        return ""
    if bar and label:
        return label
    if bar:  # [[Mercury (planet)|]] reads Mercury
        return target.partition(" (")[0]
    return target.removeprefix(":")


@cache
def _hidden_link(namespaces: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\s*+(?:{'|'.join(map(re.escape, namespaces))})\s*+:", re.IGNORECASE)


def _choose_variant(markup: re.Match[str]) -> str:
    """The first text of ``-{zh-hans:A;zh-hant:B}-``, or all of ``-{A}-``."""
    first = markup[1].rpartition("|")[2].partition(";")[0]
    code, colon, text = first.partition(":")
    return text if colon and code.strip().startswith("zh") else first


def _keep_apostrophe(quotes: re.Match[str]) -> str:
    """Four quotes are an apostrophe and bold type; two, three and five are type only."""
    return "'" if len(quotes[0]) == 4 else ""


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with a space in place of each span; spans are sorted and apart."""
    kept = []
    position = 0
    for start, stop in spans:
        kept.append(text[position:start])
        position = stop
    return " ".join([*kept, text[position:]])
