# SPDX-License-Identifier: Apache-2.0
"""Fewer images, chosen fairly: equal counts against shortcuts, and small stratified samples for costly attacks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from radproof.core.names import nearest
from radproof.core.rng import numpy_generator
from radproof.data.manifest import Manifest, Sample
from radproof.data.splits import patient_of, shares, stratum_of
from radproof.errors import BadData, BadPlan, UnknownName

Aspect = Literal["class", "view"]


def balance(manifest: Manifest, *, by: Sequence[Aspect] = ("class",), seed: int = 0) -> Manifest:
    """Downsample each fold: equal counts per class, or per view, or (class and view) per class within each view.

    After balancing by both, the view position tells nothing about the class. A view that lacks a class drops out.
    Raises BadPlan for multi-label sets, BadData where nothing is left.
    """
    for aspect in by:
        if aspect not in get_args(Aspect):
            raise UnknownName(f"nothing to balance by named {aspect!r}{nearest(aspect, get_args(Aspect))}")
    if not by:
        return manifest
    if manifest.head == "sigmoid" and "class" in by:
        raise BadPlan("balancing by class needs one class per image; a multi-label set can be balanced by view only")
    shuffled = _shuffled(manifest, "balance", seed)
    kept: set[str] = set()
    for group in _groups(shuffled, by):
        cells = list(_cells(group, by, manifest.labels).values())
        least = min(len(cell) for cell in cells)
        kept.update(sample.id for cell in cells for sample in cell[:least])
    samples = tuple(s for s in manifest.samples if s.id in kept)
    lost = {s.fold for s in manifest.samples} - {s.fold for s in samples}
    if lost:
        raise BadData(
            f"balancing by {' and '.join(by)} leaves no image in the {', '.join(sorted(lost))} fold, where a class "
            "is missing (in every view); leave that class out or balance by less"
        )
    about = {"by": list(by), "seed": seed, "left_out": len(manifest) - len(samples)}
    return replace(manifest, samples=samples, source={**manifest.source, "balance": about})


def take(manifest: Manifest, n: int, *, seed: int = 0) -> Manifest:
    """`n` images in the classes' proportions (at least one each where n allows), ordered by id; all of them if n > len.

    Each patient's first image is taken before anyone's second, because images of one patient say little more.
    """
    if n < 1:
        raise BadPlan(f"a subset needs at least 1 image; got {n}")
    samples = _shuffled(manifest, "take", seed)
    if n < len(samples):
        samples = _stratified(samples, manifest, n)
    return manifest.only(sorted(samples, key=lambda s: s.id))


def _stratified(samples: Sequence[Sample], manifest: Manifest, n: int) -> list[Sample]:
    counts = manifest.counts()
    turn: Counter[str] = Counter()
    strata: defaultdict[str, list[tuple[int, Sample]]] = defaultdict(list)
    for sample in samples:
        patient = patient_of(sample)
        strata[stratum_of(sample.labels, counts)].append((turn[patient], sample))
        turn[patient] += 1
    names = sorted(strata, key=lambda name: (len(strata[name]), name))
    quota = shares(n, [len(strata[name]) for name in names])
    chosen: list[Sample] = []
    for name, count in zip(names, quota, strict=True):
        ranked = sorted(strata[name], key=lambda pair: pair[0])  # stable: the seeded order within a turn
        chosen.extend(sample for _, sample in ranked[:count])
    return chosen


def _shuffled(manifest: Manifest, purpose: str, seed: int) -> list[Sample]:
    """A seeded order that does not depend on the source's."""
    ordered = sorted(manifest.samples, key=lambda s: s.id)
    order = numpy_generator(purpose, seed).permutation(len(ordered))
    return [ordered[i] for i in order]


def _groups(samples: Sequence[Sample], by: Sequence[Aspect]) -> list[list[Sample]]:
    groups: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    within_views = "class" in by and "view" in by
    for sample in samples:
        groups[sample.fold, sample.view if within_views else ""].append(sample)
    return list(groups.values())


def _cells(group: Sequence[Sample], by: Sequence[Aspect], labels: Sequence[str]) -> dict[str, list[Sample]]:
    """The lists that are made equally long; a class that is absent is an empty one."""
    cells: dict[str, list[Sample]] = {label: [] for label in labels} if "class" in by else {}
    for sample in group:
        cells.setdefault(sample.labels[0] if "class" in by else sample.view, []).append(sample)
    return cells
