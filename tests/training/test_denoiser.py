"""A denoiser for a toy: a model that reads a blob and, like real ones, heeds a fine pattern that no image shows."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from radproof.core.goals import Misclassify
from radproof.core.progress import SILENT
from radproof.core.rng import generator
from radproof.defenses.defended import Defended
from radproof.defenses.denoiser import CARD, WEIGHTS, load_denoiser
from radproof.errors import BadData, BadModel, BadPlan, UnknownName
from radproof.training.denoiser import DenoiserRecipe, train_denoiser
from radproof.training.denoiser_images import KINDS, LEAST, make_attack, make_pairs, stacked

CPU = torch.device("cpu")
SIDE = 24
RECIPE = DenoiserRecipe(width=4, depth=1, epochs=20, lr=1e-2, batch=6, steps=2)
SHORT = RECIPE.model_copy(update={"epochs": 4})


class Toy(nn.Module):
    """Class 1 where the middle is bright. A checkerboard, nearly absent from smooth images, counts as well."""

    labels, micro_batch = ("a", "b"), 16

    def __init__(self, head="softmax"):
        super().__init__()
        self.head = head
        board = (torch.arange(SIDE).view(-1, 1) + torch.arange(SIDE)) % 2 * 2.0 - 1
        blob = torch.zeros(SIDE, SIDE)
        blob[8:16, 8:16] = 10 / 64
        self.weight = nn.Parameter(blob + 0.3 * board)

    def forward(self, x):
        said = (x.mean(1) * self.weight).sum((1, 2)) - 5.0
        return torch.stack([-said, said], 1)

    def fingerprint(self):
        return "toy"


def smooth(n, seed, channels=1):
    """(n, C, 24, 24) and classes: shades with a middle that is dark or bright."""
    rng = generator(seed, "smooth")
    coarse = torch.rand(n, channels, 4, 4, generator=rng) * 0.2
    x = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=True) + 0.3
    y = torch.arange(n) % 2
    x[:, :, 8:16, 8:16] += 0.25 * y.view(-1, 1, 1, 1)
    return x, y


FOLDS = smooth(36, 0)[0], smooth(16, 1)[0]


def teach(folder, recipe=RECIPE, model=None, folds=FOLDS, **more):
    return train_denoiser(model or Toy(), *folds, recipe=recipe, device=CPU, folder=folder, **more)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Told:
    def __init__(self, stop=None):
        self.stop, self.totals, self.notes, self.done = stop, {}, [], 0

    def start(self, stage, total):
        self.totals[stage] = total

    def advance(self, stage, amount=1.0):
        self.done += amount if stage == "denoiser" else 0
        if self.stop is not None and self.done > self.stop:
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    teach(folder, SHORT)
    return contents(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return teach(folder), folder


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


def test_it_undoes_static_attacks_and_spares_clean_images(whole):
    denoiser, _ = whole
    model, (x, y) = Toy(), smooth(40, 2)
    attacked = make_attack(RECIPE, 6 / 255)(model, x, Misclassify(y), rng=generator(0))
    behind = Defended(model, denoiser)
    assert accuracy(model, x, y) == accuracy(behind, x, y) == 1
    assert accuracy(model, attacked, y) < 0.1
    assert accuracy(behind, attacked, y) > 0.9


def test_the_card_tells_what_came_of_it(whole):
    card = whole[0].card
    assert (card.model, card.width, card.depth, card.recipe["attack"]) == ("toy", 4, 1, "pgd")
    losses = [epoch.validation_loss for epoch in card.history]
    assert [epoch.epoch for epoch in card.history] == list(range(21))
    assert card.history[0].train_loss is None
    assert min(losses) < 0.3 * losses[0]  # epoch 0: as it is without
    assert card.agreement.attacked < 0.6 < 0.95 < card.agreement.denoised
    assert card.agreement.clean == 1


@pytest.mark.parametrize("stop", [-1, 50, 36 * 3 + 10])
def test_interrupted_anywhere_it_ends_with_the_same_bytes(short, tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        teach(tmp_path, SHORT, progress=Told(stop))
    assert not (tmp_path / CARD).exists()
    told = Told()
    teach(tmp_path, SHORT, progress=told)
    assert told.totals["denoiser"] == 36 * (4 - max(stop, 0) // 36)
    assert contents(tmp_path) == short
    assert sorted(short) == [CARD, WEIGHTS]


def test_a_finished_training_is_read_not_repeated(whole):
    told = Told()
    again = teach(whole[1], progress=told)
    assert not told.totals
    assert again.card == whole[0].card
    x = smooth(3, 5)[0]
    assert torch.equal(again(x, rng=generator(0)), whole[0](x, rng=generator(0)))


def test_another_seed_model_or_image_is_another_training(short, tmp_path):
    (tmp_path / CARD).write_bytes(short[CARD])
    (tmp_path / WEIGHTS).write_bytes(short[WEIGHTS])
    one = SHORT.model_copy(update={"epochs": 1})
    cards = [
        teach(tmp_path, one).card,
        teach(tmp_path, one.model_copy(update={"seed": 1})).card,
        teach(tmp_path, one, folds=(FOLDS[0] * 0.99, FOLDS[1])).card,
        teach(tmp_path, one, fingerprint="another").card,
    ]
    assert len({json.loads(short[CARD])["digest"], *(card.digest for card in cards)}) == 5
    assert cards[0].weights_sha256 != cards[1].weights_sha256
    assert [card.model for card in cards] == ["toy", "toy", "toy", "another"]


def test_a_damaged_folder_is_trained_anew(short, tmp_path):
    (tmp_path / CARD).write_text("{}")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"none")
    teach(tmp_path, SHORT)
    assert contents(tmp_path) == short


def test_it_refuses_to_stand_before_another_model(whole):
    with pytest.raises(BadModel, match="trained for model toy, the model here is other"):
        load_denoiser(whole[1], "other")


def test_the_model_is_left_as_it_was(tmp_path):
    model = Toy()
    before = model.weight.detach().clone()
    teach(tmp_path, RECIPE.model_copy(update={"epochs": 1}), model)
    assert torch.equal(model.weight, before)
    assert model.weight.grad is None


def test_pixels_as_guide_findings_as_answers_and_three_channels(tmp_path):
    recipe = RECIPE.model_copy(update={"guide": "pixels", "attack": "mi", "size": 24, "epochs": 12})
    folds = smooth(36, 0, channels=3)[0], smooth(8, 1, channels=3)[0]
    card = teach(tmp_path, recipe, Toy("sigmoid"), folds).card
    losses = [epoch.validation_loss for epoch in card.history]
    # Before, the loss is the mean change of a third of clean images and two thirds of attacked ones.
    pairs = make_pairs("validation", folds[1], Toy("sigmoid"), recipe, CPU, Told())
    assert losses[0] == pytest.approx(2 / 3 * pairs.changes.float().abs().mean().item(), rel=1e-3)
    assert min(losses) < 0.6 * losses[0]


def test_pairs_are_attacks_on_the_models_own_answers_at_random_budgets():
    recipe = RECIPE.model_copy(update={"batch": 2})
    x = smooth(16, 3)[0]
    pairs = make_pairs("training", x, Toy(), recipe, CPU, SILENT)
    rows = torch.arange(16)
    assert torch.equal(pairs.seen(rows, torch.zeros_like(rows)), x)
    budgets = pairs.changes.float().abs().flatten(2).amax(2)
    assert LEAST * recipe.eps * 0.999 < budgets.min()
    assert budgets.max() < recipe.eps * 1.001
    assert budgets.unique().numel() > 10
    model = Toy()
    with torch.no_grad():
        own = model(x).argmax(1)
        clean = Misclassify(own).loss(model(x))
        for kind in range(1, KINDS):
            assert (Misclassify(own).loss(model(pairs.seen(rows, torch.full_like(rows, kind)))) > clean).all()


def test_images_that_cannot_be_used_are_refused(tmp_path):
    ok = list(smooth(4, 0)[0])
    for wrong, message in (
        (ok[:1], "two or more training images, got 1"),
        ([*ok, torch.rand(1, 20, 24)], "give it a size"),
        ([*ok, torch.full((1, SIDE, SIDE), torch.nan)], "not numbers"),
        ([torch.rand(2, 8, 8)] * 3, "expected training images"),
    ):
        with pytest.raises(BadData, match=message):
            teach(tmp_path, folds=(wrong, ok))
    mixed = [*ok, torch.rand(1, 20, 30)]
    assert stacked("training", mixed, DenoiserRecipe(size=16)).shape == (5, 1, 16, 16)
    many = torch.arange(50.0).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 50
    assert (stacked("training", many, DenoiserRecipe(images=3))[:, 0, 0, 0] * 50).tolist() == [0, 24, 49]


@pytest.mark.parametrize(
    ("name", "error"), [("none-such", UnknownName), ("style", BadPlan), ("usmm", BadPlan), ("universal", BadPlan)]
)
def test_attacks_that_cannot_be_used_are_refused_before_any_work(tmp_path, name, error):
    told = Told()
    with pytest.raises(error):
        teach(tmp_path, RECIPE.model_copy(update={"attack": name}), progress=told)
    assert not told.totals


def test_a_model_without_fingerprint_needs_a_name(tmp_path):
    class Nameless(Toy):
        fingerprint = None

    with pytest.raises(BadModel, match="no fingerprint"):
        teach(tmp_path, model=Nameless())


@pytest.mark.parametrize(
    "changes",
    [{"width": 0}, {"depth": 9}, {"epochs": 0}, {"lr": 0}, {"batch": 1}, {"eps": 0}, {"guide": "hope"}, {"way": 1}],
)
def test_refuses(changes):
    with pytest.raises(ValidationError):
        DenoiserRecipe(**changes)


def test_every_parameter_is_described_and_reads_back():
    assert all(entry.description for entry in DenoiserRecipe.model_fields.values())
    recipe = DenoiserRecipe(eps="4/255", images=9)
    assert DenoiserRecipe.model_validate(json.loads(recipe.model_dump_json())) == recipe
    assert recipe.eps == 4 / 255
