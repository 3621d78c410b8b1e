"""Zero-shot accuracy and recall on features made by hand."""

import pytest
import torch

from clip_train.errors import InputError
from clip_train.evaluate.captioned import CaptionedImage, read_captioned
from clip_train.evaluate.labelled import parse_classes, read_labelled
from clip_train.evaluate.metrics import class_accuracies
from clip_train.evaluate.retrieval import evaluate_retrieval, recall_at
from clip_train.evaluate.zero_shot import build_classifier
from clip_train.models.clip import Clip
from clip_train.presets import PRESETS
from clip_train.tokenizers.bpe import train_tokenizer
from clip_train.use.features import encode_texts


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a photo of a cat", "a drawing of a dog"], vocab_size=560)
    return Clip(PRESETS["tiny-32"].model.with_text(vocab_size=tokenizer.vocab_size), tokenizer)


def test_accuracies_of_scores_made_by_hand():
    scores = torch.tensor([[3.0, 1, 2, 0, 0, 0], [9, 8, 7, 6, 5, 4], [0, 1, 2, 3, 4, 5], [0, 0, 9, 0, 0, 0]])
    found = class_accuracies(scores, torch.tensor([0, 5, 5, 0]))
    # ranks of the right class: 0, 5, 0, and 5 as all wrong classes score as high or higher
    assert (found.num_images, found.num_classes) == (4, 6)
    assert (found.top1, found.top5) == (0.5, 0.5)
    assert found.mean_per_class == pytest.approx((0.5 + 0.5) / 2)
    assert found.chance == pytest.approx(1 / 6)


def test_mean_per_class_weighs_classes_and_not_images():
    scores = torch.eye(2)[[0, 0, 0, 0]]
    found = class_accuracies(scores, torch.tensor([0, 0, 0, 1]))
    assert (found.top1, found.mean_per_class) == (0.75, 0.5)


def test_a_collapsed_model_scores_nothing():
    same = torch.ones(6, 4)
    assert class_accuracies(same, torch.arange(4).repeat(2)[:6]).top1 == 0
    assert recall_at(same, same, torch.arange(6).repeat(2, 1), [1]) == [0]


def test_an_ensemble_is_the_direction_of_the_mean_of_unit_features(model):
    names, templates = ["cat", "dog"], ["a photo of a {}", "a drawing of a {}", "{}"]
    classifier = build_classifier(model, names, templates)
    for row, name in zip(classifier, names, strict=True):
        mean = encode_texts(model, [t.replace("{}", name) for t in templates]).mean(dim=0)
        torch.testing.assert_close(row, mean / mean.norm())


@pytest.mark.parametrize("templates", [[], ["a photo"]], ids=["none", "no place for the class"])
def test_templates_without_a_place_for_the_class_are_refused(model, templates):
    with pytest.raises(InputError, match="template"):
        build_classifier(model, ["cat"], templates)


def test_recall_with_several_captions_an_image():
    images = torch.eye(3)
    texts = torch.tensor([[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0.3, 0.7], [0, 0.6, 0.4], [0.1, 0.5, 0.4]])
    pairs = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 2, 3, 4]])  # images 0 and 1 have two captions each
    # image 0: its caption 0 is best; image 1: captions 1 is above its best (3); image 2: caption 2 is above, 3 ties
    assert recall_at(images, texts, pairs, [1, 2, 3]) == pytest.approx([1 / 3, 2 / 3, 1])
    # texts to images: text 0 right; 1 finds image 1 first; 2 finds image 2 first; 3 right; 4 finds image 1 first
    assert recall_at(texts, images, pairs.flip(0), [1, 2]) == pytest.approx([2 / 5, 1])


def test_rows_are_searched_the_same_in_pieces(monkeypatch):
    torch.manual_seed(0)
    queries, items = torch.randn(2, 50, 8)
    pairs = torch.arange(50).repeat(2, 1)
    whole = recall_at(queries, items, pairs)
    monkeypatch.setattr("clip_train.evaluate.retrieval._ROWS_AT_ONCE", 7)
    assert recall_at(queries, items, pairs) == whole


def test_captions_of_one_image_are_grouped_and_equal_captions_are_one_text(model, tmp_path):
    from PIL import Image

    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(paths[-1])
    rows = [(0, "a cat"), (0, "one cat"), (1, "a dog"), (2, "a cat")]
    captioned = [CaptionedImage(str(n), lambda n=n: paths[n], caption) for n, caption in rows]
    found = evaluate_retrieval(model, captioned, batch_size=2)
    assert (found.num_images, found.num_texts) == (3, 3)


def test_tables_of_images_and_captions_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "t.csv").write_text('image,caption,n\na.jpg,"one, two",1\nb.jpg,three,2\n')
    (tmp_path / "t.tsv").write_text("caption\timage\none, two\ta.jpg\nthree\tb.jpg\n")
    pq.write_table(
        pa.table({"image": ["a.jpg", "b.jpg"], "caption": [["one, two"], ["three"]]}), tmp_path / "t.parquet"
    )
    for name in ("t.csv", "t.tsv", "t.parquet"):
        rows = list(read_captioned(str(tmp_path / name), "image", "caption"))
        assert [(row.load(), row.caption) for row in rows] == [
            (str(tmp_path / "a.jpg"), "one, two"),
            (str(tmp_path / "b.jpg"), "three"),
        ]
        with pytest.raises(InputError, match="no column 'text'; it has"):
            list(read_captioned(str(tmp_path / name), "image", "text"))


def test_class_folders_are_read_and_unlisted_ones_refused(tmp_path):
    for label in ("n1", "n2"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(b"")
    classes = parse_classes(["n2\tdog", "n1\tcat", "bird"])
    found = list(read_labelled(str(tmp_path), classes))
    assert [classes[image.class_index].prompt for image in found] == ["cat", "dog"]
    with pytest.raises(InputError, match="'n2', which is not among the classes"):
        list(read_labelled(str(tmp_path), parse_classes(["n1"])))


@pytest.mark.parametrize("lines", [[], ["cat", "dog", "cat"]], ids=["none", "twice"])
def test_classes_must_be_there_and_differ(lines):
    with pytest.raises(InputError, match="class"):
        parse_classes(lines)
