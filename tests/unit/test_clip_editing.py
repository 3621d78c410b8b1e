"""Gradients to the pixels: the cosine rises, and every pixel stays where it may be."""

import numpy as np
import pytest
import torch
from PIL import Image

import clip_train
from clip_train.use.editing import EditOptions, crop_views, edit_image

TEXTS = ["a red star", "a blue ring", "a green box"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tokenizer = clip_train.train_tokenizer(TEXTS, vocab_size=540)
    return clip_train.create_model("tiny-32", device="cpu", tokenizer=tokenizer).eval()


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_cosine_rises_and_the_pixels_stay_within_the_limit(model):
    image = noise(40, 56)
    edited = edit_image(model, image, TEXTS[0], EditOptions(steps=10, max_change=0.1, crops=2))
    assert edited.cosine_after > edited.cosine_before + 0.01
    assert edited.image.size == image.size and edited.image.mode == "RGB"
    change = np.asarray(edited.image).astype(int) - np.asarray(image)
    assert 0 < np.abs(change).max() <= 0.1 * 255 + 1
    features = clip_train.encode_images(model, [image, edited.image])
    cosines = features @ clip_train.encode_texts(model, [TEXTS[0]])[0]
    assert cosines.tolist() == pytest.approx([edited.cosine_before, edited.cosine_after], abs=1e-6)


def test_different_texts_change_an_image_differently_and_one_text_always_the_same(model):
    options = EditOptions(steps=3, crops=1)
    first, again, other = (edit_image(model, noise(32, 32), text, options).image for text in (*TEXTS[:1] * 2, TEXTS[1]))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_model_is_left_as_it_was(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    edit_image(model, noise(32, 32), TEXTS[0], EditOptions(steps=2, crops=1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_views_are_squares_of_the_image_and_pass_gradients_on():
    pixels = torch.full((3, 20, 50), 0.25, requires_grad=True)
    views = crop_views(pixels, side=16, count=5, rng=np.random.default_rng(0))
    assert views.shape == (5, 3, 16, 16)
    torch.testing.assert_close(views, torch.full_like(views, 0.25))
    views.sum().backward()
    assert (pixels.grad != 0).any()
