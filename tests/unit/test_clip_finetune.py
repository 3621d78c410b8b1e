"""Fine-tuning: heads, interpolation, augmentation, what is saved."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.errors import InputError
from clip_train.evaluate.classifier import (
    ImageClassifier,
    add_head,
    copy_state,
    interpolate,
    load_classifier,
    save_classifier,
)
from clip_train.evaluate.finetune import AugmentedImages, FinetuneOptions, finetune, random_crop
from clip_train.evaluate.labelled import LabelledImage, parse_classes
from clip_train.evaluate.zero_shot import build_classifier
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS
from clip_train.tokenizers.bpe import train_tokenizer
from clip_train.use.features import encode_images

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220)}
OPTIONS = FinetuneOptions(
    epochs=4,
    batch_size=8,
    learning_rate=1e-3,
    weight_decay=0.1,
    min_crop_share=0.5,
    flip=True,
    precision="fp32",
    workers=0,
    seed=0,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    tokenizer = train_tokenizer([f"a photo of {name}" for name in COLOURS], vocab_size=540)
    return Clip(PRESETS["tiny-32"].model.with_text(vocab_size=tokenizer.vocab_size), tokenizer).eval()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    rows = []
    for number in range(36):
        colour = list(COLOURS.values())[number % 3]
        noise = rng.integers(-25, 25, (40, 48, 3))
        file = io.BytesIO()
        Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file, "PNG")
        rows.append(LabelledImage(lambda data=file.getvalue(): data, number % 3))
    return rows


def test_a_zero_shot_head_gives_the_logits_of_zero_shot_classification(model, images):
    directions = build_classifier(model, list(COLOURS), ["a photo of {}"])
    classifier = add_head(model, directions).eval()
    pixels = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = model.logit_scale.exp() * torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
        torch.testing.assert_close(classifier(pixels), expected @ directions.T)


def test_all_weights_of_the_tower_and_the_head_are_trained_and_the_loss_falls(model, images):
    classifier = add_head(model, torch.zeros(3, model.config.embed_dim))
    before = copy_state(classifier)
    losses = finetune(classifier, images, OPTIONS, side=32)
    assert losses[0] > 0.8 and losses[-1] < losses[0] / 2
    after = classifier.state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])] == ["scale"]


def test_the_same_seed_trains_the_same_weights_with_any_number_of_workers(model, images):
    states = []
    for workers in (0, 2):
        classifier = ImageClassifier(Clip(model.config).visual, torch.zeros(3, model.config.embed_dim))
        classifier.visual.load_state_dict(model.visual.state_dict())
        finetune(classifier, images, dataclasses.replace(OPTIONS, epochs=1, workers=workers), side=32)
        states.append(classifier.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


def test_weights_are_interpolated_from_before_to_after(model):
    classifier = ImageClassifier(model.visual, torch.zeros(3, model.config.embed_dim))
    before = copy_state(classifier)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter += 1
    after = copy_state(classifier)
    for share in (0, 0.25, 1):
        between = interpolate(before, after, share)
        assert between["scale"] == before["scale"]
        for name, _ in classifier.named_parameters():
            torch.testing.assert_close(between[name], before[name] + share)


def test_a_crop_is_a_square_of_at_least_the_share_asked_for():
    gradient = np.tile(np.arange(80, dtype=np.uint8)[None, :, None], (60, 1, 3))
    image = Image.fromarray(gradient)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        pixels = np.asarray(random_crop(image, 30, rng=rng, min_share=0.25)).astype(int)
        assert pixels.shape == (30, 30, 3)
        assert 25 <= pixels.max() - pixels.min() <= 60  # half to all of the short side, but for the kernel's edge


def test_an_image_is_cropped_anew_in_every_epoch_and_the_same_again(images):
    dataset = AugmentedImages(images, 32, OPTIONS)
    (first, label), (again, _), (later, _) = dataset[0, 5], dataset[0, 5], dataset[1, 5]
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert (first.dtype, first.shape, label) == (torch.uint8, (3, 32, 32), 5 % 3)


def test_a_saved_classifier_is_read_back(model, tmp_path):
    torch.manual_seed(1)
    classifier = ImageClassifier(model.visual, torch.randn(2, model.config.embed_dim)).eval()
    classes = parse_classes(["n1\tcat", "n2\tdog"])
    save_classifier(str(tmp_path / "out"), classifier, model=model.config, classes=classes)
    loaded = load_classifier(str(tmp_path / "out"), "cpu")
    assert loaded.classes == classes and loaded.model == model.config
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded.classifier(pixels), classifier(pixels), rtol=0, atol=0)


def test_a_folder_without_a_whole_classifier_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_classifier(str(tmp_path))
    save_classifier(str(tmp_path), ImageClassifier(model.visual, torch.zeros(2, 64)), model=model.config, classes=[])
    with pytest.raises(InputError, match="not a whole classifier"):
        load_classifier(str(tmp_path))


def test_features_are_the_same_from_paths_bytes_images_and_functions(model, images, tmp_path):
    data = images[0].load()
    (tmp_path / "x.png").write_bytes(data)
    sources = [data, str(tmp_path / "x.png"), Image.open(io.BytesIO(data)), images[0].load]
    rows = encode_images(model, sources, batch_size=3)
    for row in rows[1:]:
        torch.testing.assert_close(row, rows[0])
