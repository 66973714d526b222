import json

import numpy as np
import pytest
import torch
import yaml

from radproof.errors import BadData, BadInput, UnknownName
from radproof.measure.calibration import fit_temperature
from radproof.models.card import load_model
from radproof.models.classifier import resize
from radproof.models.weights import save_weights
from radproof.models.zoo import build
from radproof.training.recipe import AugmentRecipe


class Told:
    """Keeps what the training says; interrupts it once, in the batch after `stop` images of fine-tuning."""

    def __init__(self, stop=None):
        self.stop, self.totals, self.done, self.notes = stop, {}, {}, []

    def start(self, stage, total):
        self.totals[stage] = total
        self.done[stage] = 0

    def advance(self, stage, amount=1.0):
        self.done[stage] += amount
        if stage == "training" and self.stop is not None and self.done[stage] > self.stop:
            self.stop = None
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_learns_and_writes_a_model_that_gives_the_same_answers(teach, recipe, blobs, tmp_path):
    trained = teach(recipe.model_copy(update={"epochs": 8}), facts={"data": "blobs", "phantom": True})
    images = torch.stack(blobs[1].images)
    answers = trained.model(images).argmax(1)
    assert (answers == blobs[1].targets).float().mean() > 0.9
    assert trained.card.metrics["validation_accuracy"] == pytest.approx((answers == blobs[1].targets).double().mean())
    read, card = load_model(tmp_path / "model")
    assert torch.equal(read(images), trained.model(images))
    assert card == trained.card
    assert card.phantom
    assert card.images == {"training": 48, "validation": 24}
    assert sorted(contents(tmp_path / "model")) == ["card.yaml", "history.json", "weights.safetensors"]


def test_twice_the_same_bytes_and_another_seed_others(teach, recipe, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        teach(recipe.model_copy(update={"seed": seed}), folder=tmp_path / name)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["weights.safetensors"] != three["weights.safetensors"]


@pytest.mark.parametrize(
    ("schedule", "stop"),
    [("plateau", 10), pytest.param("plateau", 60, marks=pytest.mark.slow), ("onecycle", 143)],
)
def test_interrupted_anywhere_it_ends_with_the_same_bytes(teach, recipe, tmp_path, stop, schedule):
    recipe = recipe.model_copy(update={"schedule": schedule, "dropout": 0.3})
    teach(recipe, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        teach(recipe, folder=tmp_path / "cut", progress=Told(stop))
    assert not (tmp_path / "cut" / "card.yaml").exists()
    told = Told()
    trained = teach(recipe, folder=tmp_path / "cut", progress=told)
    assert trained.resumed == 2 + stop // 48
    assert told.totals == {"training": 48 * (3 - stop // 48)}
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_another_recipe_starts_afresh(teach, recipe, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        teach(recipe, progress=Told(60))
    other = recipe.model_copy(update={"lr": 1e-4, "epochs": 1})
    assert teach(other).resumed == 0
    teach(other, folder=tmp_path / "whole")
    assert contents(tmp_path / "model") == contents(tmp_path / "whole")


def test_a_finished_training_is_read_not_repeated(teach, recipe):
    first = teach(recipe)
    told = Told()
    again = teach(recipe, progress=told)
    assert not told.totals
    assert (again.card, again.history, again.resumed) == (first.card, first.history, 5)
    assert again.model.fingerprint() == first.model.fingerprint()


def test_other_data_are_another_training(teach, recipe, blobs):
    recipe = recipe.model_copy(update={"epochs": 1})
    first = teach(recipe)
    fit, judge = blobs
    data = ([fit.images[0] * 0.9, *fit.images[1:]], fit.targets, judge.images, judge.targets)
    assert teach(recipe, data=data).card.weights_sha256 != first.card.weights_sha256


def test_the_best_epoch_is_restored_and_training_stops_early(teach, recipe, blobs):
    # At this rate the loss of a head that begins at chance rises from the first step of fine-tuning on.
    recipe = recipe.model_copy(update={"lr": 3.0, "epochs": 9, "patience": 2, "hidden": 0})
    told = Told()
    trained = teach(recipe, progress=told)
    losses = [epoch.validation_loss for epoch in trained.history]
    best = losses.index(min(losses))
    assert len(losses) - 1 - best == 2
    assert any("stopped" in note for note in told.notes)
    logits = trained.model(torch.stack(blobs[1].images)) * trained.model.temperature
    accuracy = (logits.argmax(1) == blobs[1].targets).double().mean().item()
    assert accuracy == pytest.approx(trained.history[best].validation_accuracy)


def test_temperature_is_the_likeliest_on_the_validation_fold(teach, recipe, blobs):
    trained = teach(recipe.model_copy(update={"epochs": 1}))
    images = torch.stack([resize(image[None], 16)[0] for image in blobs[1].images])
    with torch.no_grad():
        logits = trained.model(images).double().numpy() * trained.model.temperature
    likeliest = fit_temperature(logits, blobs[1].targets.numpy(), "softmax")
    assert trained.card.temperature == pytest.approx(likeliest, rel=1e-3)
    assert trained.card.temperature != 1


def test_head_alone_leaves_the_backbone_as_it_was(teach, recipe):
    recipe = recipe.model_copy(update={"epochs": 0})
    trained = teach(recipe)
    untouched = build("cxrnet", labels=("a", "b"), input_size=16, hidden=8).backbone.state_dict()
    learnt = trained.model.backbone.state_dict()
    assert all(torch.equal(value, learnt[name]) for name, value in untouched.items())
    assert [epoch.stage for epoch in trained.history] == ["head", "head"]


def test_without_a_head_stage(teach, recipe):
    trained = teach(recipe.model_copy(update={"head_epochs": 0, "epochs": 1}))
    assert [epoch.stage for epoch in trained.history] == ["fine-tuning"]


def test_findings_side_by_side(teach, recipe, blobs):
    fit, judge = blobs
    both = [torch.stack([t, 1 - t], 1).float() for t in (fit.targets, judge.targets)]
    data = (fit.images, both[0], judge.images, both[1])
    recipe = recipe.model_copy(update={"epochs": 8, "augment": AugmentRecipe(enabled=False)})
    trained = teach(recipe, data=data, head="sigmoid", labels=("Bright", "Dark"))
    logits = trained.model(torch.stack(judge.images))
    assert ((logits[:, 0] > 0) == (judge.targets > 0)).float().mean() > 0.9
    assert trained.card.head == "sigmoid"


@pytest.mark.parametrize("change", [{"balance": "sampling"}, {"balance": "none"}, {"optimiser": "adamw"}])
def test_other_ways_teach_something_else(teach, recipe, tmp_path, change):
    recipe = recipe.model_copy(update={"epochs": 1, "weight_decay": 0.1})
    usual = teach(recipe, folder=tmp_path / "usual")
    other = teach(recipe.model_copy(update=change), folder=tmp_path / "other")
    assert usual.card.weights_sha256 != other.card.weights_sha256


def test_bfloat16_is_recorded_and_repeatable(teach, recipe, tmp_path):
    recipe = recipe.model_copy(update={"precision": "bf16", "epochs": 1})
    one, two = (teach(recipe, folder=tmp_path / name) for name in ("one", "two"))
    assert one.card == two.card
    assert one.card.recipe["precision"] == "bf16"
    assert all(value.dtype == torch.float32 for value in one.model.parameters())


def test_the_card_tells_the_recipe_but_not_where_files_lay(teach, recipe, tmp_path):
    weights = tmp_path / "private" / "w.safetensors"
    save_weights(weights, build("cxrnet", labels=("a", "b"), seed=9).backbone.state_dict())
    teach(recipe.model_copy(update={"weights": str(weights), "epochs": 1}))
    card = yaml.safe_load((tmp_path / "model" / "card.yaml").read_text())
    assert card["recipe"]["weights"] == "w.safetensors"
    assert card["recipe"]["lr"] == recipe.lr
    assert "private" not in (tmp_path / "model" / "card.yaml").read_text()


def test_history_is_written_without_times(teach, recipe, tmp_path):
    trained = teach(recipe)
    written = json.loads((tmp_path / "model" / "history.json").read_text())
    assert [epoch["stage"] for epoch in written["epochs"]] == ["head"] * 2 + ["fine-tuning"] * 3
    assert not any("second" in key for key in written["epochs"][0])
    assert len(trained.seconds) == 5


def test_progress_counts_images(teach, recipe):
    told = Told()
    teach(recipe, progress=told)
    assert told.totals == {"features": 72, "head": 96, "training": 144}
    assert told.done == told.totals


def test_a_random_backbone_kept_frozen_is_pointed_out(teach, recipe):
    told = Told()
    teach(recipe.model_copy(update={"unfreeze": 2, "epochs": 1}), progress=told)
    assert any("stay as random as they began" in note for note in told.notes)


def test_diverging_is_said_plainly(teach, recipe):
    with pytest.raises(BadInput, match="diverged"):
        teach(
            recipe.model_copy(
                update={"head_lr": 10.0, "l2": 1.0, "lr": 10.0, "epochs": 40, "patience": 100, "batch": 48}
            )
        )


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"labels": ("x",)}, "no fact 'labels'"), ({"shortcuts": {"thumbnail": float("nan")}}, "shortcuts")],
)
def test_facts_are_checked_before_training(teach, recipe, facts, words):
    with pytest.raises(BadInput, match=words):
        teach(recipe, facts=facts)


def test_folds_are_checked_before_training(teach, recipe, blobs):
    fit, judge = blobs
    with pytest.raises(BadData, match="shows b"):
        teach(recipe, data=(fit.images, torch.zeros(48, dtype=torch.int64), judge.images, judge.targets))
    with pytest.raises(BadData, match="validation fold holds 0"):
        teach(recipe, data=(fit.images, fit.targets, [], torch.zeros(0, dtype=torch.int64)))


def test_misspelt_architecture(teach, recipe):
    with pytest.raises(UnknownName, match="cxrnet"):
        teach(recipe.model_copy(update={"architecture": "cxrnt"}))


def test_the_global_generator_is_left_alone(teach, recipe):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    state = np.random.get_state()[1].copy()
    teach(recipe.model_copy(update={"epochs": 1, "head_epochs": 1}))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == state).all()
