"""Distillation, noise, and trainings that begin with what was trained before."""

import math

import pytest
import torch
from pydantic import ValidationError

from radproof.core.progress import SILENT
from radproof.errors import BadInput, BadModel
from radproof.models.card import load_model
from radproof.models.predict import Predictor
from radproof.training.folds import Fold
from radproof.training.hardening import AdversarialRecipe, DistillRecipe
from radproof.training.recipe import AugmentRecipe, TrainingRecipe, plain
from radproof.training.stages import noisy

DISTILL = DistillRecipe(temperature=20)


@pytest.fixture
def doubtful(teach, recipe):
    """Teach the head what no network can be sure of: three in four dark images are a, three in four bright ones b."""
    images = [torch.full((1, 16, 16), 0.2 if i < 4 else 0.8) for i in range(8)]
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    recipe = recipe.model_copy(
        update={"epochs": 0, "head_epochs": 60, "head_lr": 0.3, "hidden": 0, "patience": 500, "l2": 0.0}
    )

    def run(folder, temperature, judged=(images, targets), **changes):
        settled = recipe.model_copy(update={"distill": DistillRecipe(temperature=temperature)})
        trained = teach(settled, folder, data=(images, targets, *judged), **changes)
        return trained, torch.stack(images[3:5])

    return run


def gap(trained, images):
    with torch.no_grad():
        logits = trained.model(images)
    return (logits[:, 0] - logits[:, 1]).tolist()


def slope(trained, images):
    x = images.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(trained.model(x), torch.tensor([0, 1]), reduction="sum")
    return torch.autograd.grad(loss, x)[0].abs().amax().item()


def test_distillation_makes_logits_so_many_times_larger_and_masks_the_gradient(doubtful, tmp_path):
    usual, images = doubtful(tmp_path / "usual", 1)
    teacher, _ = doubtful(tmp_path / "teacher", 20)
    student, _ = doubtful(tmp_path / "student", 20, teacher=teacher.model)
    assert gap(usual, images) == pytest.approx([math.log(3), -math.log(3)], rel=0.05)
    for trained in (teacher, student):
        assert gap(trained, images) == pytest.approx([20 * math.log(3), -20 * math.log(3)], rel=0.05)
        assert slope(trained, images) < 1e-5 * slope(usual, images)
        assert trained.model.temperature == trained.card.temperature == 1
        assert trained.card.recipe["calibration"].startswith("none")
    assert "teacher" not in teacher.card.recipe
    assert student.card.recipe["teacher"] == teacher.model.fingerprint()


def test_a_student_learns_what_its_teacher_says_and_not_the_labels(doubtful, tmp_path):
    unmoved = Predictor(lambda x: [[0.9, 0.1]] * len(x), ("a", "b"))
    judged = [torch.full((1, 16, 16), grey) for grey in [0.2] * 10 + [0.8] * 10], torch.tensor(([0] * 9 + [1]) * 2)
    student, images = doubtful(tmp_path / "model", 1, judged, teacher=unmoved)
    assert gap(student, images) == pytest.approx([math.log(9), math.log(9)], rel=0.05)


def test_findings_are_distilled_too(teach, recipe, blobs, tmp_path):
    fit, judge = blobs
    data = (
        fit.images,
        torch.stack([fit.targets, 1 - fit.targets], 1),
        judge.images,
        torch.stack([judge.targets, 1 - judge.targets], 1),
    )
    recipe = recipe.model_copy(update={"epochs": 1, "distill": DISTILL})
    teacher = teach(recipe, tmp_path / "t", data=data, head="sigmoid")
    student = teach(recipe, tmp_path / "s", data=data, head="sigmoid", teacher=teacher.model)
    assert student.card.weights_sha256 != teacher.card.weights_sha256


def test_any_classifier_can_teach_and_another_teacher_is_another_training(teach, recipe, tmp_path):
    recipe = recipe.model_copy(update={"epochs": 1, "distill": DISTILL})
    taught = {}
    for name, sure in {"one": 0.9, "two": 0.7}.items():
        teacher = Predictor(lambda x, sure=sure: [[sure, 1 - sure]] * len(x), ("a", "b"), micro_batch=5)
        taught[name] = teach(recipe, tmp_path / "model", teacher=teacher)
        assert taught[name].resumed == 0
    assert taught["one"].card.weights_sha256 != taught["two"].card.weights_sha256
    assert teach(recipe, tmp_path / "model", teacher=teacher).resumed > 0


def test_a_training_goes_on_from_weights(teach, recipe, blobs, tmp_path):
    first = teach(recipe, tmp_path / "first")
    before = first.model.fingerprint()
    still = recipe.model_copy(update={"head_epochs": 0, "epochs": 0})
    copied = teach(still, tmp_path / "copied", start=first.model)
    assert first.model.fingerprint() == before
    assert copied.card.recipe["start"] == before
    assert all(torch.equal(v, copied.model.state_dict()[k]) for k, v in first.model.state_dict().items())
    assert copied.model.temperature == pytest.approx(first.model.temperature, abs=1e-6)
    further = teach(still.model_copy(update={"epochs": 1, "lr": 1e-5}), tmp_path / "further", start=first.model)
    fresh = teach(still.model_copy(update={"epochs": 1, "lr": 1e-5}), tmp_path / "fresh")
    assert further.history[0].validation_loss < fresh.history[0].validation_loss
    assert further.resumed == 0


def test_another_start_is_another_training(teach, recipe, tmp_path):
    once = recipe.model_copy(update={"epochs": 1})
    one, two = (teach(once.model_copy(update={"seed": s}), tmp_path / str(s)).model for s in (0, 1))
    on = once.model_copy(update={"head_epochs": 0})
    assert teach(on, start=one).resumed == 0
    assert teach(on, start=one).resumed == 1
    assert teach(on, start=two).resumed == 0
    assert teach(on).resumed == 0


def test_starts_and_teachers_of_another_kind_are_refused(teach, recipe, tmp_path):
    model = teach(recipe.model_copy(update={"epochs": 0, "head_epochs": 1}), tmp_path / "first").model
    with pytest.raises(BadModel, match="hidden 8"):
        teach(recipe.model_copy(update={"hidden": 4}), start=model)
    with pytest.raises(BadModel, match="architecture cxrnet"):
        teach(recipe.model_copy(update={"architecture": "mobilenetv3_small_050"}), start=model)
    with pytest.raises(BadModel, match="labels a, b"):
        teach(recipe, labels=("x", "y"), start=model)
    with pytest.raises(BadModel, match="teacher answers a, b"):
        teach(recipe.model_copy(update={"distill": DISTILL}), labels=("x", "y"), teacher=model)
    with pytest.raises(BadInput, match="no distill"):
        teach(recipe, teacher=model)


def test_no_layer_is_called_random_where_weights_are_given(teach, recipe, tmp_path):
    notes = []

    class Told(type(SILENT)):
        def note(self, message):
            notes.append(message)

    model = teach(recipe.model_copy(update={"epochs": 0, "head_epochs": 1}), tmp_path / "first").model
    teach(recipe.model_copy(update={"unfreeze": 2, "epochs": 1}), start=model, progress=Told())
    assert not notes


def test_noise_is_drawn_and_judged_by(teach, recipe, tmp_path):
    noise = recipe.model_copy(update={"noise": 0.25, "epochs": 2})
    one, two = (teach(noise, tmp_path / name) for name in ("one", "two"))
    assert one.card == two.card and one.history == two.history
    usual = teach(recipe.model_copy(update={"epochs": 2}), tmp_path / "usual")
    assert one.card.weights_sha256 != usual.card.weights_sha256
    fold = Fold("validation", torch.full((6, 1, 32, 32), 0.5), torch.zeros(6))
    drawn = noisy(fold, 0.25, 0)
    assert (drawn.images - 0.5).std().item() == pytest.approx(0.25, rel=0.05)
    assert (drawn.images < 0).any() and (drawn.images > 1).any()  # not clipped: smoothing adds noise alike
    assert torch.equal(drawn.images, noisy(fold, 0.25, 0).images)


def test_training_on_noise_withstands_noise(teach, recipe, blobs, tmp_path):
    quiet = recipe.model_copy(
        update={"epochs": 3, "head_epochs": 0, "lr": 5e-3, "augment": AugmentRecipe(enabled=False)}
    )
    images = torch.stack(blobs[1].images)
    rough = images + 0.6 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    losses = {}
    for name, sigma in {"usual": 0.0, "noise": 0.6}.items():
        teach(quiet.model_copy(update={"noise": sigma}), tmp_path / name)
        model, _ = load_model(tmp_path / name)
        losses[name] = torch.nn.functional.cross_entropy(model(rough), blobs[1].targets).item()
    assert losses["noise"] < losses["usual"]


@pytest.mark.parametrize(
    "changes",
    [
        {"adversarial": {}, "noise": 0.1},
        {"adversarial": {}, "distill": {}},
        {"noise": 0.1, "distill": {}},
        {"adversarial": {}, "epochs": 0},
        {"noise": 0.1, "epochs": 0},
        {"noise": -0.1},
        {"distill": {"temperature": 0.5}},
    ],
)
def test_refuses(changes):
    with pytest.raises(ValidationError):
        TrainingRecipe(**changes)


def test_recipes_of_before_keep_their_digest():
    told = plain(TrainingRecipe(weights="w.safetensors"))
    assert not {"weights", "adversarial", "noise", "distill"} & told.keys()
    assert set(told["augment"]) == {"enabled", "rotation", "zoom", "shift", "exposure", "flip"}
    assert plain(TrainingRecipe(noise="2/255"))["noise"] == 2 / 255
    assert plain(TrainingRecipe(adversarial={}))["adversarial"]["method"] == "pgd"


def test_every_parameter_is_described():
    for record in (AdversarialRecipe, DistillRecipe):
        assert all(entry.description for entry in record.model_fields.values())
