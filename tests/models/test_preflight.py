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


def test_probabilities_rounded_to_eight_bits(images):
    def rounded(x):
        return (linear(x).softmax(1) * 256).floor() / 256

    assert bool(((rounded(images).sum(1) - 1).abs() > 1e-3).any())
    assert "probabilities" in kinds(rounded, images)
    assert "probabilities" not in kinds(lambda x: linear(x).softmax(1) + 0.01, images)


def test_probabilities_of_a_sigmoid_head(images):
    assert "probabilities" in kinds(lambda x: linear(x).sigmoid(), images, F.one_hot(Y).float(), "sigmoid")


def test_nan_gradient(images):
    # The square root's slope at zero is infinite, and zero times infinity is no number.
    assert "gradient-masking" in kinds(lambda x: linear(x) + 0 * (x - x.detach()).sqrt().sum(), images)


def test_training_mode(tiny, images):
    doubts = preflight(tiny.train(), images, Y, LABELS, "softmax")
    assert {"training-mode", "random-answers"} <= {doubt.kind for doubt in doubts}
    assert all(doubt.severity == "serious" and doubt.message.endswith((".", ";")) for doubt in doubts)


class Counting:
    """Answers otherwise after some calls, or depending on the one before."""

    def __init__(self, change):
        self.calls, self.change = 0, change

    def __call__(self, x):
        self.calls += 1
        return linear(x) + self.change(self.calls)


@pytest.mark.parametrize(
    "change",
    [
        lambda calls: 0.1 * (calls > 9),  # tires
        lambda calls: 0.01 * calls,  # drifts
        lambda calls: 0.1 * (calls % 2),
        lambda calls: 0.1 * (calls % 3 == 0),
    ],
)
def test_memory_of_earlier_calls(images, change):
    assert "stateful-answers" in kinds(Counting(change), images)


def test_memory_of_the_last_images(images):
    last = [torch.zeros(3)]

    def answer(x):
        found = linear(x) + 0.1 * last[0]
        last[0] = linear(x).detach().mean(0)
        return found

    assert "stateful-answers" in kinds(answer, images)


def test_chance_is_no_memory(images):
    assert kinds(lambda x: linear(x) + torch.rand(len(x), 3), images) >= {"random-answers"}
    assert "stateful-answers" not in kinds(lambda x: linear(x) + torch.rand(len(x), 3), images)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    kinds(linear, images)
    assert torch.equal(torch.rand(1), before)  # the dice of others were not touched


class Straight(torch.autograd.Function):
    """Rounds, and says that it did not."""

    @staticmethod
    def forward(_, x):
        return x.round()

    @staticmethod
    def backward(_, gradient):
        return gradient


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: linear(x).round(),
        lambda x: F.one_hot(linear(x).argmax(1), 3) + 0.0 * linear(x),
        lambda x: 10 * F.one_hot(linear(x).argmax(1), 3).float(),
        lambda x: torch.fake_quantize_per_tensor_affine(linear(x), 20.0, 0, -128, 127),  # lets gradients through
        lambda x: linear((4 * x).round() / 4),
        lambda x: Straight.apply(linear(x) / 20),
        lambda x: linear(x).sign(),
    ],
)
def test_answers_in_steps_are_masking(images, answer):
    assert "gradient-masking" in kinds(answer, images)


def test_fine_answers_are_no_steps(images):
    assert kinds(lambda x: 1e-3 * linear(x), images) == set()
    assert kinds(lambda x: 1000 + linear(x), images) == set()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: {"logits": linear(x), "aux": x}, "dict of logits, aux, expected one tensor"),
        (lambda x: (linear(x), x), "a tuple, expected one tensor"),
        (lambda x: [linear(x)], "a list, expected one tensor"),
        (lambda _: None, "a NoneType"),
        (lambda x: linear(x).argmax(1), r"shape \(5,\), expected \(5, 3\)"),
        (lambda x: F.one_hot(linear(x).argmax(1), 3), "int64, expected logits"),
        (lambda x: linear(x)[:, :, None], r"shape \(5, 3, 1\)"),
        (lambda x: linear(x).mean(0, keepdim=True), r"shape \(1, 3\), expected"),
        (lambda x: linear(x)[:, :1], r"shape \(5, 1\), expected"),
        (lambda x: linear(x) * float("inf"), "NaN logits or infinite ones for 5 of 5"),
        (torch.nn.Conv2d(3, 3, 3), r"breaks off on images of shape \(5, 1, 48, 48\): RuntimeError.*channels"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3)), "breaks off .* input size"),
    ],
)
def test_answers_that_cannot_be_used(images, answer, said):
    with pytest.raises(BadModel, match=said):
        kinds(answer, images)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_probability_beside_a_logit_of_nothing(images, order):
    class Two(Answer):
        labels = ("a", "b")

    def single(x):
        one = linear(x)[:, :1].sigmoid()
        return torch.cat([torch.zeros_like(one), one], 1)[:, order]

    y = torch.tensor([0, 1, 0, 1, 0])
    found = {doubt.kind for doubt in preflight(Two(single), images, y, ("a", "b"), "softmax")}
    assert found == {"probabilities"}


def test_batch_statistics_left_on(images):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(3)
    assert "batch-dependence" in kinds(lambda x: norm(linear(x)), images)
