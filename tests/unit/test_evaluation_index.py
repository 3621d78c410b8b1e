"""Samples that are evaluation images are found, exactly or nearly, and no others; what is counted of them adds up."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.base.arrays import join_sorted, write_array
from pipeline.base.folders import StageFolder
from pipeline.base.on_worker import OnWorker
from pipeline.base.tables import read_table, write_table
from pipeline.pixels.images import EMBEDDED_OPT_OUT, CheckedImage, ImageRules, make_uniform
from pipeline.pixels.looks import LOOKS_BYTES
from pipeline.sharding.evaluation.decontaminating import check_read, count_hits, report_sets
from pipeline.sharding.evaluation.index import EVALUATION_IMAGES, HITS, open_index, write_index
from pipeline.sharding.evaluation.sets import EVALUATED, describe_evaluated, framings
from pipeline.sharding.evaluation.sources import EvaluationSet

RULES = ImageRules(min_side_px=1, max_aspect_ratio=100)
SAMPLES = pa.schema([EVALUATED.field(name) for name in ("sha256", "phash", "looks")])


def photograph(seed, side=128):
    """A picture with the spectrum of a photograph."""
    rng = np.random.default_rng(seed)
    steps = np.fft.fftfreq(side)
    falling = 1 / np.maximum(np.hypot(steps[:, None], steps[None]), 1 / side)
    plane = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * falling).real
    levels = 128 + 45 * plane[..., None] / plane.std() + rng.normal(0, 20, 3)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def scale(picture, share):
    return picture.resize((round(picture.width * share), round(picture.height * share)))


def cut(picture, share):
    width, height = round(picture.width * share / 2), round(picture.height * share / 2)
    return picture.crop((width, height, picture.width - width, picture.height - height))


COPIES = {
    "quality 30": lambda picture: encode(picture, quality=30),
    "quality 95": lambda picture: encode(picture, quality=95),
    "webp": lambda picture: encode(picture, "WEBP", quality=60),
    "half": lambda picture: encode(scale(picture, 1 / 2), quality=85),
    "third": lambda picture: encode(scale(picture, 1 / 3), quality=85),
    "cut by 5 %": lambda picture: encode(cut(picture, 0.05), quality=85),
    "cut by 8 %": lambda picture: encode(cut(picture, 0.08), quality=85),
}


def index_of(folder, images, *, mirrored=False):
    """An index of images, and what else is known, as one set."""
    rows = [
        dict.fromkeys(EVALUATED.names) | {"set": 0, "image": number, "name": f"{number}"} | one
        for number, data in enumerate(images)
        for one in (describe_evaluated(data, [RULES])[0] if isinstance(data, bytes) else [data])
    ]
    table = str(folder / "evaluated.parquet")
    write_table(table, pa.Table.from_pylist(rows, EVALUATED), EVALUATED)
    write_index([table], str(folder / "images.parquet"), folder=StageFolder(str(folder)))
    return open_index(StageFolder(str(folder)), mirrored=mirrored)


def samples_of(images):
    rows = []
    for data in images:
        image = make_uniform(data, RULES)
        assert isinstance(image, CheckedImage)
        rows.append({name: getattr(image, name) for name in SAMPLES.names})
    return pa.Table.from_pylist(rows, SAMPLES)


def pairs(hits):
    return [(int(hit["row"]), int(hit["image"]), bool(hit["is_exact"])) for hit in hits]


@pytest.fixture(scope="module")
def pictures():
    return [photograph(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def index(tmp_path_factory, pictures):
    return index_of(tmp_path_factory.mktemp("index"), [encode(picture, "PNG") for picture in pictures[:20]])


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_of_evaluation_images_are_found_and_other_pictures_are_not(index, pictures, copy):
    hits = index.find_hits(samples_of(map(copy, pictures)), phash_distance=0)
    assert pairs(hits) == [(number, number, False) for number in range(20)]


def test_the_same_file_is_an_exact_hit_even_where_it_looks_alike_too(index, pictures):
    hits = index.find_hits(samples_of([encode(pictures[30]), encode(pictures[7], "PNG")]), phash_distance=0)
    assert pairs(hits) == [(1, 7, True)]


def test_pictures_in_a_mirror_are_found_where_that_is_asked_for(tmp_path, pictures):
    turned = samples_of([encode(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for picture in pictures[:9]])
    images = [encode(picture) for picture in pictures[:5]]
    assert pairs(index_of(tmp_path, images).find_hits(turned, phash_distance=0)) == []
    found = index_of(tmp_path, images, mirrored=True).find_hits(turned, phash_distance=0)
    assert pairs(found) == [(number, number, False) for number in range(5)]


def test_an_image_that_opts_out_is_no_sample_and_yet_an_evaluation_image(pictures):
    data = encode(pictures[0], "PNG") + EMBEDDED_OPT_OUT
    rows, refusal = describe_evaluated(data, [RULES])
    assert (refusal, len(rows)) == (None, 6)


def test_samples_without_looks_and_indexes_without_images_are_compared_by_what_there_is(tmp_path):
    digest, other = bytes(range(32)), bytes(31) + b"\1"
    index = index_of(tmp_path, [{"sha256": digest}, {"phash": -1}, {"sha256": bytes(32)}])
    samples = pa.table(
        {"sha256": [bytes(32), other, digest], "phash": [0, -4, None], "looks": [None, None, bytes(LOOKS_BYTES)]},
        SAMPLES,
    )
    assert pairs(index.find_hits(samples, phash_distance=0)) == [(0, 2, True), (2, 0, True)]
    assert pairs(index.find_hits(samples, phash_distance=2)) == [(0, 2, True), (1, 1, False), (2, 0, True)]
    assert len(index.find_hits(samples.slice(0, 0), phash_distance=2)) == 0


def test_equal_values_are_joined_as_a_nested_loop_would():
    rng = np.random.default_rng(0)
    wanted, known = rng.integers(0, 20, 50), np.sort(rng.integers(0, 20, 30))
    rows, places = join_sorted(wanted, known)
    loop = [(row, place) for row in range(50) for place in range(30) if wanted[row] == known[place]]
    assert list(zip(rows.tolist(), places.tolist(), strict=True)) == loop


def test_hits_are_counted_by_image_and_by_set(tmp_path):
    sets = [EvaluationSet(name, name) for name in ("a", "b", "c")]
    images = pa.table({"set": [0, 0, 1, 2], "name": ["x", "y", "z", "w"]}, EVALUATION_IMAGES)

    class Known:
        sets = images["set"].to_numpy()

    groups = [[(0, 0, False), (0, 1, True), (0, 2, False), (7, 1, False)], [(0, 1, False), (3, 2, True)], []]
    total = 0
    for number, hits in enumerate(groups):
        path = str(tmp_path / f"{number}.hits.npy")
        write_array(path, np.array(hits, HITS))
        total = total + count_hits(path, index=OnWorker(Known), num_sets=3)
    read = {"evaluation set a/images": 2, "evaluation set b/images": 1, "evaluation set b/unreadable": 4}
    a, b, c = report_sets(sets, read=read, hits=total, images=images)
    assert (a.exact, a.near, a.images, a.images_hit) == (1, 2, 2, 2)
    assert a.most_hit == [{"name": "y", "samples": 3}, {"name": "x", "samples": 1}]
    assert (b.exact, b.near, b.unreadable, b.images_hit) == (1, 1, 4, 1)
    assert (c.exact, c.near, c.images, c.images_hit, c.most_hit) == (0, 0, 0, 0, [])
    with pytest.raises(ValueError, match="decontaminate: c: no image in c could be read"):
        check_read(sets, read)


def test_images_are_numbered_over_all_tables_in_their_order(tmp_path):
    paths = []
    for number, images in enumerate([[4, 4, 9], [0]]):
        rows = [
            dict.fromkeys(EVALUATED.names) | {"set": number, "image": image, "name": f"{number}/{image}"}
            for image in images
        ]
        paths.append(str(tmp_path / f"{number}.parquet"))
        write_table(paths[-1], pa.Table.from_pylist(rows, EVALUATED), EVALUATED)
    write_index(paths, str(tmp_path / "images.parquet"), folder=StageFolder(str(tmp_path)))
    assert read_table(str(tmp_path / "images.parquet"))["name"].to_pylist() == ["0/4", "0/9", "1/0"]


def test_images_are_looked_at_as_each_round_stored_its_own_and_whole_where_some_were_too_small():
    runs = [
        {"options": {"resize_mode": "center_crop", "image_size": 224}},
        {"options": {}},
        {"options": {"resize_mode": "short_side", "image_size": 256}},
        {},
    ]
    history = [
        {"stage": "balance-pairs", "options": {"image_size": 1}},
        *({"stage": "fetch-images"} | run for run in runs),
    ]
    found = [(one["resize_mode"], one["image_size"]) for one in framings(history)]
    assert found == [("center_crop", 224), ("short_side", 224), ("short_side", 256)]
    assert [one["image_size"] for one in framings([])] == [256]


def test_real_copies_are_found_and_other_real_images_are_not(tmp_path, real_data):
    """More of them: benchmarks/decontamination.py."""
    photographs = sorted((real_data / "image_text" / "flickr8k" / "images").iterdir())[:120]
    with tarfile.open(real_data / "image_text" / "fashion60x80" / "images.tar") as tar:
        products = [tar.extractfile(member).read() for member in tar.getmembers()[:120]]
    images = list(dict.fromkeys([*(path.read_bytes() for path in photographs), *products]))
    planted, others = images[::12], [image for number, image in enumerate(images) if number % 12]
    index = index_of(tmp_path, planted)
    assert len(index.find_hits(samples_of(others), phash_distance=0)) == 0
    for name, copy in COPIES.items():
        copies = samples_of([copy(Image.open(io.BytesIO(image))) for image in planted])
        found = pairs(index.find_hits(copies, phash_distance=0))
        assert found == [(number, number, False) for number in range(len(planted))], name
