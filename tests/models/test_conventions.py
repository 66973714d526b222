import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from radproof.models.blueprint import Blueprint
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.models.conventions import FEWEST, card_line, likelier, likelier_order, try_conventions

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 32
LABELS = ("dark", "light", "plain")
COLOUR = {
    "imagenet": {"mean": IMAGENET[0], "std": IMAGENET[1]},
    "signed": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    "unit": {"mean": (0.0,) * 3, "std": (1.0,) * 3},
    "bytes": {"range": (0.0, 255.0), "mean": (0.0,) * 3, "std": (1.0,) * 3},
    "caffe": {"range": (0.0, 255.0), "mean": (103.939, 116.779, 123.68), "std": (1.0,) * 3, "order": "bgr"},
    "inverted": {"range": (1.0, 0.0), "mean": IMAGENET[0], "std": IMAGENET[1]},
    "clip": {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
}
GREY = {
    "unit": {"mean": (0.0,), "std": (1.0,)},
    "signed": {"mean": (0.5,), "std": (0.5,)},
    "bytes": {"range": (0.0, 255.0), "mean": (0.0,), "std": (1.0,)},
    "hounsfield": {"range": (-1024.0, 1024.0), "mean": (0.0,), "std": (1.0,)},
    "inverted": {"range": (1.0, 0.0), "mean": (0.5,), "std": (0.5,)},
}


class Backbone(nn.Module):
    num_features = 16

    def __init__(self, channels):
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip

    def forward_features(self, x):
        return self.maps(x)

    def forward_head(self, maps):
        return maps.amax((2, 3))


def spots(count, seed, shares=(1, 1, 1), colour=False):
    """Noisy grey with a dark spot, a light one or none; in colour a blue one, a red one or none."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, count, p=np.array(shares) / sum(shares))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = 0.45 + 0.05 * rng.standard_normal((count, 3 if colour else 1, SIZE, SIZE))
    for image, label in zip(x, y, strict=True):
        row, column = rng.uniform(8, SIZE - 8, 2)
        spot = 0.3 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
        if colour:
            image[{0: 2, 1: 0}.get(int(label), 1)] += spot  # blue, red, else green
        else:
            image += {0: -1, 1: 1, 2: 0}[int(label)] * spot
    return torch.tensor(np.clip(x, 0, 1)).float(), torch.tensor(y)


def trained(told, channels=3, head="softmax", seed=0, colour=False, noise=0.0, labels=LABELS):
    """A small CNN that learnt its images as `told` says; `noise`: the share of labels that were wrong."""
    torch.manual_seed(seed)
    blueprint = Blueprint(
        architecture="onnx", labels=labels, head=head, input_size=SIZE, channels=channels, hidden=0, **told
    )
    model = ImageClassifier(blueprint, Backbone(channels), nn.Linear(16, 3))
    x, y = spots(240, 100 + seed, colour=colour)
    y = torch.where(torch.rand(len(y)) < noise, torch.randint(3, y.shape), y)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(24):
            optimiser.zero_grad()
            logits = model(x[rows])
            if head == "softmax":
                loss = F.cross_entropy(logits, y[rows])
            else:
                loss = F.binary_cross_entropy_with_logits(logits, F.one_hot(y[rows], 3).float())
            loss.backward()
            optimiser.step()
    return model.freeze()


def shown(model, **told):
    """The same weights under another blueprint."""
    return ImageClassifier(model.blueprint.model_copy(update=told), model.backbone, model.top).freeze()


def guess(channels):
    return {"range": (0.0, 1.0), "order": "rgb"} | (COLOUR["imagenet"] if channels == 3 else GREY["signed"])


def found(model, x, y):
    return likelier(try_conventions(model, tuple(x), y))


@pytest.fixture(scope="module")
def colour_models():
    return {name: trained(told, colour=True) for name, told in COLOUR.items()}


@pytest.fixture(scope="module")
def grey_models():
    return {name: trained(told, 1) for name, told in GREY.items()}


def same(blueprint, told):
    usual = {"range": (0.0, 1.0), "order": "rgb"}
    return all(getattr(blueprint, name) == value for name, value in (usual | told).items())


@pytest.mark.parametrize("name", ["caffe", "inverted", "bytes"])
def test_the_right_colour_convention_is_found(colour_models, name):
    better = found(shown(colour_models[name], **guess(3)), *spots(64, 7, colour=True))
    assert better is not None and same(better.blueprint, COLOUR[name])
    assert better.accuracy > 0.9


@pytest.mark.parametrize("name", ["signed", "unit", "clip"])
def test_a_network_that_is_as_right_with_two_conventions_is_not_stopped(colour_models, name):
    assumed = shown(colour_models[name], **guess(3))
    x, y = spots(64, 7, colour=True)
    assert float((assumed(x).argmax(1) == y).float().mean()) > 0.9
    assert found(assumed, x, y) is None


@pytest.mark.parametrize("name", [name for name in GREY if name != "signed"])
def test_the_right_grey_convention_is_found(grey_models, name):
    better = found(shown(grey_models[name], **guess(1)), *spots(64, 7))
    assert better is not None
    if name in ("hounsfield", "inverted", "bytes"):
        assert same(better.blueprint, GREY[name]), better.name
    assert better.accuracy > 0.9


@pytest.mark.parametrize("shares", [(1, 1, 1), (1, 2, 12), (1, 1, 30)])
def test_a_right_convention_is_never_stopped(colour_models, grey_models, shares):
    for seed in range(2):
        for colour, models in ((True, colour_models), (False, grey_models)):
            for name, model in models.items():
                assert found(model, *spots(48, seed, shares, colour)) is None, (name, seed)


@pytest.mark.parametrize("noise", [0.3, 0.6])
def test_a_right_convention_of_a_weak_network_is_not_stopped(noise):
    for seed in range(2):
        model = trained(GREY["signed"], 1, seed=seed, noise=noise)
        for shares in ((1, 1, 1), (1, 1, 10)):
            assert found(model, *spots(64, 20 + seed, shares)) is None


def test_a_permuted_order_is_found_with_the_right_convention_and_with_a_wrong_one(grey_models):
    order = ("plain", "dark", "light")  # what the network's answers are, wrongly, said to mean
    x, y = spots(64, 3)
    renamed = torch.tensor([order.index(LABELS[k]) for k in y])
    right = shown(grey_models["signed"], labels=order)
    better = found(right, x, renamed)
    assert better is not None and better.blueprint.labels == LABELS
    assert better.accuracy > 0.9 and "classes in the order dark, light, plain" in better.name
    both = found(shown(grey_models["bytes"], labels=order, **guess(1)), x, renamed)
    assert both is not None and both.blueprint.labels == LABELS
    assert same(both.blueprint, GREY["bytes"])


def test_sigmoid_heads(grey_models):
    model = trained(GREY["hounsfield"], 1, head="sigmoid")
    x, y = spots(64, 5)
    truth = F.one_hot(y, 3)
    better = found(shown(model, **guess(1)), x, truth)
    assert better is not None and same(better.blueprint, GREY["hounsfield"])
    for seed in range(4):
        x, y = spots(64, 30 + seed, (1, 1, 8))
        assert found(model, x, F.one_hot(y, 3)) is None


def test_few_images_conclude_nothing(grey_models):
    wrong = shown(grey_models["inverted"], **guess(1))
    x, y = spots(64, 6)
    assert found(wrong, x, y) is not None
    assert found(wrong, x[: FEWEST - 1], y[: FEWEST - 1]) is None


def test_images_of_any_size_and_kind(grey_models):
    x, y = spots(32, 9)
    large = [F.interpolate(image[None], scale_factor=2, mode="nearest")[0] for image in x]
    mixed = tuple(large[0:16]) + tuple(x[16:])
    assert found(grey_models["unit"], mixed, y) is None


def logits_of(said, classes):
    return np.eye(classes)[np.asarray(said)] * 4.0


def order_of(said, truth, classes=2):
    blueprint = Blueprint(
        architecture="onnx", labels=[f"c{k}" for k in range(classes)], mean=(0.5,) * 3, std=(1.0,) * 3
    )
    return likelier_order(logits_of(said, classes), np.asarray(truth), blueprint)


def test_one_answer_to_everything_speaks_for_no_order():
    truth = [0] * 58 + [1] * 6
    assert order_of([1] * 64, truth) is None
    assert order_of([0] * 64, truth) is None
    assert order_of([1 - k for k in truth], truth) == (1, 0)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_chance_speaks_for_no_order(classes):
    rng = np.random.default_rng(1)
    for _ in range(300):
        truth = rng.integers(0, classes, 64)
        assert order_of(rng.integers(0, classes, 64), truth, classes) is None


def test_a_weak_network_in_another_order_is_found():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 200)
    said = np.where(rng.random(200) < 0.3, rng.integers(0, 4, 200), (truth + 1) % 4)
    assert order_of(said, truth, 4) == (3, 0, 1, 2)


def test_the_card_on_one_line_names_the_files_answers_in_their_own_order(grey_models):
    """The classifier that is tried answers in the data's order, the file in its own."""
    x, y = spots(64, 3)
    better = found(shown(grey_models["inverted"], **guess(1)), x, y)
    assert better is not None
    own = ModelCard(
        architecture="onnx", labels=("plain", "light", "dark"), input_size=SIZE, channels=1, mean=(0.5,), std=(0.5,),
        hidden=0, licence="CC0", metrics={"accuracy": 0.9}, file="a.onnx", imported="0" * 64, notes=("n",),
    )  # fmt: skip
    told = yaml.safe_load(card_line(better.card(own, LABELS)))
    assert told["labels"] == ["plain", "light", "dark"]
    assert told["range"] == [1.0, 0.0]
    assert told["licence"] == "CC0" and told["metrics"] == {"accuracy": 0.9} and told["hidden"] == 0
    assert not {"file", "imported", "notes"} & set(told)
    assert ModelCard.model_validate(told).channels == 1
    renamed = shown(grey_models["signed"], labels=("plain", "dark", "light"))
    order = found(renamed, x, torch.tensor([("plain", "dark", "light").index(LABELS[k]) for k in y]))
    assert order is not None  # column 0 was said to be plain and is dark; in the file it is the last
    assert order.card(own, renamed.labels).labels == ("dark", "plain", "light")


def test_answers_that_are_no_numbers_lose(grey_models):
    model = grey_models["unit"]
    x, y = spots(32, 4)

    class Broken(nn.Module):
        def forward(self, features):
            return model.top(features) / (features.mean() < 5)  # infinite where pixels come as 0 to 255

    broken = ImageClassifier(model.blueprint, model.backbone, Broken()).freeze()
    tried = try_conventions(broken, tuple(x), y)
    assert likelier(tried) is None
    assert all(trial.accuracy == 0 or np.isfinite(trial.likelihood) for trial in tried)
