"""Robustness over several test sets, from accuracies made by hand."""

import pytest
import torch

from clip_train.commands.robustness import parse_test_sets
from clip_train.errors import InputError
from clip_train.evaluate.metrics import Accuracies, among_present, class_accuracies
from clip_train.evaluate.robustness import compare_test_sets, expected_accuracy, read_baselines


def with_top1(top1):
    return Accuracies(num_images=100, num_classes=10, top1=top1, top5=1.0, mean_per_class=top1, chance=0.1)


def test_each_set_is_compared_with_the_first():
    rows = compare_test_sets({"plain": with_top1(0.8), "sketches": with_top1(0.5), "easy": with_top1(0.9)})
    assert [row.name for row in rows] == ["plain", "sketches", "easy"]
    assert [row.drop for row in rows] == pytest.approx([0, 0.3, -0.1])
    assert [row.effective_robustness for row in rows] == [None, None, None]


def test_effective_robustness_is_what_lies_above_the_line_of_other_models(tmp_path):
    logit = lambda p: torch.logit(torch.tensor(p, dtype=torch.float64))  # noqa: E731
    on_plain = [0.5, 0.6, 0.7, 0.8]
    on_sketches = [float(torch.sigmoid(1.2 * logit(p) - 1)) for p in on_plain]  # exactly on a line of logits
    table = tmp_path / "models.csv"
    lines = [f"m{n},{a!r},{b!r}" for n, (a, b) in enumerate(zip(on_plain, on_sketches, strict=True))]
    table.write_text("model,plain,sketches\n" + "\n".join(lines) + "\n")
    baselines = read_baselines(str(table), ["plain", "sketches"])
    rows = compare_test_sets({"plain": with_top1(0.75), "sketches": with_top1(0.7)}, baselines)
    assert rows[0].effective_robustness is None
    assert rows[1].effective_robustness == pytest.approx(0.7 - float(torch.sigmoid(1.2 * logit(0.75) - 1)))


def test_a_model_on_the_line_has_no_effective_robustness():
    assert expected_accuracy(0.6, [0.6, 0.8], [0.4, 0.7]) == pytest.approx(0.4)
    assert expected_accuracy(0.7, [0.5, 0.6, 0.8], [0.5, 0.6, 0.8]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plain\n0.5\n0.6\n", "no column 'sketches'"),
        ("plain,sketches\n0.5,0.4\n", "a line needs two models"),
        ("plain,sketches\n0.5,0.4\n0.5,0.3\n", "a line needs two models"),
        ("plain,sketches\n0.5,0.4\n51,0.3\n", "row 1: plain is '51', not an accuracy between 0 and 1"),
        ("plain,sketches\n0.5,x\n0.4,0.3\n", "row 0: sketches is 'x'"),
    ],
    ids=["column", "one model", "one accuracy", "percent", "word"],
)
def test_tables_of_other_models_that_give_no_line_are_refused(tmp_path, text, message):
    (tmp_path / "models.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_baselines(str(tmp_path / "models.csv"), ["plain", "sketches"])


def test_among_the_present_classes_the_absent_ones_cannot_win():
    scores = torch.tensor([[1.0, 9, 2], [3, 9, 1]])
    labels = torch.tensor([2, 0])
    assert class_accuracies(scores, labels).top1 == 0
    found = class_accuracies(*among_present(scores, labels))
    assert (found.top1, found.num_classes) == (1, 2)


@pytest.mark.parametrize("values", [["images"], ["=x"], ["a="], ["a=x", "a=y"]], ids=str)
def test_test_sets_need_a_name_each(values):
    with pytest.raises(InputError, match="must be NAME=PATH, each NAME once"):
        parse_test_sets(values)
