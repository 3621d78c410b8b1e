"""The package's own functions: which tokenizer tokenizes, what a model is called, what an image is read from."""

import pytest
import torch
from PIL import Image

import clip_train
from clip_train.api import TOKENIZER_VARIABLE
from clip_train.models.precision import choose_precision, float32_products, half_products, repeatable_kernels
from clip_train.training.checkpoint import save_model

TEXTS = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("star", "ring", "box")]


@pytest.fixture
def tokenizer(monkeypatch):
    monkeypatch.delenv(TOKENIZER_VARIABLE, raising=False)
    monkeypatch.setattr("clip_train.api._LOADED", {})
    return clip_train.train_tokenizer(TEXTS, vocab_size=540)


@pytest.fixture
def model(tokenizer):
    return clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer)


def test_ids_are_the_same_from_a_tokenizer_its_file_a_model_and_a_checkpoint(tokenizer, model, tmp_path):
    merges, checkpoint = str(tmp_path / "merges.txt"), str(tmp_path / "checkpoint")
    tokenizer.save(merges)
    save_model(checkpoint, model)
    wanted = tokenizer.tokenize(TEXTS, 16)
    for source in (tokenizer, merges, model, checkpoint):
        assert torch.equal(clip_train.tokenize(TEXTS, 16, tokenizer=source), wanted)


def test_the_environment_names_the_tokenizer_where_none_is_given(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(str(tmp_path / "merges.txt"))
    monkeypatch.setenv(TOKENIZER_VARIABLE, str(tmp_path / "merges.txt"))
    ids = clip_train.tokenize("a red star")
    assert ids.shape == (1, 77) and ids.dtype == torch.int32
    assert torch.equal(ids, tokenizer.tokenize("a red star"))
    assert torch.equal(clip_train.tokenize(("a red star",), 77, False), ids)


def test_after_load_texts_are_tokenized_for_the_model_that_was_loaded(tokenizer, model, tmp_path, monkeypatch):
    monkeypatch.setenv(TOKENIZER_VARIABLE, "not read")
    for name in ("one", "again"):
        save_model(str(tmp_path / name), model)
        clip_train.load(str(tmp_path / name))
    assert torch.equal(clip_train.tokenize(TEXTS), tokenizer.tokenize(TEXTS, 32))
    other = clip_train.train_tokenizer(TEXTS, vocab_size=520)
    save_model(str(tmp_path / "other"), clip_train.create_model("tiny-32", device="cpu", tokenizer=other))
    loaded, _ = clip_train.load(str(tmp_path / "other"))
    with pytest.raises(clip_train.InputError, match="2 models with different ones were loaded"):
        clip_train.tokenize(TEXTS)
    assert torch.equal(clip_train.tokenize(TEXTS, tokenizer=loaded), other.tokenize(TEXTS, 32))


def test_without_a_tokenizer_the_message_says_how_to_give_one(tokenizer):
    with pytest.raises(clip_train.InputError, match=TOKENIZER_VARIABLE):
        clip_train.tokenize("a red star")
    with pytest.raises(clip_train.InputError, match="the model has no tokenizer"):
        clip_train.tokenize("a red star", tokenizer=clip_train.create_model("tiny-32", device="cpu"))


def test_ids_are_no_longer_than_a_models_context_and_go_through_it(model, tmp_path):
    save_model(str(tmp_path / "checkpoint"), model)
    for source in (model, str(tmp_path / "checkpoint")):
        ids = clip_train.tokenize(TEXTS, tokenizer=source)
        assert ids.shape == (6, 32)
        per_image, per_text = model(torch.zeros(1, 3, 32, 32), ids)
        assert per_image.shape == (1, 6) and torch.equal(per_image.T, per_text)


def test_a_long_text_raises_unless_it_may_be_cut(model):
    text = "star " * 100
    with pytest.raises(clip_train.InputError, match="102 tokens is longer than the context of 77"):
        clip_train.tokenize(text, tokenizer=model.tokenizer)
    ids = clip_train.tokenize(text, 77, True, tokenizer=model.tokenizer)
    assert ids[0, -1] == model.tokenizer.end_id


@pytest.mark.parametrize("name", ["vit-b-32", "ViT-B/32", "VIT-B-32", "vit-b/32"])
def test_a_preset_has_no_weights_to_load_in_any_spelling(name):
    with pytest.raises(clip_train.InputError, match="a model without weights"):
        clip_train.load(name)


def test_an_unknown_name_is_refused_in_one_line(tmp_path):
    with pytest.raises(clip_train.InputError, match="no known model; did you mean"):
        clip_train.load("vit-b-33")
    with pytest.raises(clip_train.InputError, match="no checkpoint, and no run"):
        clip_train.load(str(tmp_path))
    with pytest.raises(clip_train.InputError, match="did you mean"):
        clip_train.create_model("vit-b-33")


@pytest.fixture
def checkpoint(model, tmp_path):
    save_model(str(tmp_path / "checkpoint"), model)
    return tmp_path / "checkpoint"


def test_load_takes_what_clips_users_give(checkpoint):
    for arguments in ((checkpoint,), (str(checkpoint), "cpu"), (checkpoint, torch.device("cpu"), False)):
        model, preprocess = clip_train.load(*arguments)
        assert model.device.type == "cpu" and preprocess(Image.new("RGB", (50, 40))).shape == (3, 32, 32)
    assert clip_train.load(checkpoint, device="cpu", jit=False)[0].precision == "auto"


IMAGE = Image.new("RGB", (40, 50), "red")
PIXELS = torch.zeros(2, 3, 32, 32)
WRONG = {
    "load nothing": (lambda m: clip_train.load(None), "a model must be a name or a path, not NoneType None"),
    "load a number": (lambda m: clip_train.load(3), "not int 3"),
    "create nothing": (lambda m: clip_train.create_model(None), "a model must be a name or a path"),
    "no such device": (lambda m: clip_train.create_model("tiny-32", device=None), "device 'None' cannot be used"),
    "tokenize nothing": (lambda m: clip_train.tokenize(None, tokenizer=m), "texts must be a text or several, not None"),
    "tokenize bytes": (lambda m: clip_train.tokenize(b"a", tokenizer=m), "texts must be a text or several, not bytes"),
    "tokenize a hole": (lambda m: clip_train.tokenize(["a", None], tokenizer=m), "text 1 is no text but NoneType"),
    "tokenize by nothing": (lambda m: clip_train.tokenize("a", tokenizer=3), "a tokenizer must be a model"),
    "more than the context": (
        lambda m: clip_train.tokenize("a", 200, tokenizer=m),
        "context_length 200 is more than the 32 tokens the model takes",
    ),
    "cut to more than the context": (
        lambda m: clip_train.tokenize("a", context_length=33, truncate=True, tokenizer=m),
        "context_length 33 is more than the 32",
    ),
    "no room": (lambda m: clip_train.tokenize("a", 2, tokenizer=m), "context_length must be a whole number from 3 on"),
    "half a token": (lambda m: m.tokenizer.tokenize("a", 7.5), "context_length must be a whole number"),
    "classify nothing": (lambda m: clip_train.classify(m, None, ["a"]), "images must be an image or several, not None"),
    "classify a hole": (lambda m: clip_train.classify(m, [None], ["a"]), "an image must be a path.* not NoneType"),
    "classify by nothing": (lambda m: clip_train.classify(m, [IMAGE], None), "texts must be a text or several"),
    "classify by no text": (lambda m: clip_train.classify(m, [IMAGE], []), "no text to choose from"),
    "classify a missing file": (lambda m: clip_train.classify(m, "none.jpg", ["a"]), "none.jpg: No such file"),
    "another size": (
        lambda m: m.encode_image(torch.zeros(1, 3, 64, 64)),
        r"3, 32, 32\] for this model, not \[1, 3, 64",
    ),
    "one image alone": (lambda m: m.encode_image(PIXELS[0]), r"for this model, not \[3, 32, 32\]"),
    "grey": (lambda m: m(PIXELS[:, :1], m.tokenize("a")), r"for this model, not \[2, 1, 32, 32\]"),
    "bytes as pixels": (lambda m: m.encode_image(PIXELS.byte()), "not a tensor of torch.uint8; preprocess makes them"),
    "no pixels": (lambda m: m.encode_image(None), "not NoneType None; preprocess makes them"),
    "a picture": (lambda m: m.encode_image(IMAGE), "preprocess makes them of an image"),
    "a text as ids": (lambda m: m.encode_text("a cat"), "not str 'a cat'; tokenize makes them of texts"),
    "ids as floats": (lambda m: m.encode_text(torch.zeros(1, 4)), "not a tensor of torch.float32"),
    "too many ids": (lambda m: m.encode_text(torch.zeros(1, 33).int()), r"at most 32\] for this model, not \[1, 33\]"),
    "one text alone": (lambda m: m(PIXELS, torch.zeros(9).int()), r"for this model, not \[9\]"),
    "other ids": (lambda m: m.encode_text(torch.full((1, 4), 49_407)), "49407 are not of this model's vocabulary of 5"),
    "scripted": (lambda m: clip_train.load("x", jit=True), "jit True: models here are not scripted"),
    "unknown precision": (
        lambda m: clip_train.load("x", precision="int8"),
        "precision must be one of auto, .*int8",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_an_error_that_says_what_was_given(model, call, message):
    with pytest.raises(clip_train.InputError, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)


def test_nothing_to_encode_gives_no_rows(model):
    assert clip_train.tokenize([], tokenizer=model).shape == (0, 32)
    assert clip_train.encode_texts(model, []).shape == (0, 64)
    assert clip_train.encode_images(model, []).shape == (0, 64)
    assert clip_train.classify(model, [], ["a", "b"]).shape == (0, 2)
    assert model.encode_image(PIXELS[:0]).shape == (0, 64)
    assert model.encode_text(model.tokenize([])).shape == (0, 64)
    per_image, per_text = model(PIXELS, model.tokenize([]))
    assert (per_image.shape, per_text.shape) == ((2, 0), (0, 2))


@pytest.mark.parametrize("name", ["tiny-32", "tiny-rn-64"])
def test_every_kind_of_tower_takes_no_images_at_all(name, tokenizer):
    model = clip_train.create_model(name, device="cpu", tokenizer=tokenizer).eval()
    side = model.config.image.image_size
    assert model.encode_image(torch.zeros(0, 3, side, side)).shape == (0, model.config.embed_dim)


def test_one_image_or_text_is_as_a_list_of_it(model, tmp_path):
    IMAGE.save(tmp_path / "red.png")
    expected = clip_train.classify(model, [IMAGE], ["a red star", "a ring"])
    for image in (IMAGE, str(tmp_path / "red.png"), tmp_path / "red.png", [tmp_path / "red.png"]):
        assert torch.equal(clip_train.classify(model, image, ["a red star", "a ring"]), expected)
    assert clip_train.classify(model, IMAGE, "a red star").tolist() == [[1.0]]
    assert torch.equal(clip_train.encode_texts(model, "a ring"), clip_train.encode_texts(model, ["a ring"]))


def test_pixels_and_weights_of_other_widths_go_together(model):
    wide, narrow = PIXELS + 0.5, (PIXELS + 0.5).half()
    assert torch.equal(model.encode_image(narrow), model.encode_image(wide))


@pytest.mark.parametrize(("precision", "is_exact"), [("auto", True), ("fp32", True), ("tf32", True), ("bf16", False)])
def test_features_are_computed_in_the_precision_asked_for_and_come_out_wide(model, checkpoint, precision, is_exact):
    loaded, _ = clip_train.load(checkpoint, "cpu", precision=precision)
    images, ids = torch.randn(4, 3, 32, 32), model.tokenize(TEXTS)
    with torch.no_grad():
        features = loaded.encode_image(images), loaded.encode_text(ids)
        wide = model.encode_image(images), model.encode_text(ids)
    for found, expected in zip(features, wide, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected) == is_exact
        torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05)
    with_gradients = loaded.encode_image(images)
    torch.testing.assert_close(with_gradients.detach(), wide[0])


def test_an_autocast_of_the_caller_is_left_alone(model):
    model.precision = "fp32"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model.encode_image(PIXELS).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_float32_means_float32_in_products_and_convolutions_unless_tf32_is_asked_for(precision):
    def switches():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = switches()
    with float32_products(precision), half_products(torch.device("cpu"), precision):
        assert switches() == (precision == "tf32",) * 2
        found = torch.ones(2, 2) @ torch.ones(2, 2)
    assert switches() == before
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    assert found.dtype == halves.get(precision, torch.float32)


def test_features_are_narrow_by_default_on_gpus_alone():
    found = [choose_precision(name, torch.device(device)) for name in ("auto", "tf32") for device in ("cuda:1", "cpu")]
    assert found == ["bf16", "fp32", "tf32", "tf32"]


def test_repeatable_kernels_are_asked_for_and_no_longer():
    with repeatable_kernels(wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
