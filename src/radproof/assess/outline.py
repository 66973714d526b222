# SPDX-License-Identifier: Apache-2.0
"""What a run has to do, counted in forward passes before it is done: the share and the time left rest on it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from radproof.assess import certify, checks, spending
from radproof.assess.craft import in_scope
from radproof.assess.estimate import VIEWS
from radproof.assess.jobs import Job, Parts, Standing, gradients, list_jobs
from radproof.assess.material import Material
from radproof.assess.plan import Plan
from radproof.assess.stands import stands
from radproof.assess.taught import NAME
from radproof.assess.workspace import Workspace
from radproof.core.whole import Piece, Stage
from radproof.data.manifest import Manifest
from radproof.models.card import CARD
from radproof.training.denoiser_recipe import DenoiserRecipe
from radproof.training.recipe import TrainingRecipe

LESSON = 3.0  # passes of a training image: forward, backward, update
HEAD = 0.02  # of a cached image's features through the head
MEASURED = 7  # passes in which detectors look at an image
CHANGES = 6  # harmless changes, about
AUDIT, CELL, WRITING = 0.01, 0.01, 2.0  # seconds that are likely: of an image, of an answer's intervals, of the files


def opening(plan: Plan, parts: Parts, manifest: Manifest, images: int, root: Path) -> tuple[Stage, ...]:
    """Before any network is opened: the trainings, and roughly what follows them; nothing where nothing is trained."""
    train, validation = (len(manifest.fold(name)) for name in ("train", "validation"))
    lessons = tuple(trainings(plan, train, validation, root))
    if not lessons:
        return ()
    contenders = dict(stands(plan, parts))
    jobs = list_jobs(plan, parts, contenders)
    work = [(job, weight(job, plan, parts, contenders, watched=bool(parts.detectors)) * images, 0.0) for job in jobs]
    return (*lessons, *_told(plan, manifest, work, images))


def working(space: Workspace, material: Material, jobs: Sequence[Job]) -> tuple[Stage, ...]:
    """All that follows the opening; finished batches count as done."""
    plan, taught = material.plan, (space.work / NAME).is_file()
    count = _Scope(material)
    work = [(job, *_left(space, material, job, count)) for job in jobs]
    told = _told(plan, material.manifest, work, len(material.test), taught=taught)
    counted = (part.outline(material, space) for part in (checks, spending, certify))
    own = {stage.name: stage for stage in counted}
    return tuple(own.get(stage.name, stage) for stage in told)


def weight(
    job: Job,
    plan: Plan,
    parts: Parts,
    contenders: Mapping[str, Standing],
    *,
    watched: bool,
    replayed: bool = False,
) -> float:
    """Work per image, in forward passes: a gradient is about three; judging costs some too."""
    forwards, backwards = (0.0, 0.0) if replayed else gradients(job, parts)
    targets = 1 + sum(other.of is None for other in plan.surrogates.values()) if plan.surrogates else 0
    scored = 1 + targets + (5 if plan.survival and job.on == "model" else 0)
    draws = plan.eot if job.role == "defense" and contenders[job.on].random else 1
    crafted = (forwards + 2 * backwards) * draws
    judged = sum(1 + one.votes for one in contenders.values())
    seen = MEASURED * watched  # detectors share their passes
    return crafted * (VIEWS if job.role == "detector" else 1) + scored + judged + seen


def weight_of(job: Job, material: Material) -> float:
    """The same of a run that is at work."""
    watched, replayed = bool(material.detectors), material.replay is not None
    return weight(job, material.plan, material.parts, material.contenders, watched=watched, replayed=replayed)


class _Scope:
    """How many images of a batch a job concerns, before any detector is taught."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._counts: dict[tuple[str, int], int] = {}
        self._aware = material.first_batches(material.plan.detection.aware_images)

    def __call__(self, job: Job, number: int) -> int:
        if job.role == "detector" and number not in self._aware:
            return 0
        if (job.goal, number) not in self._counts:
            rows = in_scope(self._material, replace(job, role="model"), self._material.batches[number])
            self._counts[job.goal, number] = len(rows)
        return self._counts[job.goal, number]


def _left(space: Workspace, material: Material, job: Job, count: _Scope) -> tuple[float, float]:
    """Passes of a job still to do, and those that are done."""
    watched, replayed = bool(material.parts.detectors), material.replay is not None
    each = weight(job, material.plan, material.parts, material.contenders, watched=watched, replayed=replayed)
    counts, key = [0, 0], job.key
    for number in range(len(material.batches)):
        counts[space.has(key, number)] += count(job, number)
    return each * counts[0], each * counts[1]


def _told(
    plan: Plan,
    manifest: Manifest,
    work: Sequence[tuple[Job, float, float]],
    images: int,
    *,
    taught: bool = False,
) -> Iterator[Stage]:
    """Every stage in order."""
    if plan.detectors:
        there = {name: len(manifest.fold(name)) for name in ("train", "validation")}
        learnt = min(plan.detection.images, there["train"]) * (2 if plan.detection.benign else 1)
        looked = min(plan.detection.calibration, there["validation"]) * (1 + CHANGES * plan.detection.benign)
        count = (learnt + looked) * MEASURED * float(not taught)
        yield Stage("detectors", (Piece("detectors", count),))
    yield Stage("attacks", tuple(_by_network(work)))
    searched = plan.searched
    if searched:
        count = min(searched.images or images, images) * searched.steps * searched.rounds * LESSON
        yield Stage("checks", (Piece("smallest", count),))
    else:
        yield Stage("checks", ())
    if plan.detectors and plan.detection.learned:
        learned = plan.detection.learned
        made = sum(1 + MEASURED for _ in learned.attacks) * learned.images * LESSON
        yield Stage("learned", (Piece("learned", made + learned.images * MEASURED * CHANGES),))
    if plan.spending:
        yield Stage("spending", ())
    if plan.certify:
        wanted = plan.certify
        count = min(wanted.images or images, images) * (wanted.n0 + wanted.n)
        yield Stage("certify", (Piece("certify", float(count)),))
    yield Stage("audit images", (Piece("audit", float(len(manifest)), pace=AUDIT),))
    answers = len(work) * (1 + len(plan.defenses) + len(plan.hardened))
    yield Stage("summary", (Piece("summary", float(answers) + WRITING / CELL, pace=CELL),))


def _by_network(work: Iterable[tuple[Job, float, float]]) -> Iterator[Piece]:
    """Jobs in order, those on one network by one way as one kind of work."""
    for kind, some in groupby(work, lambda one: _kind(one[0])):
        several = list(some)
        yield Piece(kind, sum(left for _, left, _ in several), sum(done for _, _, done in several))


def _kind(job: Job) -> str:
    return f"{job.kind} on {job.made_on}"[:100]


def trainings(plan: Plan, train: int, validation: int, root: Path) -> Iterator[Stage]:
    """In the order in which networks are opened, on so many images; those that are finished in `root` are left out."""
    recipes = [
        *((other.train, root / "surrogates" / name) for name, other in plan.surrogates.items()),
        (plan.model.train, root / "model"),
        *((other.train, root / "hardened" / name) for name, other in plan.hardened.items()),
    ]
    for recipe, folder in recipes:
        if recipe is not None and not (folder / CARD).is_file():
            yield from _training(recipe, train, validation)
    for name, other in plan.hardened.items():
        if other.denoiser is not None and not (root / "hardened" / name / "denoiser" / CARD).is_file():
            yield from _denoising(other.denoiser, train, validation)


def _training(recipe: TrainingRecipe, train: int, validation: int) -> Iterator[Stage]:
    if recipe.head_epochs:
        yield Stage("features", (Piece("features", float(train + validation)),))
        yield Stage("head", (Piece("head", recipe.head_epochs * train * HEAD),))
    if recipe.epochs:
        each = LESSON * train + validation
        if recipe.adversarial is not None:
            hard = recipe.adversarial
            validated = min(hard.validation_images, validation) * hard.validation_steps
            each += LESSON * ((1 - hard.clean_share) * hard.own_steps * train + validated)
        yield Stage("training", (Piece("training", recipe.epochs * each),))


def _denoising(recipe: DenoiserRecipe, train: int, validation: int) -> Iterator[Stage]:
    images = min(recipe.images or train, train)
    made = (images + validation) * LESSON * recipe.steps
    yield Stage("denoiser images", (Piece("denoiser images", made),))
    yield Stage("denoiser", (Piece("denoiser", recipe.epochs * images * 2 * LESSON),))
