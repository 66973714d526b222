# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from radproof.core.rng import generator
from radproof.detectors import detector
from radproof.detectors.consistency import Consistency, answers, changes, margin
from radproof.detectors.fitted import fit, restore
from radproof.detectors.squeezers import WORDS
from radproof.errors import BadInput
from radproof.models.layers import Seen

NAMES = list(WORDS)


@dataclass(frozen=True)
class Told:
    """A look whose answers are told instead of computed."""

    logits: dict[str, torch.Tensor]
    model: object
    soft: bool = False

    @property
    def head(self):
        return self.model.head

    def seen(self, squeezer=""):
        return Seen(self.logits[squeezer], {})


def told(model, before, change, **views):
    """Every view changes the logits by `change`, except those that are named."""
    return Told({"": before, **{name: before + views.get(name, change) for name in NAMES}}, model)


def crowd(model, n, seed):
    """Honest answers, of moderate margin and steady within a third of a logit."""
    rng = generator(seed, "crowd")
    before = torch.randn(n, 3, generator=rng)
    return Told({"": before} | {name: before + 0.3 * torch.randn(n, 3, generator=rng) for name in NAMES}, model)


def test_columns_by_hand(model):
    before = torch.tensor([[2.0, 0.5, -1.0]])
    change = torch.tensor([[-0.3, 0.1, 0.2]])
    flip = torch.tensor([[-4.0, 0.0, 0.0]])
    found = answers(told(model, before, change, tvm=flip))[0].numpy()
    b, small, large = (t.double().numpy()[0] for t in (before, before + change, before + flip))
    moved = (5 * np.abs(softmax(small) - softmax(b)).sum() + np.abs(softmax(large) - softmax(b)).sum()) / 6
    flipped = (5 * expit(-(1.7 - 0.6) / 0.5) + expit((0.5 + 2.0) / 0.5)) / 6
    expected = [np.log(moved + 0.02), np.log((5 * 0.6 + 4) / 6 + 0.1), np.log(flipped + 0.01), 1.5, 2.0, *b]
    assert found == pytest.approx(expected, abs=1e-6)


def test_columns_of_findings_by_hand(model):
    findings = replace(model, head="sigmoid")
    before = torch.tensor([[2.0, 0.5, -1.0]])
    change = torch.tensor([[0.0, -0.7, 0.0]])  # turns the second finding over
    found = answers(told(findings, before, change))[0].numpy()
    moved = expit(0.5) - expit(-0.2)
    expected = [np.log(moved + 0.02), np.log(0.7 + 0.1), np.log(expit(0.2 / 0.5) + 0.01), 0.5, 2.0, 2.0, 0.5, -1.0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_each_squeezer_has_its_change(model):
    before = torch.zeros(1, 3)
    found = changes(told(model, before, torch.full((1, 3), 0.1), median_3=torch.ones(1, 3)))[0]
    expected = [3.1 if name == "median_3" else 0.4 for name in NAMES]
    assert found.exp().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_margin_says_whether_an_answer_still_holds():
    logits = torch.tensor([[1.0, 3.0, -1.0], [1.0, 3.0, -1.0]])
    assert margin(logits, torch.tensor([[1], [0]]), "softmax").tolist() == [2, -2]
    holds = torch.tensor([[True, True, False], [True, False, False]])
    assert margin(logits, holds, "sigmoid").tolist() == [1, -3]


def test_too_steady_and_too_unsteady_both_stand_out_and_so_does_too_sure(model):
    judge = Consistency().learn([crowd(model, 60, seed) for seed in range(4)])
    clean = crowd(model, 200, 9)
    limit = judge(clean).quantile(0.95)
    before = clean.logits[""]

    def changed(factor):
        views = {name: before + factor * (clean.logits[name] - before) for name in NAMES}
        return (judge(Told({"": before, **views}, model)) > limit).double().mean()

    sure = before + 8 * torch.nn.functional.one_hot(before.argmax(1), 3)
    apart = {name: sure + clean.logits[name] - before for name in NAMES}
    assert changed(1.0) < 0.06
    assert changed(0.05) > 0.8
    assert changed(6.0) > 0.8
    assert (judge(Told({"": sure, **apart}, model)) > limit).double().mean() > 0.9


def test_one_steady_view_is_no_alarm(model):
    """What has been through JPEG does not change when it goes through again."""
    judge = Consistency().learn([crowd(model, 60, seed) for seed in range(4)])
    clean = crowd(model, 200, 9)
    again = Told(clean.logits | {"jpeg_75": clean.logits[""]}, model)
    limit = judge(clean).quantile(0.95)
    assert (judge(again) > limit).double().mean() < 0.1
    reasons = judge.measures(again)
    most = max(reasons, key=lambda word: reasons[word].median())
    assert most == "how the answer changes under JPEG at quality 75"


def test_images_pushed_by_the_models_own_gradient_stand_out(model, pictures):
    fitted = fit(Consistency(), model, pictures(60, 0))
    x = pictures(30, 1)
    logits = torch.cat([model(part) for part in x.split(5)])
    away = (model.patterns[:, logits.argmin(1)] - model.patterns[:, logits.argmax(1)]).T.reshape(-1, 1, 32, 32)
    attacked = (x + 4 / 255 * away.sign()).clamp(0, 1)
    clean, pushed = fitted.score(x), fitted.score(attacked)
    assert (pushed[:, None] > clean[None]).double().mean() > 0.75


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_an_attacker_can_climb_down(model, pictures, head):
    fitted = fit(Consistency(), replace(model, head=head), pictures(20, 0))
    x = (pictures(3, 1) + 0.03 * torch.randn(3, 1, 32, 32, generator=generator(2))).clamp(0, 1).requires_grad_()
    before = fitted.suspicion(x)
    (slope,) = torch.autograd.grad(before.sum(), x)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    with torch.no_grad():
        steps = [(x - size / 255 * slope.sign()).clamp(0, 1) for size in (0.05, 0.2, 0.5)]
    after = torch.stack([fitted.suspicion(step) for step in steps]).amin(0)
    assert (after < before).all()


def test_suspicion_is_nearly_the_score(model, pictures):
    fitted = fit(Consistency(), model, pictures(40, 0))
    x = pictures(20, 1)
    score, suspicion = fitted.score(x), fitted.suspicion(x)
    assert np.corrcoef(score, suspicion.detach())[0, 1] > 0.9


def test_the_model_is_asked_once_per_view(model, pictures):
    asked = []

    @dataclass(frozen=True)
    class Counting:
        labels: tuple[str, ...] = model.labels
        head: str = "softmax"
        micro_batch: int = 5

        def __call__(self, x):
            asked.append(len(x))
            return model(x)

    fitted = fit(Consistency(), Counting(), pictures(20, 0))
    asked.clear()
    fitted.score(pictures(10, 1))
    assert asked == [5] * 14


def test_reasons_name_squeezers_and_classes(model, pictures):
    reasons = fit(Consistency(), model, pictures(20, 0)).measures(pictures(7, 1))
    assert len(reasons) == 6 + 5 + 3
    assert {"how the answer changes under a 3 × 3 median", "the score of Pneumonia"} <= set(reasons)
    assert all(spreads.shape == (7,) and bool((spreads >= 0).all()) for spreads in reasons.values())


def test_a_stored_one_scores_the_same(model, pictures):
    fitted = fit(Consistency(), model, pictures(20, 0))
    again = restore(Consistency(), model, fitted.state())
    assert torch.equal(again.score(pictures(4, 1)), fitted.score(pictures(4, 1)))


def test_another_detectors_state_is_refused(model, pictures):
    state = fit(Consistency(), model, pictures(20, 0)).state()
    short = {name: value[:-1, :-1] if value.dim() == 2 else value[:-1] for name, value in state.items()}
    with pytest.raises(BadInput, match="expected more than 5 and 6"):
        Consistency().restore(short)
    with pytest.raises(BadInput, match="written by another detector"):
        Consistency().restore({})


def test_it_is_in_the_registry():
    assert detector["consistency"].make({}) == Consistency()
