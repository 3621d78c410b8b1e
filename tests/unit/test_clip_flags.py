"""Flags: prompts, heads, personal data, text and faces in numbers, one pass for all; wrong ones are told by name."""

import io
import itertools
import json
import sys
import tarfile
import threading
import types

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

import clip_train
from clip_train.__main__ import main
from clip_train.data.shards import ShardReader, list_shards
from clip_train.errors import InputError
from clip_train.tokenizers.bpe import train_tokenizer
from clip_train.training.checkpoint import save_model
from clip_train.use.flags import reading
from clip_train.use.flags.faces import Detector, apply_priors, fit_image, keep_best, load_detector, split_outputs
from clip_train.use.flags.heads import find_layers, read_head
from clip_train.use.flags.prompts import parse_prompts
from clip_train.use.flags.reading import covered_share
from clip_train.use.flags.settings import Settings, parse_settings
from clip_train.use.flags.specs import describe_flags, parse_flags

CPU = ["--device", "cpu"]
TEXTS = ("a red cat", "write to joe@shop.example", "+49 30 123456 and DE89 3704 0044 0532 0130 00", "a blue dog")


def encode(image, suffix="PNG"):
    file = io.BytesIO()
    image.save(file, suffix)
    return file.getvalue()


def write_tar(path, samples):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, image, text in samples:
            for suffix, data in {"png": image, "txt": text.encode()}.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two shards of noise, one with an image that cannot be read; a model that nobody trained; its image features."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)) for _ in range(8)]
    (folder / "shards").mkdir()
    for shard in range(2):
        samples = [(f"{shard}{row}", encode(images[4 * shard + row]), text) for row, text in enumerate(TEXTS)]
        if shard:
            samples.insert(2, ("broken", b"no image", "a red cat"))
        write_tar(folder / "shards" / f"{shard:05d}.tar", samples)
    torch.manual_seed(3)
    tokenizer = train_tokenizer(TEXTS, vocab_size=530)
    model = clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer).eval()
    save_model(str(folder / "model"), model)
    model = clip_train.load(str(folder / "model"), "cpu")[0]
    features = clip_train.encode_images(model, images)
    return folder, model, images, features


def flag(world, output, *specs, more=()):
    folder = world[0]
    given = itertools.chain.from_iterable(("--flag", spec) for spec in specs)
    return main(["flag", str(folder / "shards"), "--output", str(output), *given, *more, *CPU])


def columns(output):
    tables = [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]
    return {name: [value for table in tables for value in table[name].to_pylist()] for name in tables[0].column_names}


def save_head(path, layers, **metadata):
    safetensors.torch.save_file(
        {f"layers.{name}": value.contiguous() for name, value in layers.state_dict().items()}, path, metadata or None
    )
    return str(path)


def test_all_flags_of_a_run_come_from_one_pass_and_mean_what_their_names_say(world, tmp_path, capsys, monkeypatch):
    folder, model, _, features = world
    torch.manual_seed(1)
    mlp = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    mlp.requires_grad_(False)
    (tmp_path / "bad.txt").write_text("a rude picture\na cruel picture\n\n")
    decoded = []
    monkeypatch.setattr(Image, "open", lambda *given, f=Image.open, **named: decoded.append(1) or f(*given, **named))
    encoded = []
    forward = type(model).encode_image
    monkeypatch.setattr(type(model), "encode_image", lambda self, x: encoded.append(len(x)) or forward(self, x))
    status = flag(
        world,
        tmp_path / "out",
        "cosine",
        f"nsfw=prompts:{tmp_path / 'bad.txt'}|a nice picture",
        f"aesthetic=head:{save_head(tmp_path / 'a.safetensors', mlp)},activation=relu,output=sigmoid",
        f"plain=head:{save_head(tmp_path / 'b.safetensors', nn.Linear(64, 1))}",
        "personal",
        "leaks=personal,kinds=email+iban,unit=share",
        more=["--checkpoint", str(folder / "model"), "--batch-size", "3"],
    )
    assert status == 0 and len(decoded) == 9 and sum(encoded) == 8
    assert "8 samples, 1 left out (unreadable_image)" in capsys.readouterr().out
    found = columns(tmp_path / "out")
    assert list(found) == ["key", "cosine", "nsfw", "aesthetic", "plain", "personal", "leaks"]
    assert found["key"] == [f"{shard}{row}" for shard in range(2) for row in range(4)]
    texts = clip_train.use.features.encode_texts(model, TEXTS * 2, truncate=True)
    np.testing.assert_allclose(found["cosine"], (features * texts).sum(1), atol=1e-5)
    prompts = clip_train.use.features.encode_texts(model, ["a rude picture", "a cruel picture", "a nice picture"])
    logits = model.logit_scale.detach().exp() * features @ prompts.T
    np.testing.assert_allclose(found["nsfw"], logits.softmax(1)[:, :2].sum(1), atol=1e-5)
    np.testing.assert_allclose(found["aesthetic"], mlp(features).sigmoid()[:, 0], atol=1e-5)
    assert found["personal"] == [0, 1, 2, 0] * 2
    assert found["leaks"] == pytest.approx([0, 16 / 25, 27 / len(TEXTS[2]), 0] * 2)
    closing = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert closing["rows"] == {"00000": 4, "00001": 4} and list(closing["identity"]["flags"]) == list(found)[1:]
    schema = pq.read_schema(tmp_path / "out" / "00000.parquet")
    assert {str(field.type) for field in schema if field.name != "key"} == {"float"}


def test_flags_of_texts_want_neither_a_model_nor_images(world, tmp_path):
    assert flag(world, tmp_path / "out", "leaks=personal") == 0
    assert columns(tmp_path / "out")["leaks"] == [0, 1, 2, 0, 0, 1, 0, 2, 0]


def test_a_run_goes_on_where_it_was_cut_short_and_other_flags_want_another_folder(world, tmp_path, capsys):
    assert flag(world, tmp_path / "out", "leaks=personal") == 0
    first = tmp_path / "out" / "00000.parquet"
    before = first.stat().st_mtime_ns
    whole = columns(tmp_path / "out")
    (tmp_path / "out" / "00001.parquet").unlink()
    assert flag(world, tmp_path / "out", "leaks=personal") == 0
    assert columns(tmp_path / "out") == whole and first.stat().st_mtime_ns == before
    assert flag(world, tmp_path / "out", "leaks=personal,unit=share") == 2
    assert "was made with other flags" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "--flag or --faces must be given"),
        (["nsfw"], "--flag nsfw: '' is no kind of flags; there are cosine, prompts, head, personal, text-share"),
        (["nsfw=prompt:a|b"], "--flag nsfw: 'prompt' is no kind"),
        (["nsfw=prompts"], "--flag nsfw: 'prompts': it is written prompts:POSITIVE|NEGATIVE"),
        (["nsfw=prompts:a"], "--flag nsfw: 'a': two sides"),
        (["nsfw=prompts:a|"], "an empty side: no prompts"),
        (["nsfw=prompts:nowhere.txt|a"], "--flag nsfw: nowhere.txt: No such file"),
        (["NSFW=cosine"], "'NSFW' is no name"),
        (["key=cosine"], "'key' is what samples say of themselves"),
        (["width=cosine"], "'width' is what samples say of themselves"),
        (["boxes=cosine"], "'boxes' is what samples say of themselves"),
        (["a=cosine", "a=personal"], "there are two of the name a"),
        (["cosine:1"], "'cosine:1': it is written cosine"),
        (["cosine,unit=share"], "--flag cosine: unit=share: no such setting (there are none)"),
        (["personal,kinds=email+fax"], "--flag personal: kinds must be of email, iban, card, ip, phone, not 'fax'"),
        (["personal,unit=percent"], "unit must be one of count, share, not 'percent'"),
        (["personal,sort=up"], "sort=up: no such setting (there are kinds, unit)"),
        (["a=head:nowhere.safetensors"], "--flag a: nowhere.safetensors: No such file"),
        (["a=head:weights.pth"], "weights.pth: a head is a .safetensors file"),
        (["cosine"], "--checkpoint must be given"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_before_work_starts(world, tmp_path, capsys, specs, message):
    assert flag(world, tmp_path / "out", *specs) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_help_shows_every_kind(capsys):
    with pytest.raises(SystemExit):
        main(["flag", "--help"])
    assert describe_flags() in capsys.readouterr().out


def test_settings_are_split_from_behind_and_other_commas_stay():
    assert parse_settings("a,b=c.txt|d, e", []) == Settings("a,b=c.txt|d, e", {})
    assert parse_settings("x,y.onnx,size=3x4,form=yolo", ["size", "form"]).given == {"size": "3x4", "form": "yolo"}
    with pytest.raises(InputError, match="form is set twice"):
        parse_settings("x,form=a,form=b", ["form"])
    assert parse_prompts("a cat, b=2|a dog").positive == ["a cat, b=2"]


def linear_state(*sizes, gap=1, prefix="layers."):
    return {
        f"{prefix}{gap * place}.{leaf}": value
        for place, (width, height) in enumerate(itertools.pairwise(sizes))
        for leaf, value in nn.Linear(width, height).state_dict().items()
    }


def test_layers_are_put_in_order_by_the_numbers_in_their_names():
    tensors = linear_state(*([8] * 13), gap=2)
    assert [layer.name for layer in find_layers(dict(reversed(tensors.items())), where="x")] == [
        f"layers.{2 * place}.weight" for place in range(12)
    ]
    assert find_layers({"weight": torch.ones(1, 4)}, where="x")[0].bias.tolist() == [0]


def test_a_head_with_statistics_of_its_features_is_what_torch_makes_of_it(tmp_path):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    layers(torch.randn(50, 6) * 3 + 1)
    layers.eval()
    path = save_head(tmp_path / "h.safetensors", layers, activation="gelu", output="softmax", **{"class": "1"})
    head = read_head(Settings(path, {}))
    features = torch.randn(5, 6)
    made = clip_train.use.flags.heads.run_layers(head.layers, features, activation=head.activation)
    torch.testing.assert_close(made, layers(features))
    assert (head.place, head.output, head.input) == (1, "softmax", "unit")
    assert read_head(Settings(path, {"class": "0"})).place == 0  # what is set goes before what the file says


def test_a_head_of_features_as_they_are_gets_them_in_their_own_length(world, tmp_path):
    folder, model, images, _ = world
    layer = nn.Linear(64, 1)
    path = save_head(tmp_path / "h.safetensors", layer, input="raw")
    more = ["--checkpoint", str(folder / "model")]
    assert flag(world, tmp_path / "out", f"raw=head:{path}", f"unit=head:{path},input=unit", more=more) == 0
    pixels = torch.stack([clip_train.data.decode.Preprocess(32)(image) for image in images])
    with torch.inference_mode():
        raw = model.encode_image(pixels)
        found = columns(tmp_path / "out")
        np.testing.assert_allclose(found["raw"], layer(raw)[:, 0], atol=1e-5)
        np.testing.assert_allclose(found["unit"], layer(nn.functional.normalize(raw, dim=1))[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "given", "message"),
    [
        (linear_state(8, 1), {}, r"layers\.0\.weight \[1, 8\] is for features 8 wide, those of the model are 64 wide"),
        (
            linear_state(64, 8, 1),
            {},
            r"2 layers, and what stands between them is not in the file: set activation=none\|",
        ),
        (linear_state(64, 8, 1), {"activation": "sine"}, r"activation must be one of none, relu.*, not 'sine'"),
        (
            {**linear_state(64, 8), **{"layers.1." + k: v for k, v in nn.Linear(9, 1).state_dict().items()}},
            {},
            r"layers\.1\.weight \[1, 9\] does not fit behind layers\.0\.weight \[8, 64\]",
        ),
        (linear_state(64, 2), {}, "2 outputs: set which is meant, class=0 to class=1"),
        (linear_state(64, 2), {"class": "2"}, "class must be between 0 and 1, not 2"),
        (linear_state(64, 1), {"output": "softmax"}, "output=softmax of one output is always 1"),
        (linear_state(64, 1), {"input": "l2"}, "input must be one of unit, raw, not 'l2'"),
        ({"conv.weight": torch.ones(2, 3, 1, 1)}, {}, r"conv \(weight \[2, 3, 1, 1\]\) is no linear layer"),
        ({"norm.weight": torch.ones(64), "norm.bias": torch.ones(64)}, {}, r"norm \(.*\) is no linear layer"),
        ({"fc.bias": torch.ones(1)}, {}, r"fc \(bias \[1\]\) is no linear layer"),
        ({"fc.weight": torch.ones(1, 64), "fc.bias": torch.ones(2)}, {}, r"fc\.weight \[1, 64\] has a bias \[2\]"),
        (
            {"0.running_mean": torch.ones(9), "0.running_var": torch.ones(9), "1.weight": torch.ones(1, 64)},
            {},
            "0: no statistics of 64 features",
        ),
    ],
)
def test_a_head_that_does_not_fit_is_told_with_file_and_shapes(world, tmp_path, tensors, given, message):
    path = str(tmp_path / "h.safetensors")
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(InputError, match=rf"h\.safetensors: .*{message}|h\.safetensors: {message}"):
        read_head(Settings(path, given)).bind(world[1])


def test_a_damaged_head_is_told(tmp_path):
    (tmp_path / "h.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"h\.safetensors: no file of weights"):
        read_head(Settings(str(tmp_path / "h.safetensors"), {}))


@pytest.mark.parametrize(
    ("specs", "package", "extra"),
    [(["--flag", "text-share"], "rapidocr", "ocr"), (["--faces", "{model}"], "onnxruntime", "faces")],
)
def test_a_package_that_is_not_installed_is_named(world, tmp_path, capsys, monkeypatch, specs, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "model.onnx").write_bytes(b"x")
    given = [spec.format(model=tmp_path / "model.onnx") for spec in specs]
    assert flag(world, tmp_path / "out", more=given) == 2
    assert f"needs the package {package}: install wit400m with the extra '{extra}'" in capsys.readouterr().err


def test_what_polygons_cover_counts_once_and_ends_at_the_border():
    square = [[0, 0], [9, 0], [9, 9], [0, 9]]
    assert covered_share([square, square], (20, 10)) == pytest.approx(0.5)
    assert covered_share([[[-50, -50], [500, -50], [500, 500], [-50, 500]]], (20, 10)) == 1
    assert covered_share([], (20, 10)) == 0


def test_the_share_of_text_is_that_of_the_pieces_that_can_be_read(tmp_path):
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    samples = []
    for number, lines in enumerate(([], ["GRAND OPENING"], ["GRAND OPENING", "SUMMER SALE 2026", "FRESH BREAD"])):
        image = Image.new("RGB", (320, 240), (40, 90, 60))
        draw = ImageDraw.Draw(image)
        draw.ellipse((180, 120, 300, 230), fill=(200, 160, 30))
        for row, line in enumerate(lines):
            draw.text((10, 10 + 40 * row), line, fill="white", font=ImageFont.load_default(26))
        samples.append((str(number), encode(image), "a text"))
    write_tar(tmp_path / "0.tar", samples)
    assert main(["flag", str(tmp_path / "0.tar"), "--flag", "text-share", "--output", str(tmp_path / "out")]) == 0
    none, one, three = columns(tmp_path / "out")["text_share"]
    assert none == 0 and 0.05 < one < 0.15 and 2 * one < three < 4 * one


def test_pieces_of_text_count_if_they_are_more_than_a_letter_and_each_thread_has_its_reader(tmp_path, monkeypatch):
    seen = []

    class Reader:
        """Takes the left half for a text where the first pixel is blue, and all of it for a letter."""

        def __init__(self, params):
            assert params["Det.limit_side_len"] == 64

        def __call__(self, pixels, use_cls, text_score):
            seen.append((threading.get_ident(), self, text_score))
            height, width = pixels.shape[:2]
            half = [[0, 0], [width / 2 - 1, 0], [width / 2 - 1, height], [0, height]]
            all_of_it = [[0, 0], [width, 0], [width, height], [0, height]]
            is_blue = pixels[0, 0].tolist() == [255, 0, 0]  # BGR
            boxes = np.array([half, all_of_it]) if is_blue else None
            return types.SimpleNamespace(boxes=boxes, txts=("SALE", " O ") if is_blue else None)

    monkeypatch.setitem(sys.modules, "rapidocr", types.SimpleNamespace(RapidOCR=Reader))
    monkeypatch.setattr(reading, "version", lambda name: "0")
    pictures = [Image.new("RGB", (40, 20), "blue" if number % 2 else "red") for number in range(40)]
    write_tar(tmp_path / "0.tar", [(str(n), encode(picture), "a text") for n, picture in enumerate(pictures)])
    given = ["--flag", "text-share,side=64,confidence=0.7", "--output", str(tmp_path / "out")]
    assert main(["flag", str(tmp_path / "0.tar"), *given]) == 0
    assert columns(tmp_path / "out")["text_share"] == [0, 0.5] * 20
    readers = {(thread, id(reader)) for thread, reader, _ in seen}
    assert len({thread for thread, _ in readers}) == len({reader for _, reader in readers}) == len(readers)
    assert {confidence for _, _, confidence in seen} == {0.7}


# Boxes of faces


def test_an_image_is_fitted_whole_and_its_boxes_come_back_as_shares():
    image = Image.new("RGB", (200, 100), "red")
    view = fit_image(image, (64, 64), "letterbox")
    assert view.pixels.shape == (64, 64, 3) and (view.left, view.top, view.width, view.height) == (0, 16, 64, 32)
    assert view.pixels[0, 0].tolist() == [114] * 3 and view.pixels[32, 32].tolist() == [255, 0, 0]
    np.testing.assert_allclose(view.to_shares(np.array([[16, 16, 48, 32]], np.float32)), [[0.25, 0, 0.75, 0.5]])
    view = fit_image(image, (64, 64), "stretch")
    np.testing.assert_allclose(view.to_shares(np.array([[16, 16, 48, 32]], np.float32)), [[0.25, 0.25, 0.75, 0.5]])


BOXES = np.arange(28, dtype=np.float32).reshape(1, 7, 4)
SCORES = np.linspace(0.1, 0.7, 7, dtype=np.float32).reshape(1, 7, 1)
ROWS = np.concatenate([BOXES, SCORES, np.ones((1, 7, 1), np.float32)], axis=2)


@pytest.mark.parametrize(
    "outputs",
    [
        [BOXES, SCORES],
        [SCORES, BOXES],
        [np.concatenate([1 - SCORES, SCORES], 2), BOXES],
        [BOXES, SCORES[:, :, 0]],
        [BOXES, np.concatenate([1 - SCORES, SCORES], 2), np.ones((1, 7, 10), np.float32)],
        [ROWS],
        [ROWS.transpose(0, 2, 1)],
        [ROWS[:, :, :5]],
    ],
    ids=["boxes first", "scores first", "two classes", "flat scores", "landmarks", "rows", "columns", "no class"],
)
def test_boxes_and_scores_are_found_in_every_form(outputs):
    boxes, scores = split_outputs(outputs, where="m.onnx", place=None)
    np.testing.assert_array_equal(boxes, BOXES[0])
    np.testing.assert_allclose(scores, SCORES[0, :, 0])


@pytest.mark.parametrize(
    ("outputs", "place", "message"),
    [
        ([BOXES], None, r"m\.onnx: out should come boxes.* not \[1, 7, 4\]"),
        ([BOXES, SCORES[:, :3]], None, "out should come boxes"),
        ([np.ones((3, 7, 6), np.float32)], None, "out should come boxes"),
        (
            [BOXES, np.ones((1, 7, 3), np.float32)],
            None,
            "3 scores of each box; set which says face, class=0 to class=2",
        ),
        ([BOXES, SCORES], 1, "1 scores of each box"),
    ],
)
def test_what_is_neither_boxes_nor_scores_is_refused_with_its_shapes(outputs, place, message):
    with pytest.raises(InputError, match=message):
        split_outputs(outputs, where="m.onnx", place=place)


def test_of_boxes_that_overlap_the_best_is_kept():
    boxes = np.array([[0, 0, 1, 1, 0.6], [0, 0, 0.9, 1, 0.9], [0.8, 0, 1.8, 1, 0.7], [5, 5, 6, 6, 0.5]], np.float32)
    assert keep_best(boxes, 0.4)[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert len(keep_best(boxes, 1.0)) == 4
    assert keep_best(boxes[:0], 0.4).shape == (0, 5)


def test_priors_that_do_not_change_are_squares_at_the_middle_of_cells():
    boxes = apply_priors(np.zeros((168, 4), np.float32), (64, 64), where="m.onnx")
    assert boxes.shape == (168, 4)  # two for each of 64 + 16 + 4 cells
    np.testing.assert_allclose(boxes[0] * 64, [4 - 8, 4 - 8, 4 + 8, 4 + 8])
    np.testing.assert_allclose(boxes[3] * 64, [12 - 16, 4 - 16, 12 + 16, 4 + 16])
    np.testing.assert_allclose(boxes[-1] * 64, [48 - 256, 48 - 256, 48 + 256, 48 + 256])
    moved = apply_priors(np.full((168, 4), 1, np.float32), (64, 64), where="m.onnx")
    np.testing.assert_allclose(moved[0] * 64, 5.6 + 16 * np.exp(0.2) * np.array([-0.5, -0.5, 0.5, 0.5]), rtol=1e-5)
    with pytest.raises(InputError, match=r"m\.onnx: 7 boxes, but RetinaFace has 168 priors at 64 x 64"):
        apply_priors(BOXES[0], (64, 64), where="m.onnx")


SIDE = 64  # of the input of the detector made here, pixels
CORNERS = np.array([[x, y, x + 1, y + 1] for y in range(8) for x in range(8)], np.float32) * SIDE / 8


def told_boxes(form):
    """What the detector made here says of its 64 cells."""
    if form == "rows":
        return np.hstack([(CORNERS[:, :2] + CORNERS[:, 2:]) / 2, CORNERS[:, 2:] - CORNERS[:, :2]])[None]
    return CORNERS[None] / SIDE


def input_shape(*, channels_last, dynamic):
    extent = ["height", "width"] if dynamic else [SIDE, SIDE]
    return [1, *extent, 3] if channels_last else [1, 3, *extent]


def save_model_file(path, *, form="rows", channels_last=False, dynamic=False):
    """Writes the detector made here: it takes for a face each of 8 x 8 cells that is red, of RGB from 0 to 1."""
    onnx = pytest.importorskip("onnx")
    make, cell, kind = onnx.helper, SIDE // 8, onnx.TensorProto.FLOAT
    constants = {
        "told": told_boxes(form),
        "weights": np.array([1, -0.5, -0.5], np.float32).reshape(1, 3, 1, 1),
        "shape": np.array([1, 64, 1], np.int64),
    }
    nodes = [make.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])] if channels_last else []
    nodes += [
        make.make_node("Conv", ["planes" if channels_last else "image", "weights"], ["red"]),
        make.make_node("AveragePool", ["red"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]),
        make.make_node("Reshape", ["cells", "shape"], ["scores"]),
    ]
    nodes += [
        make.make_node("Concat", ["told", "scores"], ["rows"], axis=2)
        if form == "rows"
        else make.make_node("Identity", ["told"], ["boxes"])
    ]
    names = ["rows"] if form == "rows" else ["scores", "boxes"]
    graph = make.make_graph(
        nodes,
        "red",
        [make.make_tensor_value_info("image", kind, input_shape(channels_last=channels_last, dynamic=dynamic))],
        [make.make_tensor_value_info(name, kind, None) for name in names],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), str(path))


class Refused(Exception):
    """What the stand-in raises, as onnxruntime does: a class of its own."""


class StandInSession:
    """Runs the detector made here where onnxruntime is not installed."""

    def __init__(self, path, options, providers):
        try:
            with open(path) as file:
                self.made = json.load(file)
        except ValueError as error:
            raise Refused("no protobuf") from error

    def get_inputs(self):
        shape = input_shape(channels_last=self.made["channels_last"], dynamic=self.made["dynamic"])
        return [types.SimpleNamespace(name="image", type="tensor(float)", shape=shape)]

    def get_outputs(self):
        return ["rows"] if self.made["form"] == "rows" else ["scores", "boxes"]

    def run(self, names, given):
        image = given["image"][0]
        planes = image.transpose(2, 0, 1) if self.made["channels_last"] else image
        if planes.shape[1:] != (SIDE, SIDE):
            raise Refused("shapes that do not fit")
        red = planes[0] - planes[1] / 2 - planes[2] / 2
        scores = red.reshape(8, SIDE // 8, 8, SIDE // 8).mean((1, 3)).reshape(1, 64, 1)
        told = told_boxes(self.made["form"])
        return [np.concatenate([told, scores], axis=2)] if self.made["form"] == "rows" else [scores, told]


@pytest.fixture(params=["onnxruntime", "a stand-in"])
def red_detector(request, tmp_path, monkeypatch):
    """Makes the file of a detector, and what runs it."""
    path = tmp_path / "m.onnx"
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime")

        def make(**given):
            save_model_file(path, **given)
            return str(path)

        return make
    state = types.SimpleNamespace(onnxruntime_pybind11_state=types.SimpleNamespace(Refused=Refused))
    runtime = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=StandInSession, capi=state)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)

    def make_stand_in(*, form="rows", channels_last=False, dynamic=False):
        path.write_text(json.dumps({"form": form, "channels_last": channels_last, "dynamic": dynamic}))
        return str(path)

    return make_stand_in


def picture_with_red(*boxes, size=(200, 100)):
    image = Image.new("RGB", size, (90, 90, 90))
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill="red")
    return image


@pytest.mark.parametrize(
    ("made", "given"),
    [
        ({"form": "rows"}, ""),
        ({"form": "rows", "channels_last": True}, ""),
        ({"form": "rows", "dynamic": True}, ",size=64x64"),
        ({"form": "boxes"}, ",offset=0,scale=255,fit=letterbox"),
    ],
    ids=["yolo", "channels last", "any size", "two outputs"],
)
def test_a_detector_made_here_finds_what_it_was_made_for(red_detector, made, given):
    detector = load_detector(red_detector(**made) + given)
    [box] = detector.find(picture_with_red((50, 25, 74, 49))).tolist()  # one cell of a 64-pixel letterbox
    assert box[:4] == pytest.approx([0.25, 0.25, 0.375, 0.5], abs=0.01) and box[4] > 0.8
    assert detector.find(picture_with_red()).shape == (0, 5)


def test_channels_may_come_the_other_way_round(red_detector):
    path = red_detector()
    blue = Image.fromarray(np.asarray(picture_with_red((50, 25, 74, 49)))[:, :, ::-1].copy())
    assert len(load_detector(path).find(blue)) == 0
    assert len(load_detector(path + ",channels=bgr").find(blue)) == 1


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        ({"dynamic": True}, "", "an input of any size .*: set size=WIDTHxHEIGHT"),
        ({}, ",size=32x32", "size=32x32, but the model takes 64x64"),
        ({}, ",size=big", "size must be WIDTHxHEIGHT in pixels, not 'big'"),
        ({}, ",form=ssd", "form must be one of ultraface, retinaface, yolo, not 'ssd'"),
        ({}, ",threshold=2", "threshold must be between 0 and 1, not 2"),
        ({}, ",boxes=priors", "64 boxes, but RetinaFace has 168 priors"),
        ({}, ",speed=high", "no such setting"),
        ({"dynamic": True}, ",size=20x20", "does not run"),
    ],
)
def test_a_detector_that_is_not_understood_is_refused_at_once(red_detector, made, given, message):
    path = red_detector(**made)
    with pytest.raises(InputError, match=message):
        load_detector(path + given)


def test_what_is_no_model_is_refused(red_detector, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"m\.onnx: no ONNX model that can be run"):
        load_detector(str(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"nowhere\.onnx: No such file"):
        load_detector("nowhere.onnx")


def test_boxes_lie_beside_the_flags_of_the_same_run(red_detector, tmp_path):
    path = red_detector()
    pictures = [
        picture_with_red(),
        picture_with_red((50, 25, 74, 49)),
        picture_with_red((0, 0, 24, 24), (100, 50, 124, 74)),
    ]
    write_tar(tmp_path / "0.tar", [(str(n), encode(image), "a text") for n, image in enumerate(pictures)])
    given = ["--flag", "personal", "--faces", path, "--output", str(tmp_path / "out")]
    assert main(["flag", str(tmp_path / "0.tar"), *given]) == 0
    found = columns(tmp_path / "out")
    assert list(found) == ["key", "personal", "faces", "boxes"] and found["faces"] == [0, 1, 2]
    assert [len(boxes) for boxes in found["boxes"]] == [0, 1, 2] and len(found["boxes"][1][0]) == 5
    reader = ShardReader(list_shards([str(tmp_path / "0.tar")]))
    assert isinstance(load_detector(path), Detector) and reader.image(0, 1)
    assert main(["flag", str(tmp_path / "0.tar"), "--faces", path + ",threshold=0.7", "--output", given[-1]]) == 2


def test_a_name_that_the_boxes_take_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="'faces' is what samples say of themselves"):
        parse_flags(["faces=personal"], taken=["key", "boxes", "faces"])
