# SPDX-License-Identifier: Apache-2.0
"""Smoothing a network: on linear ones every figure has a closed form, and promised rates are kept."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from radproof.assess.certify import Clipped, Votes, certified, certify, predict, run_certify, smoothed
from radproof.assess.sections import CertifyPlan
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Workspace
from radproof.core.progress import SILENT
from radproof.core.rng import generator
from radproof.data.manifest import Manifest, Sample
from radproof.errors import BadInput, BadPlan
from radproof.measure.certified import guarantee, largest_radius, majority

SIDE = 6
D = SIDE * SIDE


@dataclass
class Affine:
    """Two classes on either side of a hyperplane: class 1 where the image lies `offset` beyond it."""

    seed: int = 0
    labels: tuple[str, ...] = ("Normal", "Pneumonia")
    head: str = "softmax"
    micro_batch: int = 7
    passes: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.w = torch.randn(D, generator=torch.Generator().manual_seed(self.seed))
        self.w /= self.w.norm()

    def distance(self, x):
        """Signed, in L2."""
        return (x.flatten(1) - 0.5) @ self.w

    def __call__(self, x):
        self.passes.append(len(x))
        z = self.distance(x)
        return torch.stack([-z, z], 1)


class Watched:
    """A function as a classifier with another's classes."""

    def __init__(self, call, other):
        self.call, self.labels, self.head, self.micro_batch = call, other.labels, other.head, other.micro_batch

    def __call__(self, x):
        return self.call(x)


def at(model: Affine, distance: float) -> torch.Tensor:
    """The image (1, SIDE, SIDE) at this signed distance from the hyperplane."""
    return (0.5 + distance * model.w).reshape(1, SIDE, SIDE)


def rng(*parts):
    return generator(0, "test", *parts)


@pytest.fixture
def model():
    return Affine()


# Against closed forms


@pytest.mark.parametrize("distance", [0.1, 0.3, -0.2])
def test_the_radius_of_a_linear_model_is_the_distance_to_its_plane(model, distance):
    found = certify(model, at(model, distance), 0.25, 50, 20_000, 0.001, rng=rng(distance))
    assert found.answer == int(distance > 0)
    p = stats.norm.cdf(abs(distance) / 0.25)
    spread = np.sqrt(p * (1 - p) / 20_000)
    lowest = 0.25 * stats.norm.ppf(p - 7.5 * spread)  # 3.1 spreads for alpha, the rest for luck
    assert lowest <= found.radius <= abs(distance)


def test_the_radius_exceeds_the_distance_no_oftener_than_promised(model):
    votes, x, sigma, alpha = Votes(model, 0.25, micro_batch=220), at(model, 0.2), 0.25, 0.05
    runs = [guarantee(*votes(x, (20, 200), rng=rng("coverage", k)), sigma, alpha) for k in range(1000)]
    beyond = sum(run.radius > 0.2 for run in runs)
    truth = stats.norm.cdf(0.2 / sigma)
    assert beyond == sum(run.p_low > truth for run in runs if run.answer == 1)
    assert stats.binomtest(beyond, 1000, alpha, alternative="greater").pvalue > 0.001
    assert stats.binomtest(beyond, 1000, alpha / 4, alternative="less").pvalue > 0.001  # nor idly careful


def too_sure(sets, alpha=0.05):
    """How often p_low exceeds the true probability, 1/4 for each of four classes, in all runs."""
    return sum(guarantee(selection, estimation, 1.0, alpha).p_low > 0.25 for selection, estimation in sets)


@dataclass
class Quarters:
    """Four classes, each as likely as the others: the case where choosing and estimating with the same draws shows."""

    labels = ("a", "b", "c", "d")
    head = "softmax"
    micro_batch = 64

    def __call__(self, x):
        corner = 2 * (x[:, 0, 0, 0] > 0.5).long() + (x[:, 0, 0, 1] > 0.5)
        return torch.nn.functional.one_hot(corner, 4).float()


def test_draws_that_select_do_not_estimate():
    votes, x = Votes(Quarters(), 0.3), torch.full((1, 2, 2), 0.5)
    sets = [votes(x, (60, 60), rng=rng("quarters", k)) for k in range(600)]
    promised = dict(n=600, p=0.05, alternative="greater")
    assert stats.binomtest(too_sure(sets), **promised).pvalue > 0.001
    reused = [(estimation, estimation) for _, estimation in sets]
    assert stats.binomtest(too_sure(reused), **promised).pvalue < 1e-6  # the test can tell
    assert np.mean([(a == b).all() for a, b in sets]) < 0.05


def test_certify_estimates_with_other_draws_than_it_selects_with(model):
    x = at(model, 0.05)
    found = certify(model, x, 0.25, 40, 40, 0.05, rng=rng("apart"))
    drawn = torch.empty(80, 1, SIDE, SIDE)
    source = rng("apart")
    for one in drawn:
        one.normal_(0.0, 0.25, generator=source)
    answers = (model.distance(x + drawn) > 0).long()
    selection, estimation = np.bincount(answers[:40], minlength=2), np.bincount(answers[40:], minlength=2)
    assert selection.tolist() != estimation.tolist()
    assert (found.selected, found.hits) == (selection.argmax(), estimation[selection.argmax()])


def test_predict_abstains_on_the_plane_and_not_far_from_it(model):
    votes = Votes(model, 0.25, micro_batch=100)
    said = [majority(votes(at(model, 0.0), (100,), rng=rng("plane", k))[0], 0.05) for k in range(300)]
    # On the plane both answers are equally likely: it speaks with probability at most alpha, 3.5 % for 100 draws.
    exact = 2 * stats.binom.sf(60, 100, 0.5)
    assert stats.binomtest(sum(one is not None for one in said), 300, exact).pvalue > 0.001
    assert predict(model, at(model, 0.4), 0.25, 100, 0.001, rng=rng("far")) == 1
    assert predict(model, at(model, -0.4), 0.25, 100, 0.001, rng=rng("far")) == 0


# How draws are made


def test_counts_equal_a_plain_loop_whatever_the_micro_batch(model):
    x, sizes = at(model, 0.1), (10, 33)
    source = rng("loop")
    answers = [
        int(model((x + torch.empty_like(x).normal_(0.0, 0.25, generator=source))[None]).argmax()) for _ in range(43)
    ]
    expected = [np.bincount(answers[:10], minlength=2).tolist(), np.bincount(answers[10:], minlength=2).tolist()]
    for micro_batch in (1, 7, 43, 100):
        found = Votes(model, 0.25, micro_batch=micro_batch)(x, sizes, rng=rng("loop"))
        assert [counts.tolist() for counts in found] == expected


def test_passes_are_full_but_for_the_last(model):
    told = []
    Votes(model, 0.25)(at(model, 0.1), (10, 20), rng=rng("full"), told=told.append)
    assert model.passes == told == [7, 7, 7, 7, 2]


def test_noise_is_gaussian_unclipped_and_its_buffer_is_made_once(model):
    seen, places = [], set()

    def watch(x):
        seen.append(x.clone())
        places.add(x.data_ptr())
        return torch.zeros(len(x), 2)

    x = at(model, 0.0)
    votes = Votes(Watched(watch, model), 0.5, micro_batch=50)
    votes(x, (200, 300), rng=rng("noise"))
    votes(x, (200, 300), rng=rng("noise too"))
    assert len(places) == 1
    noise = (torch.cat(seen) - x).flatten().numpy() / 0.5
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert min(piece.min() for piece in seen) < -0.5
    assert max(piece.max() for piece in seen) > 1.5


def test_what_cannot_be_certified_is_refused(model):
    model.head = "sigmoid"
    with pytest.raises(BadInput, match="findings side by side"):
        Votes(model, 0.25)
    model.head = "softmax"
    for sigma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="sigma"):
            Votes(model, sigma)
    with pytest.raises(BadInput, match="at least 1 draw"):
        certify(model, at(model, 0.1), 0.25, 0, 10, 0.1, rng=rng())
    with pytest.raises(BadInput, match="one image"):
        certify(model, at(model, 0.1)[None], 0.25, 1, 10, 0.1, rng=rng())


def test_a_defence_sees_pixels_in_range():
    seen = []
    base = Watched(lambda x: seen.append(x) or torch.zeros(len(x), 2), Affine())
    clipped = Clipped(base)
    Votes(clipped, 2.0)(torch.full((1, 4, 4), 0.5), (20,), rng=rng("clip"))
    assert (clipped.labels, clipped.head, clipped.micro_batch) == (base.labels, "softmax", 7)
    assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x in seen)


# Within an assessment


def material(model, distances, **wanted):
    """Images at these distances on the side of class 1; those below 0 are truly of class 0."""
    images = torch.stack([at(model, distance) for distance in distances])
    truth = [int(d > 0) for d in distances]
    samples = tuple(
        Sample(id=f"{k:02d}", path=f"{k}.png", patient=f"p{k}", labels=(model.labels[y],), fold="test")
        for k, y in enumerate(truth)
    )
    manifest = Manifest(Path(), model.labels, samples, "softmax", {})
    plan = SimpleNamespace(
        certify=CertifyPlan(**{"n0": 20, "n": 200, "alpha": 0.01, "images": None} | wanted),
        seed=3,
        bootstrap=100,
        confidence=0.95,
        data=SimpleNamespace(seed=0),
    )
    return SimpleNamespace(
        plan=plan,
        manifest=manifest,
        test=manifest,
        model=model,
        contenders={},
        y=torch.tensor(truth),
        images=lambda rows: images[list(rows)],
    )


DISTANCES = (0.6, 0.2, -0.3, 0.0001, -0.6, 0.45)


def done(tmp_path, model, distances=DISTANCES, **wanted):
    found, space = material(model, distances, **wanted), Workspace(tmp_path)
    run_certify(found, space, SILENT)
    result = certified(found, space, Measurer(found))
    assert result is not None
    return result


def test_the_curve_of_a_linear_model(tmp_path, model):
    found = done(tmp_path, model)
    cap = largest_radius(0.25, 200, 0.01)
    assert found.cap == pytest.approx(0.25 * stats.norm.ppf(0.01 ** (1 / 200)))
    assert found.values == D
    assert found.plain.value == 1.0
    assert found.abstained.value == pytest.approx(1 / 6)
    assert found.curve[0].accuracy.value == pytest.approx(5 / 6)
    kept = [one.accuracy.value for one in found.curve]
    assert kept == sorted(kept, reverse=True)
    assert found.curve[-1].radius <= cap < found.curve[-1].radius + 0.0626
    by_id = {one.sample: one for one in found.certificates}
    assert (by_id["00"].radius, by_id["00"].hits) == (pytest.approx(cap, rel=0.25), pytest.approx(200, abs=4))
    assert (by_id["03"].answer, by_id["03"].radius, by_id["03"].truth) == (None, 0, "Pneumonia")
    assert all(one.radius <= abs(d) + 1e-9 for one, d in zip(found.certificates, DISTANCES, strict=True))
    radii = [one.radius for one in found.certificates if one.answer == one.truth]
    assert found.average_radius.value == pytest.approx(sum(radii) / 6)


def test_wrong_certificates_count_as_wrong(tmp_path, model):
    turned = material(model, DISTANCES)
    turned.y = 1 - turned.y
    space = Workspace(tmp_path)
    run_certify(turned, space, SILENT)
    found = certified(turned, space, Measurer(turned))
    assert found is not None
    assert found.plain.value == found.accuracy.value == found.curve[0].accuracy.value == 0
    assert found.average_radius.value == 0
    assert found.abstained.value == pytest.approx(1 / 6)


def test_an_images_certificate_does_not_depend_on_the_others(tmp_path, model):
    whole = done(tmp_path / "a", model)
    model.micro_batch = 11
    half = done(tmp_path / "b", model, DISTANCES[:3])
    assert half.certificates == whole.certificates[:3]


def test_kept_counts_are_judged_as_they_were_drawn(tmp_path, model):
    found, space = material(model, [0.3]), Workspace(tmp_path)
    kept = {"plain": np.array(1), "values": np.array(D)}
    space.save("certify", 0, {"selection": np.array([11, 9]), "estimation": np.array([3, 197]), **kept})
    result = certified(found, space, Measurer(found))
    assert result is not None
    (one,) = result.certificates
    assert (one.selected, one.hits, one.answer, one.predicted) == ("Normal", 3, None, "Pneumonia")
    assert (result.accuracy.value, result.abstained.value) == (1.0, 1.0)


def test_every_image_has_noise_of_its_own(tmp_path, model):
    found = done(tmp_path, model, [0.1] * 6)
    assert len({one.hits for one in found.certificates}) > 1


def test_finished_images_are_not_counted_again(tmp_path, model):
    whole = done(tmp_path, model)
    spent = sum(model.passes)
    assert spent == 6 * (20 + 200 + 1)
    (tmp_path / "work" / "batches" / "certify" / "0002.npz").unlink()
    assert done(tmp_path, model) == whole
    assert sum(model.passes) == spent + 221


def test_fewer_images_come_in_the_classes_proportions(tmp_path, model):
    distances = [0.3] * 20 + [-0.3] * 10
    found = done(tmp_path, model, distances, images=9, radii=(0.0, 0.1))
    assert [one.truth for one in found.certificates].count("Pneumonia") == 6
    assert [point.radius for point in found.curve] == [0.0, 0.1]


def test_progress_is_told_in_draws(tmp_path, model):
    told = {"total": 0.0, "done": 0.0}
    progress = SimpleNamespace(
        start=lambda stage, total: told.update(total=total),
        advance=lambda stage, amount=1.0: told.update(done=told["done"] + amount),
        note=print,
    )
    run_certify(material(model, DISTANCES), Workspace(tmp_path), progress)
    assert told == {"total": 1320, "done": 1320}


def test_what_is_not_asked_for_is_not_done(tmp_path, model):
    found = material(model, DISTANCES)
    found.plan.certify = None
    run_certify(found, Workspace(tmp_path), SILENT)
    assert certified(found, Workspace(tmp_path), Measurer(found)) is None
    assert model.passes == []


def contender(network, defense=None, random=False):
    return SimpleNamespace(network=network, defense=defense, random=random, answering=lambda seed: network)


def test_another_network_is_certified_by_name_and_a_random_one_is_not(model):
    other = Affine(seed=1)
    found = material(model, DISTANCES, network="other")
    found.contenders = {"other": contender(other)}
    assert smoothed(found) is other
    found.contenders = {"other": contender(other, defense="jpeg")}
    assert isinstance(smoothed(found), Clipped)
    found.contenders = {"other": contender(other, defense="noise", random=True)}
    with pytest.raises(BadPlan, match="answers at random"):
        smoothed(found)


def test_findings_side_by_side_are_refused(model):
    found = material(model, DISTANCES)
    found.manifest = SimpleNamespace(head="sigmoid")
    with pytest.raises(BadPlan, match="one class per image"):
        smoothed(found)


def test_too_few_draws_to_prove_anything_are_refused():
    with pytest.raises(ValueError, match="at least 14"):
        CertifyPlan(n=13, alpha=0.0001)
    assert largest_radius(1.0, 13, 0.0001) == 0 < largest_radius(1.0, 14, 0.0001)
