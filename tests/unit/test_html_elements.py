"""What the compiled passes find is what a tree-building parser (Lexbor, through selectolax) finds."""

import gzip

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from pipeline.extraction.encodings import decode_page
from pipeline.extraction.html_elements import Elements
from pipeline.extraction.html_names import LAZY, WANTED
from pipeline.extraction.page_metadata import NAMES

LEVELS = 8
IMAGE_TAGS = "img, amp-img, amp-anim, input"


def squeeze(text):
    return " ".join(text.split())


def attributes(node: LexborNode) -> dict[str, str]:
    found = {name: value or "" for name, value in node.attributes.items()}
    read = {name: found[name] for name in WANTED[node.tag] if name in found}
    lazy = {name: value for name, value in found.items() if name.startswith("data-") and len(value) >= 5}
    return read | {name: value for name, value in lazy.items() if node.tag in LAZY and ("." in value or "/" in value)}


BLOCKS = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "html",
    "legend",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "plaintext",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "ul",
    "xmp",
]
HIDDEN = [
    "script",
    "style",
    "template",
    "noscript",
    "iframe",
    "noembed",
    "noframes",
    "title",
    "textarea",
    "datalist",
    "rp",
    "object",
    "audio",
    "video",
    "canvas",
    "head",
    "svg",
    "annotation",
]


def shown_text(node: LexborNode) -> str:
    """The text of an element as a browser shows it, by walking down a tree."""
    if node.tag == "-text":
        return node.text_content or ""
    hides = "hidden" in node.attributes or "none" in (node.attributes.get("style") or "")
    if node.tag in HIDDEN or node.tag.startswith("-") or hides:
        return " " if node.tag in BLOCKS else ""
    text = "".join(shown_text(child) for child in node.iter(include_text=True))
    return f" {text} " if node.tag in BLOCKS else text


def surroundings(image: LexborNode) -> tuple[str, str, list[dict[str, str]]]:
    """Caption, link title and sources, by walking up a tree."""
    caption, title, node = None, None, image.parent
    for _ in range(LEVELS):
        if node is None:
            break
        if node.tag == "figure" and caption is None and (found := node.css_first("figcaption")):
            caption = shown_text(found)
        elif node.tag == "a" and title is None:
            title = node.attributes.get("title") or ""
        node = node.parent
    sources = image.parent.iter() if image.parent is not None and image.parent.tag == "picture" else []
    values = [found for node in sources if node.tag == "source" and (found := attributes(node))]
    return squeeze(caption or ""), title or "", values


def is_read(node: LexborNode) -> bool:
    return node.tag != "input" or (node.attributes.get("type") or "").lower() == "image"


def read_with_lexbor(html: bytes) -> dict[str, object]:
    tree = LexborHTMLParser(html, options=int(LexborDocumentOptions.WO_EVENTS))
    metas = [attributes(node) for node in tree.css("meta")]
    several = [[(meta.get(name) or "").lower() for name in ("name", "property", "http-equiv")] for meta in metas]
    names = [next((name for name in each if name in NAMES), "") for each in several]
    root = tree.css_first("html")
    language = attributes(root) if root else {}
    return {
        "images": [(attributes(node), *surroundings(node)) for node in tree.css(IMAGE_TAGS) if is_read(node)],
        "metas": [
            (name, content)
            for name, meta in zip(names, metas, strict=True)
            if name and (content := meta.get("content"))
        ],
        "base": next((href for node in tree.css("base") if (href := node.attributes.get("href"))), ""),
        "json-ld": [node.text() for node in tree.css('script[type="application/ld+json"]')],
        "language": language.get("lang") or language.get("xml:lang") or "",
    }


def read_with_ours(html: bytes) -> dict[str, object]:
    elements = Elements(html)
    images = []
    for image in elements.images:
        caption = elements.caption(image.figure, image.level) if image.figure >= 0 else ""
        title = elements.link_title(image.link) if image.link >= 0 else ""
        sources = elements.sources[image.picture] if image.picture >= 0 else []
        images.append((image.attributes, squeeze(caption), title, sources))
    return {
        "images": images,
        "metas": elements.metas,
        "base": elements.base,
        "json-ld": elements.json_lds,
        "language": elements.language,
    }


def check(html: str) -> None:
    assert read_with_ours(html.encode()) == read_with_lexbor(html.encode())


@pytest.mark.parametrize(
    "html",
    [
        "<!--><img a>--><!---><img b>--><!-- --!><img c>--><!-- -- ><img d><!-- <!-- --><img e><!--",
        "<?php <img> ?><img src=a><! x><img src=b></ x><img src=c></><img src=d><![CDATA[<img src=e>]]>",
        "<script><!-- <script> </script><img a> --></script><img src=b><script><!-- <script> --></script><img src=c>",
        "<script><!--></script><img src=a><script><!---></script><img src=b><script></scripty></script ><img src=c>",
        "<style><img></style ><title><img></title/><textarea><img></textareas></textarea><xmp><img></xmp><img src=a>",
        "<noscript><img src=a></noscript><iframe><img></iframe><noframes><img></noframes><plaintext><img></plaintext>",
        "<svg><style><img src=a></style></svg><svg><![CDATA[<img>]]><title><img src=c></title><image src=d /></svg>",
        "<image src=a><template><img src=b><figure></template></figure><img src=c>",
        "<img src='a' src=b SRC=c alt = \"x\"title=y><img/src=a/alt=b/><img =alt=x alt>",
        "<img a'b alt=c><img alt='>' title=\n><img alt=a\"b'c=d`e><img alt=><img alt =\tx /><img\falt=x/>",
        "<img alt='a\r\nb\rc\0d' title='&copy=1&copy1&copy;&notit;&#x80;&#1;&#xFFFF;&#0;&#xD800;&#9999999;&amp &lt'>",
        "<figure><figcaption>A<b>B</b>C<!-- -->D</x>E<template>F</template><br>G&amp;H</figcaption><img></figure>",
        "<figure><figcaption>H<sub>2</sub>O<div>caf<b>é</b></div>x<p>y</p>z<td>u</td>v<br/>w</br>t</figcaption><img>",
        "<figure><figcaption>a<style>b</style><script>c</script>d<noscript>e</noscript><iframe>f</iframe>g</figcaption><img>",
        "<figure><figcaption>a<svg><title>b</title><g>c</g><path /></svg>d<svg/>e<math><mi>f</mi></math></figcaption><img>",  # noqa: E501
        "<figure><figcaption>a<span hidden>b<i>c</i></span>d<i style='display:none'>e</i>f<p hidden>g<p>h</figcaption><img>",  # noqa: E501
        "<figure><figcaption>a<video>b</video><ruby>c<rp>d<rt>e</ruby><select><option>f<option>g</select></figcaption><img>",
        "<figure><figcaption>a<table><tr><td>b<td>c<tr><td>d</table>e<ul><li>f<li>g</ul>h</figcaption><img></figure>",
        "<figure><template><figcaption>A</figcaption></template><img src=a><figcaption>B</figcaption></figure>",
        "<figure><template><figcaption>A</figcaption></template><img src=a></figure>",
        "<figure><img><template><figure><figcaption>A</figcaption></figure></template></figure>",
        "<figure><a title=T><amp-img src=a.jpg alt=x><img src=b></amp-img></a><amp-anim src=c><figcaption>C</figure><img>",  # noqa: E501
        "<input type=image src=a alt=b><input type=text src=a alt=b><input alt=c><INPUT TYPE=Image data-src=/a/b.jpg>",
        "<img data-a=/1 data-b=a.jpg DATA-C='https://h/x' data-d=12345 data-b=c.jpg data-=1.234 data-e data-f = 'x/y z'>",  # noqa: E501
        "<picture><source type=image/webp media=print data-x=a.webp srcset=b><source sizes=c><img src=d></picture>",
        "<figure><img><figure><img></figure><div><img><figcaption>A</div></figure><img>",
        "<figure><div><div><div><div><div><div><div><img><div><img></figure><figcaption>A",
        "<p><a title=T></p><img><a title=U><div></a><img></div><img>",
        "<!doctype html><p><a title=T><table><td><img>",
        "<p><a title=T><table><td><img>",
        "<table><tr><td><a title=T><td><img></table><img>",
        "<!doctype html><table><caption><a title=T></table><img><table><td><a title=T></table><img>",
        "<!doctype html><table><td><a title=T></tbody><td><img></table>",
        "<a title=T><select><option><img src=a></select><img src=b></a><img src=c>",
        "<picture><source srcset=a><div><source srcset=b><img src=c></div><img src=d><source data-srcset=e srcset=f>",
        "<html lang=a><html lang=b xml:lang=c><base><base href=x><base href=y>",
        "<meta name=ROBOTS content=x><meta property=og&colon;image content=a><meta name='' property=og:url content=b>",
        '<script type="Application/LD+JSON">{"a": "&amp;"}</script><script type=" application/ld+json">x</script>',
        "<img alt=x><img alt='never closed",
        "<",
        "",
    ],
)
def test_mark_up_is_read_as_the_standard_says(html):
    check(html)


IMAGES = ["<img alt=x>", "<img src=a.jpg title=T>", "<IMG ALT='a &amp; b' alt=2>"]
FLOW = """<div> </div> <p> </p> <span> </span> <figure> </figure> <figcaption> </figcaption> text </a> <b> </b> <i> </i>
<ul> <li> </li> </ul> <h1> </h1> <section> </section> <br> <picture> </picture> <x-y> </x-y> <form> </form> <button>
</button> <dl> <dt> <dd> </dl> <object> </object> <ruby> <rt> </ruby> <pre> </pre>"""
RAW = """<script> </script> <!-- --> --!> <style> </style> <title> </title> <textarea> </textarea> <noscript>
</noscript> <! <? </ < ' " = / > <iframe> </iframe> <template> </template> <head> </head> <body> </body> <xmp> </xmp>
<script <img ]]> <![CDATA[ a &amp; &copy= &lt - ! <img|alt= <script|type=application/ld+json> <base|href=x>
<meta|name=robots|content=a>"""
TABLE = "<table> </table> <tr> </tr> <td> </td> <th> <tbody> </tbody> <caption> </caption> <div> </div> <b> t </a>"


def pieces(text: str) -> list[str]:
    return IMAGES + [piece.replace("|", " ") for piece in text.split()]


def soup(text: str, *more: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*pieces(text), *more]), max_size=10).map("".join).map("<!doctype html>{}".format)


@settings(max_examples=300)
@given(soup(FLOW, "<a title=T>", "<source srcset='a 1w'>"))
def test_elements_are_closed_as_a_tree_builder_closes_them(html):
    check(html)


@settings(max_examples=300)
@given(soup(RAW))
def test_what_is_a_tag_is_decided_as_a_tokenizer_decides(html):
    check(html)


@settings(max_examples=300)
@given(soup(TABLE, "<a title=T>"))
def test_images_that_a_tree_builder_moves_out_of_a_table_are_found_all_the_same(html):
    assume(html.count("<a") < 2)  # a link in a table in a link is taken off the stack, but stays in the tree
    ours, theirs = read_with_ours(html.encode())["images"], read_with_lexbor(html.encode())["images"]
    for image in ours:
        theirs.remove(image)
    assert not theirs


def nest(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names = st.sampled_from(["div", "figure", "figcaption", "picture", "span", "a title=T", "section", "ul", "li", "b"])
    return st.tuples(names, st.lists(inner, max_size=4).map("".join)).map(
        lambda parts: f"<{parts[0]}>{parts[1]}</{parts[0].split()[0]}>"
    )


@settings(max_examples=300)
@given(st.recursive(st.sampled_from([*IMAGES, "text", "<source srcset=a>", "<!-- c -->"]), nest, max_leaves=30))
def test_well_formed_pages_are_read_like_a_tree(html):
    check(f"<!doctype html><body>{html}")


@settings(max_examples=300)
@given(st.text() | st.lists(st.sampled_from([*pieces(f"{RAW} {FLOW} {TABLE}"), "<svg>", "</svg>"])).map("".join))
def test_the_images_of_any_page_are_no_more_than_its_tags_and_have_valid_texts(html):
    elements = Elements(html.encode("utf-8", "replace"))
    assert len(elements.images) <= html.lower().count("<im")
    for image in elements.images:
        caption = elements.caption(image.figure, image.level) if image.figure >= 0 else ""
        "".join((caption, *image.attributes.values())).encode()


@pytest.mark.parametrize(
    ("html", "sources"),
    [
        ("<table><td><img src=a></td><img src=b></table>", ["a", "b"]),  # a tree has b first, before the table
        ("<frameset><img src=a>", ["a"]),  # a tree has no body then
        ("<svg><title><![CDATA[<img src=a><img src=b>]]></title></svg>", ["b"]),  # no CDATA where HTML may stand
    ],
)
def test_where_images_are_found_that_a_tree_builder_moves_or_leaves_out(html, sources):
    assert [image.attributes["src"] for image in Elements(html.encode()).images] == sources


def test_real_pages_hold_what_a_tree_of_them_holds(real_data):
    pages = sorted((real_data / "html_pages" / "html").glob("*.gz"))
    assert len(pages) > 50
    for path in pages:
        html = decode_page(gzip.decompress(path.read_bytes())).html
        assert read_with_ours(html) == read_with_lexbor(html), path.name
