"""What nests in braces and brackets: templates, their parameters, links, texts for variants of the language.

In: wikitext without comments and elements. Out: the text with what is seen of each in its place; the captions of its
files.

Opening marks wait on a stack for their closing ones, and a closing mark belongs to the last that opened: ``]]`` in an
open template closes no link outside of it. Three braces are a parameter, two a template, and a run of more is taken
apart from the inside. What never closes stays as text. This is what MediaWiki's preprocessor does, which expands
nothing before it knows the whole nesting. Links are resolved there, too: it knows where they end.

Most links and templates hold no other; regular expressions take these out first, which changes nothing in the rest.

Source: Preprocessor_Hash.php of MediaWiki 1.39.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from vocab.wikitext.links import Link, LinkReader
from vocab.wikitext.marks import BOUNDARY, CAPTION, LABEL
from vocab.wikitext.templates import find_rule, show_template
from vocab.wikitext.variants import Converter, choose_text

# A colon may hide a link; two apostrophes in a label, or a brace, want a closer look.
_TARGET = r"[^\[\]{}<>|\n:'\x02]*+(?:'[^\[\]{}<>|\n:'\x02]++)*+"
_LABEL = r"[^\[\]{}<>|\n']*+(?:'[^\[\]{}<>|\n']++)*+"
_SIMPLE_LINK = re.compile(rf"\[\[(?=[^ |\]])(?:({_TARGET})\]\]|{_TARGET}\|((?!\]){_LABEL})\]\])")
_SIMPLE_TEMPLATE = re.compile(r"\{\{(?<!\{\{\{)([^{}\[\]|]*+)((?:\|[^{}\[\]]*+)?)\}\}(?!\})")
_INNER_LINK = re.compile(r"\[\[([^\[\]{}]*+)\]\]")
# One by one, because an expression that begins with a string is searched for as fast as that.
_MARKS = tuple(map(re.compile, (r"\{\{+", r"\}\}+", r"\[\[+", r"\]\]+")))
_BRACKETS = _MARKS[2:]
_RULES = (re.compile(r"-\{"), re.compile(r"\}-"))
_MARKS_AND_RULES = tuple(map(re.compile, (r"\{\{+", r"\}\}+-?", r"\[\[+", r"\]\]+", r"-\{+", r"\}-")))
_TEMPLATE_CAPTION = re.compile(f"{CAPTION}([^{CAPTION}]*+){CAPTION}")
_MAX_DEPTH: Final = 40  # of one in another, as MediaWiki has it for templates: each copies what is in it
_MAX_RUN: Final = 120  # braces side by side that open something


class Prose(NamedTuple):
    """A text in which nothing nests any more."""

    text: str
    captions: list[str]


def resolve_nesting(text: str, links: LinkReader, converter: Converter | None) -> Prose:
    """Puts what is seen of templates, links and texts for variants in their place.

    Args:
        text: Without comments and elements.
        links: Reads the wiki's links.
        converter: Of the wiki; None: braces behind a dash are text.
    """
    captions: list[str] = []
    text = _resolve_templates(_resolve_links(text, links, captions))
    text = _Nesting(links, converter, captions).resolve(text)
    if CAPTION in text:
        captions += _TEMPLATE_CAPTION.findall(text)
        text = _TEMPLATE_CAPTION.sub("", text)
    return Prose(text.replace(LABEL, ""), [caption.replace(LABEL, "") for caption in captions])


def _resolve_links(text: str, links: LinkReader, captions: list[str]) -> str:
    """Resolves those in which nothing nests, and then those in which only these do."""
    text = LABEL.join(filter(None, _SIMPLE_LINK.split(text)))  # leaves the labels
    pieces = _INNER_LINK.split(text)
    for index in range(1, len(pieces), 2):
        pieces[index] = _show_link(links.read(pieces[index]), captions) or f"[[{pieces[index]}]]"
    return "".join(pieces)


def _resolve_templates(text: str) -> str:
    pieces = _SIMPLE_TEMPLATE.split(text)
    for index in range(1, len(pieces), 3):
        rule = find_rule(pieces[index])
        pieces[index] = rule if isinstance(rule, str) else show_template(pieces[index], pieces[index + 1])
        pieces[index + 1] = ""
    return "".join(pieces)


def _show_link(link: Link, captions: list[str]) -> str:
    """The label between its marks; nothing when it is no link."""
    if link.caption:
        captions.append(link.caption)
    return "" if link.label is None else f"{LABEL}{link.label}{LABEL}"


@dataclass(slots=True)
class _Opened:
    """Marks that wait for closing ones."""

    kind: str  # "[", "{" or "-"
    count: int  # of braces or brackets that are open
    start: int  # the part that holds the marks themselves
    prefix: str = ""  # a dash before braces: theirs are the inner ones
    depth: int = 0  # how often what is inside was put together already


class _Nesting:
    def __init__(self, links: LinkReader, converter: Converter | None, captions: list[str]) -> None:
        self._captions = captions
        self._links = links
        self._converter = converter
        self._parts: list[str] = []
        self._opened: list[_Opened] = []

    def resolve(self, text: str) -> str:
        """What is seen of a text.

        What never closes hides the closing marks of what is around it from the preprocessor, but neither from the
        reader of links nor from the language converter, which come later.
        """
        has_rules = self._converter is not None and "-{" in text
        text = self._pass(text, _MARKS_AND_RULES if has_rules else _MARKS)
        if self._opened:
            text = self._pass(text, _BRACKETS)
            text = self._pass(text, _RULES) if has_rules else text
        return text

    def _pass(self, text: str, patterns: Iterable[re.Pattern[str]]) -> str:
        self._parts.clear()
        self._opened.clear()
        position = 0
        found = [(mark.start(), mark[0]) for pattern in patterns for mark in pattern.finditer(text)]
        for start, marks in sorted(found):
            if start < position:
                continue
            self._parts.append(text[position:start])
            position = start + len(marks)
            if marks[-1] in "{[":
                self._open(marks)
            elif marks[0] == "]":
                self._close_links(text, start, position)
            elif not self._close_braces(marks) and marks[-1] == "-":
                position -= 1  # the dash may begin something
        return "".join([*self._parts, text[position:]]) if position else text

    def _open(self, marks: str) -> None:
        if marks[0] == "[":
            self._parts.append("[" * (len(marks) % 2))
            for _ in range(len(marks) // 2):
                self._push("[", 2)
        elif marks == "-{":
            self._push("-", 1)
        elif len(marks) > _MAX_RUN:
            self._parts.append(marks[:-_MAX_RUN])
            self._push("{", _MAX_RUN)
        else:
            self._push("{", marks.count("{"), prefix=marks.rstrip("{"))

    def _push(self, kind: str, count: int, prefix: str = "") -> None:
        self._opened.append(_Opened(kind, count, len(self._parts), prefix))
        self._parts.append(("[" if kind == "[" else "{") * count if kind != "-" else "-{")
        if prefix:
            self._parts[-1] = prefix + self._parts[-1]

    @property
    def _innermost(self) -> str:
        return self._opened[-1].kind if self._opened else ""

    def _close_links(self, text: str, start: int, stop: int) -> None:
        """Closes links by a run of brackets."""
        while stop - start > 1 and self._innermost == "[":
            opened = self._opened.pop()
            content = self._take_content(opened)
            start += 2
            if start == stop - 1 and "[" in content.partition("|")[2]:  # [[A|[http://example.org B]]]
                content += "]"
                start += 1
            label = _show_link(self._links.read(content), self._captions)
            self._parts.append(label or f"[[{content}]]")
        self._parts.append(text[start:stop])

    def _close_braces(self, marks: str) -> bool:
        """Closes templates and rules by a run of braces; says whether the dash behind it belongs to them."""
        left = marks.count("}")
        while left and self._opened:
            opened = self._opened[-1]
            if opened.kind == "{" and left > 1:
                left -= self._close_template(opened, left)
            elif opened.kind == "-" and left == 1 and marks[-1] == "-":
                self._close_rule(opened)
                return True
            elif opened.kind == "-" and left > 1:
                self._parts.append("}")
                left -= 1
            else:
                break
        self._parts.append("}" * left)
        return False

    def _close_template(self, opened: _Opened, left: int) -> int:
        """Takes two or three braces of a run; gives how many."""
        num_braces = min(opened.count, left, 3)
        self._opened.pop()
        content = self._take_content(opened)
        rest = opened.count - num_braces
        if rest == 1 and opened.prefix:
            self._push("-", 1)
        elif rest > 1:
            self._push("{", rest, opened.prefix)
        else:
            self._parts.append(opened.prefix + "{" * rest)
        if rest > 1 or (opened.prefix and rest):
            self._opened[-1].depth = opened.depth + 1
        self._parts.append(_show_parameter(content) if num_braces == 3 else _show(content))
        return num_braces

    def _close_rule(self, opened: _Opened) -> None:
        self._opened.pop()
        content = self._take_content(opened)
        self._parts.append(choose_text(content, self._converter) if self._converter is not None else content)

    def _take_content(self, closed: _Opened) -> str:
        """Takes what stands behind the marks, and these; a mark of something left out when it is nested too deep."""
        is_shown = closed.depth < _MAX_DEPTH
        content = "".join(self._parts[closed.start + 1 :]) if is_shown else BOUNDARY
        del self._parts[closed.start :]
        if self._opened and is_shown:
            around = self._opened[-1]
            around.depth = max(around.depth, closed.depth + 1)
        return content


def _show(content: str) -> str:
    name, bar, arguments = content.partition("|")
    return show_template(name, bar + arguments)


def _show_parameter(content: str) -> str:
    """On the page itself no parameter is given, so it shows what stands for it then."""
    name, bar, default = content.partition("|")
    return default.partition("|")[0] if bar else f"{{{{{{{name}}}}}}}"
