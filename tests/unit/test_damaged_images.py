"""Damaged, hostile and costly files: refused for the right reason, and good ones of every kind are not."""

import io
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pipeline.base.drops import DropReason
from pipeline.pixels.costs import MemoryGate
from pipeline.pixels.images import CheckedImage, ImageRules, normalize_image
from pipeline.pixels.scratch import borrow

WAYS = {name: ImageRules(reencode=name) for name in ("auto", "always", "never")}


def photograph(width=400, height=300, seed=0):
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + random.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8))


def encode(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def flat_png(width, height, *, depth, colours, interlaced=0):
    """A picture of zeros, its rows one long run."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    size = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    data = zlib.compress(bytes(((width * channels * depth + 7) // 8 + 1) * height), 9)
    palette = chunk(b"PLTE", bytes(768)) if colours == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")


GOOD = {
    "jpeg": encode(photograph(), quality=90),
    "progressive": encode(photograph(), quality=90, progressive=True),
    "full chroma": encode(photograph(), quality=90, subsampling=0),
    "half chroma": encode(photograph(), quality=90, subsampling=1),
    "gray": encode(photograph().convert("L"), quality=90),
    "inks": encode(photograph().convert("CMYK"), quality=90),
    "rgb jpeg": encode(photograph(), quality=90, keep_rgb=True),
    "restarts": encode(photograph(), quality=90, restart_marker_rows=1),
    "png": encode(photograph(), "PNG"),
    "webp": encode(photograph(), "WEBP"),
    "lossless webp": encode(photograph(), "WEBP", lossless=True),
    "gif": encode(photograph().convert("P"), "GIF"),
    "avif": encode(photograph(), "AVIF"),
    "bmp": encode(photograph(), "BMP"),
}
JPEGS = [name for name, data in GOOD.items() if data.startswith(b"\xff\xd8")]


def zeroed(data, at=0.5, length=4096):
    start = int(len(data) * at)
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GOOD)
def test_good_files_of_every_kind_are_kept(name, way):
    assert isinstance(normalize_image(GOOD[name], WAYS[way]), CheckedImage)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_is_broken(name, share, way):
    data = GOOD[name][: int(len(GOOD[name]) * share)]
    assert normalize_image(data, WAYS[way]) is DropReason.BROKEN_IMAGE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_jpeg_that_is_cut_and_ended_is_broken(name, share, way):
    data = GOOD[name][: int(len(GOOD[name]) * share)] + b"\xff\xd9"
    assert normalize_image(data, WAYS[way]) is DropReason.BROKEN_IMAGE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"bmp"}))
@pytest.mark.parametrize(("at", "share"), [(0.5, 0.0), (0.25, 0.0), (0.6, 1.0)], ids=["middle", "early", "to the end"])
def test_a_file_with_a_hole_is_broken(name, at, share, way):
    data = GOOD[name]
    damaged = zeroed(data, at, max(4096, int(len(data) * share)))
    assert normalize_image(damaged, WAYS[way]) is DropReason.BROKEN_IMAGE


def half_black(width=1200, height=800, *, noise_first):
    noise = np.random.default_rng(0).integers(0, 256, (height // 2, width, 3), np.uint8)
    halves = [noise, np.zeros_like(noise)]
    return Image.fromarray(np.concatenate(halves if noise_first else halves[::-1]))


@pytest.mark.parametrize("name", ["VP8", "VP8 and alpha", "VP8L", "VP8L to the end"])
def test_a_flat_picture_whose_code_is_zeros_over_long_stretches_is_no_hole(name):
    black = Image.new("RGBA" if "alpha" in name else "RGB", (1600, 1200))
    lossless = {"lossless": True, "quality": 0}
    data = {
        "VP8": lambda: encode(black, "WEBP", quality=100, method=0),
        "VP8 and alpha": lambda: encode(black, "WEBP", quality=100, method=0, exact=True),
        "VP8L": lambda: encode(half_black(noise_first=False), "WEBP", method=0, **lossless),
        "VP8L to the end": lambda: encode(half_black(noise_first=True), "WEBP", method=0, **lossless),
    }[name]()
    assert bytes(256) in data, "nobody would look twice"
    assert isinstance(normalize_image(data, ImageRules()), CheckedImage)


def test_a_png_whose_picture_has_a_wrong_sum_is_broken_and_one_whose_text_has_is_not():
    data = encode(photograph(), "PNG")
    place = data.rindex(b"IDAT")
    changed = bytearray(data)
    changed[place - 4 + 8 + int.from_bytes(data[place - 4 : place], "big")] ^= 1
    assert normalize_image(bytes(changed), ImageRules()) is DropReason.BROKEN_IMAGE
    text = chunk(b"tEXt", b"Comment\0x")
    damaged_text = data[:33] + text[:-1] + bytes((text[-1] ^ 1,)) + data[33:]
    assert isinstance(normalize_image(damaged_text, ImageRules()), CheckedImage)


def test_a_png_with_less_data_than_rows_is_broken():
    data = zlib.compress(bytes(301 * 150))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 300, 300, 8, 0, 0, 0, 0))
    short = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    assert normalize_image(short, ImageRules()) is DropReason.BROKEN_IMAGE


def flat_jpeg(width, height, *, factors, mcus, blocks):
    """A gray picture, its tables such that a block is two zero bits, with any shape of chroma."""

    def segment(marker, content):
        return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content

    parts = b"".join(bytes((number + 1, factor, 0)) for number, factor in enumerate(factors))
    frame = struct.pack(">BHHB", 8, height, width, len(factors)) + parts
    table = b"\1" + bytes(16)  # one code of one bit, for zero
    scan = bytes((len(factors),)) + b"".join(bytes((number + 1, 0)) for number in range(len(factors))) + b"\0\x3f\0"
    head = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC0, frame) + segment(0xC4, b"\0" + table + b"\x10" + table)
    bits = 2 * mcus * blocks
    data = bytes(bits // 8) + (bytes((0xFF >> bits % 8,)) if bits % 8 else b"")
    return b"\xff\xd8" + head + segment(0xDA, scan) + data + b"\xff\xd9"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("factors", "mcus", "blocks"), [((0x11,), 80, 1), ((0x31, 0x11, 0x11), 32, 5)])
def test_rare_shapes_of_chroma_are_taken(factors, mcus, blocks, way):
    data = flat_jpeg(80, 64, factors=factors, mcus=mcus, blocks=blocks)
    image = normalize_image(data, WAYS[way])
    assert isinstance(image, CheckedImage)
    found = np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB"))
    assert (found == 128).all()


HUGE = {
    "rgba": flat_png(7000, 7000, depth=8, colours=6),
    "gray with alpha": flat_png(7000, 7000, depth=16, colours=4),
    "webp": encode(Image.new("RGB", (6000, 6000)), "WEBP", method=0),
    "avif": encode(Image.new("RGB", (6000, 6000)), "AVIF", speed=10),
    "jpeg without chroma saved": encode(Image.new("RGB", (9000, 8000)), progressive=True, subsampling=0),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_takes_more_memory_than_is_allowed_is_refused_undecoded(name, monkeypatch):
    monkeypatch.setattr("PIL.Image.open", None)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    monkeypatch.setattr("zlib.decompressobj", None)
    rules = ImageRules(max_pixels=80_000_000)
    assert normalize_image(HUGE[name], rules) is DropReason.TOO_COSTLY


def with_scans(picture, num_scans):
    data = encode(picture, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * num_scans + b"\xff\xd9"


def test_a_jpeg_of_thousands_of_scans_is_refused_undecoded(monkeypatch):
    data = with_scans(Image.new("RGB", (1000, 1000)), 3000)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    assert normalize_image(data, ImageRules()) is DropReason.TOO_COSTLY


def test_runs_of_a_large_bmp_are_not_decoded(monkeypatch):
    head = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, 128_000, 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + head + bytes(1024) + b"\xff\1" * 64_000
    monkeypatch.setattr("PIL.Image.open", None)
    assert normalize_image(data, ImageRules()) is DropReason.TOO_COSTLY


def test_texts_and_profiles_that_unfold_without_end_are_not_unfolded():
    data = encode(photograph(), "PNG")
    bomb = zlib.compress(bytes(50_000_000), 9)
    texts = b"".join(chunk(b"zTXt", b"a\0\0" + bomb) for _ in range(3)) + chunk(b"iCCP", b"a\0\0" + bomb)
    image = normalize_image(data[:33] + texts + data[33:], ImageRules())
    assert image == normalize_image(data, ImageRules())._replace(sha256=image.sha256)


def test_a_gif_frame_beyond_its_screen_counts_as_the_picture():
    data = bytearray(encode(photograph(200, 160).convert("P"), "GIF"))
    data[6:10] = struct.pack("<HH", 100, 100)
    image = normalize_image(bytes(data), ImageRules(resize_mode="none"))
    assert (image.width, image.height) == (200, 160)
    assert normalize_image(bytes(data), ImageRules(max_pixels=31_999)) is DropReason.TOO_MANY_PIXELS


def test_of_an_animation_only_the_first_frame_reaches_the_decoder(monkeypatch):
    seen = []
    really_open = Image.open
    monkeypatch.setattr("PIL.Image.open", lambda file, **kw: seen.append(file.getvalue()) or really_open(file, **kw))
    frames = [photograph(seed=seed).convert("P") for seed in range(5)]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert isinstance(normalize_image(data, ImageRules()), CheckedImage)
        assert len(seen[-1]) < len(data) / 2


def test_the_gate_lets_in_what_fits_in_turn():
    gate, order = MemoryGate(), []
    first_may_go, large_waits = threading.Event(), threading.Event()

    def decode(name, num_bytes):
        with gate.holding(num_bytes, limit=100):
            order.append(name)
            if name == "first":
                first_may_go.wait(10)

    threads = [threading.Thread(target=decode, args=("first", 60))]
    threads[0].start()
    while not order:
        large_waits.wait(0.001)
    for name, num_bytes in (("large", 80), ("small", 10)):
        threads.append(threading.Thread(target=decode, args=(name, num_bytes)))
        threads[-1].start()
        while len(gate._waiting) < len(threads) - 1:
            large_waits.wait(0.001)
    assert order == ["first"]
    first_may_go.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "large", "small"]


def test_the_gate_opens_after_an_error():
    gate = MemoryGate()
    with pytest.raises(ValueError, match="broken"), gate.holding(100, limit=100):
        raise ValueError("broken")
    with gate.holding(100, limit=100):
        pass


def test_threads_do_not_disturb_each_other():
    files = [GOOD[name] for name in ("jpeg", "progressive", "gray", "inks", "png", "webp", "avif")]
    files += [encode(photograph(seed=seed), quality=90) for seed in range(3, 9)]
    rules = [
        ImageRules(image_size=100),
        ImageRules(reencode="never"),
        ImageRules(resize_mode="none", reencode="always"),
    ]
    jobs = [(data, rule) for data in files for rule in rules] * 3
    alone = [normalize_image(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: normalize_image(*job), jobs)) == alone


def test_bytes_borrowed_by_two_names_or_threads_are_apart():
    mine = borrow("one", 100)
    with ThreadPoolExecutor(1) as pool:
        others = [borrow("two", 100), pool.submit(borrow, "one", 100).result()]
    assert not any(np.shares_memory(mine, other) for other in others)
    assert np.shares_memory(mine, borrow("one", 50))
    assert not np.shares_memory(borrow("one", 50_000_000), borrow("one", 50_000_000))


PEAK = """
import sys, threading
from pipeline.pixels.images import ImageRules, normalize_image
files = [open(path, "rb").read() for path in sys.argv[1:]]
def work(turn):
    for data in files[turn:] + files[:turn]:
        print(normalize_image(data, ImageRules()).__class__.__name__)
threads = [threading.Thread(target=work, args=(turn,)) for turn in (0, 1)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
[line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(line.split()[1]) // 1024)
"""


@pytest.mark.slow
def test_hostile_files_in_two_threads_take_less_than_600_mb(tmp_path, checkout):
    files = {
        "gray16": flat_png(7000, 7000, depth=16, colours=0),
        "rgb": flat_png(5800, 5800, depth=8, colours=2),
        "palette": flat_png(7000, 7000, depth=8, colours=3),
        "allowed webp": encode(Image.new("RGB", (4100, 4100)), "WEBP", method=0),
        "jpeg": encode(Image.new("RGB", (7000, 7000)), progressive=True),
        "gif": encode(Image.new("P", (7000, 7000)), "GIF"),
        **HUGE,
    }
    paths = []
    for name, data in files.items():
        paths.append(str(tmp_path / name))
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", PEAK, *paths]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True, timeout=300)
    *outcomes, peak = done.stdout.split()
    assert outcomes.count("CheckedImage") == 12
    assert int(peak) < 600, peak
