"""write-shards keeps one of samples whose pictures are alike: which, whatever else is chosen, and however it runs."""

import hashlib
import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.runner import run_stage
from pipeline.base import files
from pipeline.base.folders import BalancedFolder, RawFolder
from pipeline.base.ids import pair_id
from pipeline.base.schemas import CUTS, RAW_INDEX
from pipeline.base.shard_format import raw_name
from pipeline.base.stage_folder import close_folder
from pipeline.base.tables import read_table, write_table
from pipeline.pixels.images import ImageRules, normalize_image
from pipeline.sharding.stage import WriteShards

NUM_PICTURES = 12
KINDS = ("original", "half", "q40", "mirrored")


def picture(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)


def encode(image, quality=90):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


MAKE = {
    "original": encode,
    "half": lambda image: encode(image.resize((160, 120))),
    "q40": lambda image: encode(image, 40),
    "mirrored": lambda image: encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def describe(name, source, text):
    """A row of a raw index, and the members of its sample."""
    url = f"http://host.example/{name}.jpg"
    key = pair_id(url, text).hex()
    image = normalize_image(source, ImageRules())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for suffix, data in (("jpg", image.data), ("json", b"{}"), ("txt", text.encode())):
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    known = image._asdict() | {
        "pair_id": bytes.fromhex(key),
        "key": key,
        "status": "ok",
        "image_url": url,
        "text": text,
    }
    known |= {"text_source": "alt", "source_file": "crawl", "bytes": len(image.data), "length": size}
    known |= {"query_ids": [0], "kept_for": [0], "keep_probability": 1.0}
    return {name: known.get(name) for name in RAW_INDEX.names}, buffer.getvalue()[:size]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two raw tars, of 12 pictures in four kinds each; every picture has a text, and the last of a second one too."""
    folder = tmp_path_factory.mktemp("world")
    raw, balanced = RawFolder(str(folder / "raw")), BalancedFolder(str(folder / "balanced"))
    made = [
        (f"{kind}-{seed}", MAKE[kind](picture(seed)), f"text {seed}") for seed in range(NUM_PICTURES) for kind in KINDS
    ]
    made.append(("another", encode(picture(0), 70), "another text"))
    for number in range(2):
        rows, data = [], b""
        for row, sample in sorted((describe(*one) for one in made[number::2]), key=lambda pair: pair[0]["key"]):
            rows.append(row | {"offset": len(data)})
            data += sample
        files.write_bytes_whole(raw.tar(raw_name(number)), data)
        write_table(raw.index(raw_name(number)), pa.Table.from_pylist(rows, RAW_INDEX), RAW_INDEX)
    cuts = pa.table({"query_id": [0], "query": ["thing"], "count": [99], "cut": [None], "kept": [99]}, CUTS)
    write_table(balanced.cuts, cuts, CUTS)
    for path, stage, made_from in ((raw.path, "fetch-images", []), (balanced.path, "balance-pairs", [raw.path])):
        close_folder(path, identity={"stage": stage}, counts={}, outputs=[{"name": path}], made_from=made_from)
    return folder


def shards_of(raw, output, *, workers=1, **options):
    """The counts of a run, and its samples as (seed or name, kind)."""
    given = {"raw": (str(raw / "raw"),), "balanced": str(raw / "balanced"), "output": str(output)}
    counts = run_stage(WriteShards(**given, min_shards=1, **options), workers=workers, quiet=True)
    table = pa.concat_tables([read_table(str(path)) for path in sorted(output.glob("0*.parquet"))])
    return counts, table


def names_of(table):
    return [url.rpartition("/")[2].removesuffix(".jpg") for url in table["url"].to_pylist()]


def test_of_alike_pictures_with_one_text_the_sample_with_the_smallest_key_stays(raw, tmp_path):
    counts, table = shards_of(raw, tmp_path / "out")
    assert counts["samples/drop/near_duplicate"] == 2 * NUM_PICTURES
    assert counts["samples/kept"] == 2 * NUM_PICTURES + 1
    for seed in range(NUM_PICTURES):
        keys = {kind: pair_id(f"http://host.example/{kind}-{seed}.jpg", f"text {seed}").hex() for kind in KINDS}
        wanted = min(KINDS[:3], key=keys.get)
        assert {name for name in names_of(table) if name.endswith(f"-{seed}")} == {
            f"{wanted}-{seed}",
            f"mirrored-{seed}",
        }


def test_other_texts_and_mirrors_count_where_that_is_asked_for(raw, tmp_path):
    counts, _ = shards_of(raw, tmp_path / "image", near_duplicates="image")
    assert counts["samples/kept"] == 2 * NUM_PICTURES
    counts, table = shards_of(raw, tmp_path / "mirrored", near_duplicates="image", near_mirrored=True)
    assert counts["samples/kept"] == table.num_rows == NUM_PICTURES
    counts, _ = shards_of(raw, tmp_path / "all", near_duplicates="keep")
    assert "samples/drop/near_duplicate" not in counts


def test_who_leaves_by_an_earlier_rule_is_no_rival(raw, tmp_path):
    counts, table = shards_of(raw, tmp_path / "out", near_duplicates="image", where="original_width < 300")
    assert {name.partition("-")[0] for name in names_of(table)} == {"half"}
    assert counts["samples/kept"] == NUM_PICTURES


def test_descriptors_reach_the_indexes_of_shards(raw, tmp_path):
    _, table = shards_of(raw, tmp_path / "out")
    for name, looks in zip(names_of(table), table["looks"].to_pylist(), strict=True):
        if name != "another":
            kind, _, seed = name.partition("-")
            assert looks == normalize_image(MAKE[kind](picture(int(seed))), ImageRules()).looks


def test_one_and_two_workers_write_the_same_bytes(raw, tmp_path):
    digests = []
    for workers in (1, 2):
        shards_of(raw, tmp_path / f"{workers}", workers=workers, near_duplicates="image", near_mirrored=True)
        shards = sorted((tmp_path / f"{workers}").glob("0*"))
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in shards])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("name", "value"), [("near_distance", -0.1), ("near_distance", 0.5), ("near_duplicates", "some")]
)
def test_an_option_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name.replace("_", "-")):
        WriteShards(**{name: value})
