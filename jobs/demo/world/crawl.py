"""The crawl: which pictures hang on which pages of which hosts, and what is said of them.

In: a seed and how many pictures. Out: a `Crawl`: the pages, the scenes behind the pictures' URLs, and the URLs that
misbehave. No held-out combination is shown or named anywhere in it.

Most pictures have a true caption. Around them lies what a real crawl is full of: stock photographs with texts that say
nothing (they crowd the head queries, so the cap bites there), wrong and foreign texts, the same picture on several
pages and under several URLs, furniture, opted-out pages, faults.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from jobs.demo.world import faults
from jobs.demo.world.captions import caption_scene
from jobs.demo.world.drawing import draw_scene, encode_image
from jobs.demo.world.pages import render_page
from jobs.demo.world.scenes import CRAWLED, Scene, sample_scene
from jobs.demo.world.web import Answer, Page, name_of

# Host of the pages, layout, host of the images, suffix of the images.
SITES = (
    ("shapes.example", "plain", "shapes.example", "jpg"),
    ("gallery.example", "figure", "gallery.example", "jpg"),
    ("blog.example", "lazy", "cdn.example", "jpg"),
    ("cards.example", "srcset", "cards.example", "jpg"),
    ("school.example", "base", "files.school.example", "png"),
    ("museum.example", "figure", "museum.example", "jpg"),
    ("prints.example", "title", "prints.example", "jpg"),
    ("atelier.example", "protocol-relative", "images.atelier.example", "webp"),
    ("paper.example", "plain", "paper.example", "jpg"),
    ("flags.example", "lazy", "media.flags.example", "jpg"),
    ("toys.example", "srcset", "toys.example", "jpg"),
    ("atlas.example", "plain", "atlas.example", "png"),
)
STOCK_SITES = tuple((f"stock{n}.example", "plain", f"stock{n}.example", "jpg") for n in range(1, 5))
STOCK_TEXTS = ("stock photo", "free stock photo", "free picture download", "stock image", "photo wallpaper")
FOREIGN_TEXTS = ("ein schönes Bild", "trois petites étoiles", "dibujo bonito", "красивая картинка", "きれいな絵")
FILE_NAMES = ("IMG_{}.JPG", "DSC{}", "image{}", "untitled-{}")
OPT_OUT = '<meta name="robots" content="noai, noimageai">'
PICTURES_PER_PAGE = 16
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


class Picture(NamedTuple):
    """An image on a page."""

    url: str
    text: str
    scene: Scene | None = None  # None: another picture or a fault says what is behind the URL


class Crawl(NamedTuple):
    """All of the web that the demo knows."""

    pages: list[Page]
    scenes: dict[str, Scene]  # name of the image URL (HOST/PATH) to what it shows
    bodies: dict[str, bytes]  # name of the URL to other bodies: faults, furniture, robots.txt
    answers: dict[str, Answer]  # name of the URL to how it misbehaves


def make_crawl(rng: Random, num_pictures: int) -> Crawl:
    """Invents the web.

    Args:
        rng: Source of every choice.
        num_pictures: Distinct pictures with a caption; the stock photographs and all noise come on top.
    """
    crawl = Crawl([], {}, {}, {})
    num_per_site = -(-num_pictures // len(SITES))
    for number, (host, layout, image_host, suffix) in enumerate(SITES):
        pictures = [_make_picture(rng, image_host, suffix, i) for i in range(num_per_site)]
        if number > 0:
            pictures += _repeat_pictures(rng, pictures, image_host, suffix)
        _add_pages(crawl, rng, host, layout, pictures)
    for host, layout, image_host, suffix in STOCK_SITES:
        stock = [_make_stock_picture(rng, image_host, suffix, i) for i in range(num_per_site)]
        _add_pages(crawl, rng, host, layout, stock)
    _add_faults(crawl, rng)
    _add_special_hosts(crawl, rng)
    _add_odd_pages(crawl, rng)
    return crawl


def encode_scene(name: str, scene: Scene) -> bytes:
    """Returns the image file of a scene, in the format that its name's suffix says."""
    return encode_image(draw_scene(scene), FORMATS[name.rpartition(".")[2]])


def _make_picture(rng: Random, host: str, suffix: str, number: int) -> Picture:
    scene = sample_scene(rng, CRAWLED)
    url = f"http://{host}/pictures/{number:05d}.{suffix}"
    return Picture(url, _write_text(rng, scene), scene)


def _write_text(rng: Random, scene: Scene) -> str:
    """Writes what the page says of a scene: mostly the truth."""
    luck = rng.random()
    if luck < 0.02:
        return caption_scene(sample_scene(rng, CRAWLED), rng)  # of another picture
    if luck < 0.04:
        return rng.choice(FILE_NAMES).format(rng.randint(1000, 9999))
    if luck < 0.055:
        return rng.choice(FOREIGN_TEXTS)
    return caption_scene(scene, rng)


def _make_stock_picture(rng: Random, host: str, suffix: str, number: int) -> Picture:
    url = f"http://{host}/p/{number:05d}.{suffix}"
    return Picture(url, f"{rng.choice(STOCK_TEXTS)} {rng.randint(10_000, 99_999)}", sample_scene(rng, CRAWLED))


def _repeat_pictures(rng: Random, pictures: list[Picture], host: str, suffix: str) -> list[Picture]:
    """Returns pictures that are there already: again, with another text, and as a copy under another URL."""
    repeats = []
    for number, picture in enumerate(rng.sample(pictures, len(pictures) // 10)):
        assert picture.scene is not None
        copy = f"http://{host}/mirror/{number:05d}.{suffix}"
        repeats.append(
            rng.choice(
                (
                    picture._replace(scene=None),
                    picture._replace(text=caption_scene(picture.scene, rng), scene=None),
                    picture._replace(url=copy),
                )
            )
        )
    return repeats


def _add_pages(crawl: Crawl, rng: Random, host: str, layout: str, pictures: list[Picture]) -> None:
    """Hangs pictures on pages of a host."""
    for start in range(0, len(pictures), PICTURES_PER_PAGE):
        shown = pictures[start : start + PICTURES_PER_PAGE]
        number = start // PICTURES_PER_PAGE + 1
        text = render_page(f"{host.partition('.')[0].title()}, page {number}", layout, [p[:2] for p in shown], rng)
        crawl.pages.append(Page(f"http://{host}/page/{number}.html", text.encode()))
    crawl.scenes.update((name_of(p.url), p.scene) for p in pictures if p.scene is not None)
    _add_furniture(crawl, rng, host)
    if layout == "base":  # relative addresses, those of the furniture too, lead to the host of the images
        _add_furniture(crawl, rng, name_of(pictures[0].url).partition("/")[0])


def _add_furniture(crawl: Crawl, rng: Random, host: str) -> None:
    """Gives a host the images that stand on all pages."""
    crawl.bodies[f"{host}/static/spacer.gif"] = faults.PIXEL_GIF
    for name in ("logo.png", "avatar.png"):
        crawl.scenes[f"{host}/static/{name}"] = sample_scene(rng, CRAWLED)


def _add_faults(crawl: Crawl, rng: Random) -> None:
    """Adds a page whose every picture fails in its own way."""
    name, scene = next(iter(crawl.scenes.items()))
    pictures = []
    for fault in faults.list_faults(encode_scene(name, scene), f"http://{name}"):
        url = f"http://{faults.ODD_HOST}/{fault.name}"
        pictures.append(Picture(url, caption_scene(sample_scene(rng, CRAWLED), rng, complete=True)))
        crawl.bodies[name_of(url)] = fault.body
        crawl.answers[name_of(url)] = fault.answer
    _add_pages(crawl, rng, faults.ODD_HOST, "plain", pictures)


def _add_special_hosts(crawl: Crawl, rng: Random) -> None:
    """Adds hosts and folders with rules of their own: busy, down, closed to robots."""
    for name, answer, body in faults.list_host_answers():
        crawl.answers[name], crawl.bodies[name] = answer, body
    for host in (faults.BUSY_HOST, faults.DOWN_HOST):
        pictures = [_make_picture(rng, host, "jpg", i) for i in range(12)]
        _add_pages(crawl, rng, host, "plain", pictures)
    busy = [name for name in crawl.scenes if name.startswith(f"{faults.BUSY_HOST}/")]
    crawl.answers.update((name, Answer(behaviour="busy once")) for name in busy)
    closed = [_make_picture(rng, "shapes.example", "jpg", i) for i in range(12)]
    closed = [p._replace(url=p.url.replace("http://shapes.example/pictures/", faults.CLOSED_FOLDER)) for p in closed]
    crawl.pages.append(Page("http://shapes.example/closed.html", _render(rng, "Closed", closed).encode()))
    crawl.scenes.update((name_of(p.url), p.scene) for p in closed if p.scene is not None)


def _add_odd_pages(crawl: Crawl, rng: Random) -> None:
    """Adds documents that are not a plain HTML page: opted out, missing, another type, another encoding."""
    pictures = list(_make_odd_pictures(rng))
    crawl.scenes.update((name_of(p.url), p.scene) for p in pictures if p.scene is not None)
    opted_out, old = pictures[:12], pictures[12:]
    _add_furniture(crawl, rng, "old.example")
    text = _render(rng, "Café pictures", old).replace('charset="utf-8"', 'charset="windows-1252"')
    odd_pages = [
        Page("http://artist.example/mine.html", _render(rng, "My own", opted_out, OPT_OUT).encode()),
        Page("http://artist.example/lost.html", _render(rng, "Not found", opted_out).encode(), status=404),
        Page("http://artist.example/notes.txt", b"Pictures: none here.", mime="text/plain"),
        Page("http://old.example/cafe.html", text.encode("windows-1252"), mime="text/html"),
    ]
    crawl.pages.extend(odd_pages)


def _make_odd_pictures(rng: Random) -> Iterator[Picture]:
    for host in ("artist.example", "old.example"):
        for number in range(12):
            picture = _make_picture(rng, host, "jpg", number)
            assert picture.scene is not None
            yield picture._replace(text=caption_scene(picture.scene, rng) + " at the café")


def _render(rng: Random, title: str, pictures: list[Picture], head: str = "") -> str:
    return render_page(title, "plain", [p[:2] for p in pictures], rng, head=head)
