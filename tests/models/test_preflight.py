import pytest
import torch
import torch.nn.functional as F

from radproof.errors import BadModel
from radproof.models.preflight import preflight

LABELS = ("a", "b", "c")
Y = torch.tensor([0, 1, 2, 0, 1])


class Answer:
    """A classifier made of a function."""

    labels, head, micro_batch = LABELS, "softmax", 8

    def __init__(self, answer, head="softmax"):
        self.answer, self.head = answer, head

    def __call__(self, x):
        return self.answer(x)


def linear(x):
    weight = torch.linspace(-1, 1, x[0].numel() * 3).sin().view(-1, 3)
    return x.flatten(1) @ weight


def kinds(answer, images, y=Y, head="softmax"):
    return {doubt.kind for doubt in preflight(Answer(answer, head), images, y, LABELS, head)}


def test_a_sound_model_raises_no_doubt(tiny, images):
    assert preflight(tiny, images, Y, LABELS, "softmax") == ()
    assert kinds(linear, images) == set()


def test_a_sound_multi_label_model_raises_no_doubt(images):
    assert kinds(linear, images, F.one_hot(Y).float(), "sigmoid") == set()


@pytest.mark.parametrize(("labels", "head"), [(("a", "c", "b"), "softmax"), (LABELS, "sigmoid")])
def test_other_classes_are_refused(tiny, images, labels, head):
    with pytest.raises(BadModel, match="choose the same classes"):
        preflight(tiny, images, Y, labels, head)


def test_another_number_of_answers_is_refused(images):
    with pytest.raises(BadModel, match=r"\(5, 2\), expected \(5, 3\)"):
        kinds(lambda x: linear(x)[:, :2], images)


def test_nan_logits_are_refused(images):
    with pytest.raises(BadModel, match="NaN logits or infinite ones for 1 of 5"):
        kinds(lambda x: linear(x).index_fill(0, torch.tensor([len(x) - 1]), float("nan")), images)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda x: linear(x).softmax(1), "probabilities"),
        (lambda x: linear(x).detach(), "gradient-masking"),
        (lambda x: linear(x.round() + 0 * x) if x.requires_grad else linear(x), "gradient-masking"),
        (lambda x: linear(x).detach() + torch.zeros(3, requires_grad=True), "gradient-masking"),
        (lambda x: linear(x) + 1e-3 * torch.rand(len(x), 3), "random-answers"),
        (lambda x: linear(x) - linear(x).mean(0), "batch-dependence"),
        (lambda x: 0 * linear(x) + torch.tensor([1.0, 2.0, 3.0]), "constant-answers"),
    ],
)
def test_each_doubt(images, answer, kind):
    assert kind in kinds(answer, images)


def test_probabilities_of_a_sigmoid_head(images):
    assert "probabilities" in kinds(lambda x: linear(x).sigmoid(), images, F.one_hot(Y).float(), "sigmoid")


def test_nan_gradient(images):
    # The square root's slope at zero is infinite, and zero times infinity is no number.
    assert "gradient-masking" in kinds(lambda x: linear(x) + 0 * (x - x.detach()).sqrt().sum(), images)


def test_training_mode(tiny, images):
    doubts = preflight(tiny.train(), images, Y, LABELS, "softmax")
    assert {"training-mode", "random-answers"} <= {doubt.kind for doubt in doubts}
    assert all(doubt.severity == "serious" and doubt.message.endswith((".", ";")) for doubt in doubts)
