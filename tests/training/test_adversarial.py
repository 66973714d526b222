from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from radproof.attacks import attack
from radproof.core.goals import Misclassify
from radproof.errors import BadInput, BadPlan, UnknownName
from radproof.models.zoo import build
from radproof.reports.curves import write_curves
from radproof.training import robust as robust_module
from radproof.training.arithmetic import Arithmetic
from radproof.training.folds import Fold
from radproof.training.hardening import AdversarialRecipe
from radproof.training.history import Epoch
from radproof.training.inner import Adversary, make_adversary
from radproof.training.recipe import AugmentRecipe
from radproof.training.robust import Robust, collapse

CPU = torch.device("cpu")
EPS = 8 / 255


def against(recipe, **changes):
    adversarial = AdversarialRecipe(
        **({"eps": EPS, "steps": 3, "validation_steps": 2, "validation_images": 16} | changes)
    )
    return recipe.model_copy(update={"adversarial": adversarial})


def adversary(labels=("a", "b"), head="softmax", **changes):
    rng = torch.Generator().manual_seed(0)
    model = build("mobilenetv3_small_050", labels=labels, head=head, input_size=32, hidden=4)
    y = torch.arange(12) % 2
    targets = y if head == "softmax" else torch.stack([y, 1 - y], 1).float()
    fold = Fold("training", torch.rand(12, 1, 32, 32, generator=rng), targets)
    made = make_adversary(AdversarialRecipe(eps=EPS, **changes), model, fold, Arithmetic(CPU, "fp32"), 8, 0)
    return made, fold


METHODS = [
    {"method": "pgd"},
    {"method": "fast"},
    {"method": "trades"},
    {"method": "mart"},
    {"attack": {"name": "stm", "copies": 2, "steps": 2}},
    {"attack": {"name": "sia", "copies": 2, "steps": 2}, "method": "trades"},
    {"attack": {"name": "usmm", "params": {"steps": 1}}, "method": "mart"},
]


@pytest.mark.parametrize("changes", METHODS)
def test_inner_attack_raises_the_loss_within_the_budget_and_leaves_the_model_as_it_was(changes):
    made, fold = adversary(**changes)
    model = made.model.train()
    model.backbone.conv_stem.requires_grad_(False)
    model.backbone.blocks[0].eval()
    modes = [m.training for m in model.modules()]
    learning = [p.requires_grad for p in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    seen = made(fold.images, fold.targets, EPS, torch.Generator().manual_seed(1))
    assert (seen - fold.images).abs().max() <= EPS + 1e-6
    assert seen.min() >= 0 and seen.max() <= 1
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == learning
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    goal = Misclassify(fold.targets)
    with torch.no_grad():
        model.eval()
        assert goal.loss(model(seen)).mean() > goal.loss(model(fold.images)).mean()


def test_fast_is_one_step_of_a_quarter_more_than_the_budget_from_a_random_start():
    made, fold = adversary(method="fast")
    x, y = fold.images * 0.5 + 0.25, fold.targets
    seen = made(x, y, EPS, torch.Generator().manual_seed(3))
    start = torch.empty_like(x).uniform_(-1, 1, generator=torch.Generator().manual_seed(3)) * EPS
    leaf = (x + start).requires_grad_()
    model = made.model.eval()
    (grad,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(leaf), y, reduction="sum"), leaf)
    expected = x + (start + 1.25 * EPS * grad.sign()).clamp(-EPS, EPS)
    assert (seen - expected).abs().gt(1e-6).float().mean() < 0.01  # a gradient of almost nothing may change its sign


def test_trades_climbs_the_divergence_whatever_the_labels():
    made, fold = adversary(method="trades")
    one = made(fold.images, fold.targets, EPS, torch.Generator().manual_seed(1))
    other = made(fold.images, 1 - fold.targets, EPS, torch.Generator().manual_seed(1))
    assert torch.equal(one, other)
    assert not torch.equal(one, made(fold.images, fold.targets, EPS, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("method", ["pgd", "fast", "trades"])
def test_findings_side_by_side_are_attacked_too(method):
    made, fold = adversary(head="sigmoid", method=method)
    seen = made(fold.images, fold.targets, EPS, torch.Generator().manual_seed(1))
    assert 0 < (seen - fold.images).abs().max() <= EPS + 1e-6


def test_the_budget_grows_in_a_straight_line():
    recipe = AdversarialRecipe(eps="6/255", warm_up=2)
    assert [recipe.budget(n) * 255 for n in (1, 2, 3, 9)] == pytest.approx([2, 4, 6, 6])
    assert AdversarialRecipe(eps="6/255").budget(1) * 255 == pytest.approx(6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "free"}, "method"),
        ({"eps": 0}, "eps"),
        ({"eps": 2}, "eps"),
        ({"method": "fast", "steps": 3}, "one step"),
        ({"method": "fast", "attack": "sia"}, "method fast"),
        ({"attack": "sia", "steps": 3}, "attack's parameters"),
        ({"method": "trades", "clean_share": 0.5}, "beta"),
        ({"clean_share": 1.0}, "clean_share"),
        ({"attack": {"name": "sia", "eps": 0.1}}, r"adversarial\.eps"),
        ({"attack": "sia[neural]"}, "no variants"),
    ],
)
def test_refuses(changes, words):
    with pytest.raises(ValidationError, match=words):
        AdversarialRecipe(**changes)


@pytest.mark.parametrize(
    ("named", "error", "words"),
    [("siaa", UnknownName, "sia"), ({"name": "sia", "copis": 3}, BadPlan, "copies")],
)
def test_misspelt_attacks_are_refused_by_name(named, error, words):
    with pytest.raises(error, match=words):
        AdversarialRecipe(attack=named)


def test_what_cannot_be_trained_against_is_refused_before_training(teach, recipe):
    with pytest.raises(BadInput, match="universal learns"):
        teach(against(recipe, steps=None, attack="universal"))
    with pytest.raises(BadInput, match="trades"):
        adversary(head="sigmoid", method="mart")


def epoch(held, number=1):
    return Epoch(
        stage="fine-tuning",
        epoch=number,
        lr=1e-3,
        train_loss=0.7,
        train_accuracy=0.5,
        validation_loss=0.6,
        validation_accuracy=0.6,
        validation_auroc=None,
        train_robust_accuracy=held,
    )


def test_a_fall_of_more_than_twenty_points_is_a_collapse():
    assert "70%" in collapse(epoch(0.7), epoch(0.45))
    assert collapse(epoch(0.7), epoch(0.5)) is None
    assert collapse(epoch(0.7), epoch(0.9)) is None
    assert collapse(epoch(None), epoch(0.1)) is None
    assert collapse(None, epoch(0.1)) is None


# Whole trainings. Two cues tell the class: faint stripes (always right) and a bright or dark corner (85 % right).


def cues(n, seed):
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.rand(n, 1, 16, 16, generator=rng) * 0.02 + 0.5
    x = x + (y * 2 - 1).view(-1, 1, 1, 1) * (torch.arange(16) % 2 * 2 - 1) * 0.04
    lasting = torch.where(torch.rand(n, generator=rng) < 0.85, y, 1 - y)
    x[:, :, :6, :6] += (lasting * 2 - 1).view(-1, 1, 1, 1) * 0.15
    return x, y


MORE_THAN_STRIPES = 0.06  # a budget that wipes out the stripes, not the corner


@pytest.fixture
def toy(recipe):
    return recipe.model_copy(
        update={"head_epochs": 0, "epochs": 5, "lr": 5e-3, "dropout": 0.0, "augment": AugmentRecipe(enabled=False)}
    )


@pytest.fixture
def learn(teach, tmp_path):
    def run(recipe, name="model", **changes):
        return teach(recipe, folder=tmp_path / name, data=(*cues(64, 0), *cues(32, 1)), **changes)

    return run


def pgd_accuracy(model):
    x, y = cues(64, 2)
    made = attack["pgd"].make({"eps": MORE_THAN_STRIPES, "steps": 10})
    seen = made(model, x, Misclassify(y), rng=torch.Generator().manual_seed(0))
    return (model(seen).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "trades"},
        {"method": "fast", "steps": None},
        pytest.param({"method": "mart"}, marks=pytest.mark.slow),
    ],
)
def test_it_makes_a_network_that_withstands_the_attack(learn, toy, changes):
    assert pgd_accuracy(learn(against(toy, eps=MORE_THAN_STRIPES, **changes)).model) > 0.7


def test_an_inner_attack_that_does_nothing_teaches_nothing(learn, toy, monkeypatch):
    monkeypatch.setattr(Adversary, "__call__", lambda self, x, y, eps, rng: x)
    assert pgd_accuracy(learn(against(toy, eps=MORE_THAN_STRIPES)).model) < 0.5


def test_clean_training_does_not_withstand_it(learn, toy):
    assert pgd_accuracy(learn(toy).model) < 0.2


class Told:
    """Adds up what the training says; interrupts it once in the second epoch."""

    def __init__(self, stop=False):
        self.stop, self.total, self.done, self.notes = stop, 0.0, 0.0, []

    def start(self, stage, total):
        self.total, self.done = total, 0.0

    def advance(self, stage, amount=1.0):
        self.done += amount
        if self.stop and stage == "training" and self.done > 0.55 * self.total:
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


RESUMED = [
    {"warm_up": 1, "clean_share": 0.25},
    {"steps": None, "attack": {"name": "stm", "copies": 2, "steps": 1}},
    pytest.param({"method": "fast", "steps": None}, marks=pytest.mark.slow),
    pytest.param({"method": "trades", "steps": 1}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("changes", RESUMED)
def test_interrupted_it_ends_with_the_same_bytes_and_progress_ends_at_its_total(teach, recipe, tmp_path, changes):
    recipe = against(recipe.model_copy(update={"head_epochs": 1, "epochs": 2}), **changes)
    whole = Told()
    trained = teach(recipe, tmp_path / "whole", progress=whole)
    assert whole.done == pytest.approx(whole.total)
    assert whole.total > 2 * 48
    with pytest.raises(KeyboardInterrupt):
        teach(recipe, tmp_path / "cut", progress=Told(stop=True))
    assert teach(recipe, tmp_path / "cut", progress=Told()).resumed == 2
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    first, last = trained.history[1:]
    assert last.budget == EPS and first.budget == (EPS / 2 if changes.get("warm_up") else EPS)
    assert (last.train_robust_accuracy is None) == (changes.get("method") != "fast")
    assert trained.history[0].validation_robust_loss is None


def test_the_best_epoch_is_the_one_with_the_lowest_loss_under_attack(teach, recipe, monkeypatch, tmp_path):
    losses = iter([5.0, 4.0, 6.0])
    monkeypatch.setattr("radproof.training.stages.robust", lambda task, adversary: Robust(next(losses), 0.5, None))
    recipe = against(recipe.model_copy(update={"head_epochs": 1}), steps=1)
    three = teach(recipe, tmp_path / "three")
    losses = iter([5.0, 4.0])
    two = teach(recipe.model_copy(update={"epochs": 2}), tmp_path / "two")
    assert len(three.history) == 4
    assert three.card.weights_sha256 == two.card.weights_sha256
    assert [epoch.validation_robust_loss for epoch in three.history] == [None, 5.0, 4.0, 6.0]


def test_catastrophic_overfitting_stops_the_training_and_the_epochs_before_count(teach, recipe, monkeypatch, tmp_path):
    held = iter([(3.0, 0.6), (2.0, 0.5), (1.0, 0.2), (0.5, 0.9)])

    def constructed(task, adversary):
        loss, accuracy = next(held)
        return Robust(loss, 0.5, accuracy)

    monkeypatch.setattr("radproof.training.stages.robust", constructed)
    recipe = against(recipe.model_copy(update={"head_epochs": 0, "epochs": 4}), method="fast", steps=None)
    told = Told()
    stopped = teach(recipe, tmp_path / "stopped", progress=told)
    assert len(stopped.history) == 3
    assert "catastrophic overfitting" in stopped.history[-1].note
    assert any("catastrophic" in note for note in told.notes)
    held = iter([(3.0, 0.6), (2.0, 0.5)])
    usual = teach(recipe.model_copy(update={"epochs": 2}), tmp_path / "usual")
    assert usual.card.weights_sha256 == stopped.card.weights_sha256
    assert '"note"' in (tmp_path / "stopped" / "history.json").read_text()


def test_a_collapse_is_seen_by_the_real_check(learn, toy, monkeypatch):
    accuracies = iter([1.0, 0.5])
    real = robust_module.score

    def falling(logits, targets, head):
        scored = real(logits, targets, head)
        return scored if len(targets) != 64 else replace(scored, accuracy=next(accuracies))

    monkeypatch.setattr(robust_module, "score", falling)
    history = learn(against(toy, method="fast", steps=None)).history
    assert len(history) == 2 and history[-1].note


def test_the_curves_show_both_accuracies(teach, recipe, tmp_path):
    teach(against(recipe.model_copy(update={"head_epochs": 1, "epochs": 1}), steps=1))
    picture = write_curves(tmp_path / "model").read_text()
    assert "attacked validation accuracy" in picture
