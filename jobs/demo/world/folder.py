"""The world: one folder with all that the demo needs, byte-identical for a seed and a size.

In: a seed, a `WorldSize`. Out, below the folder:

    wiki/demowiki-pages-articles-multistream.xml.bz2, its index, wiki/pageviews-*.gz
    crawl/demo.warc.gz                         pages of the hosts *.example
    web/bodies.zip, web/answers.json           what `server` answers for these hosts
    holdout/                                   evaluation sets (see `holdout`)
    world.json                                 written last: a world that has it is whole
"""

import json
import os
from random import Random
from typing import NamedTuple

from jobs.demo.world import crawl, holdout, wiki
from jobs.demo.world.web import dump_answers, write_bodies, write_warc
from pipeline.base import files

SEED = 400
DUMP_NAME = f"wiki/{wiki.NAME}-pages-articles-multistream.xml.bz2"
WARC_NAME = "crawl/demo.warc.gz"


class WorldSize(NamedTuple):
    """How much of everything."""

    num_articles: int
    num_pictures: int  # with captions; stock photographs are a third more
    num_per_class: int  # evaluation images per held-out combination
    num_captions: int  # evaluation images for retrieval


SIZES = {
    "full": WorldSize(num_articles=500, num_pictures=6_000, num_per_class=20, num_captions=200),
    "small": WorldSize(num_articles=300, num_pictures=216, num_per_class=2, num_captions=20),
}


def write_world(folder: str, size_name: str = "full", *, seed: int = SEED) -> None:
    """Writes the world, unless the same one is there."""
    identity = json.dumps({"seed": seed, "size": size_name, "parts": SIZES[size_name]._asdict()}, indent=1).encode()
    mark = os.path.join(folder, "world.json")
    if files.exists(mark) and files.read_bytes(mark) == identity:
        return
    size = SIZES[size_name]
    _write_wiki(folder, Random(f"{seed} wiki"), size)
    _write_web(folder, Random(f"{seed} crawl"), size)
    sets = holdout.make_holdout(
        Random(f"{seed} holdout"), num_per_class=size.num_per_class, num_captions=size.num_captions
    )
    for name, content in sets:
        _write(folder, f"holdout/{name}", content)
    files.write_bytes_whole(mark, identity)


def _write_wiki(folder: str, rng: Random, size: WorldSize) -> None:
    pages = wiki.make_pages(rng, size.num_articles)
    dump, index = wiki.write_dump(pages)
    _write(folder, DUMP_NAME, dump)
    _write(folder, DUMP_NAME.replace(".xml.bz2", "-index.txt.bz2"), index)
    for hour in range(3):
        _write(folder, f"wiki/pageviews-20250101-{hour:02d}0000.gz", wiki.write_page_views(rng, pages))


def _write_web(folder: str, rng: Random, size: WorldSize) -> None:
    web = crawl.make_crawl(rng, size.num_pictures)
    with files.write_whole(os.path.join(folder, WARC_NAME)) as file:
        write_warc(file, web.pages)
    drawn = ((name, crawl.encode_scene(name, scene)) for name, scene in sorted(web.scenes.items()))
    with files.write_whole(os.path.join(folder, "web/bodies.zip")) as file:
        write_bodies(file, (*drawn, *sorted(web.bodies.items())))
    _write(folder, "web/answers.json", dump_answers(web.answers))


def _write(folder: str, name: str, content: bytes) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
