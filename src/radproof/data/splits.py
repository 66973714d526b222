# SPDX-License-Identifier: Apache-2.0
"""Folds are cut between patients, not through one: images of one patient are near-copies of each other.

A random split of images is how published accuracies were inflated; it is here to show by how much. Everything is seeded
and does not depend on the order in which a source lists its images.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from radproof.core.names import nearest
from radproof.core.rng import numpy_generator
from radproof.data.manifest import FOLDS, Manifest, Sample
from radproof.errors import BadData, BadPlan, UnknownName

VALIDATION_SHARE = 0.25  # of a release's train_val list
Way = Literal["patient", "release", "image"]
_TRIES = 100  # drawings before a class is declared too small for the folds


def split(
    manifest: Manifest,
    *,
    by: Way,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> Manifest:
    """The same images with every patient in one of train, validation and test.

    patient: drawn anew in these fractions of patients, stratified by each patient's rarest label, at least one patient
    of every class in every fold. release: the source's own test fold; validation is a quarter of the patients of its
    train fold, unless the source has a validation fold too; images in none of its folds are left out and counted
    (whether the source's own lists share patients is for the audit to say). image: drawn anew image by image, whoever
    they belong to; the audit finds patients in several folds, and every figure carries the doubt `leakage`.
    Raises BadData naming a class with too few patients, BadPlan for fractions that are none,
    UnknownName for another way.
    """
    if by not in get_args(Way):
        raise UnknownName(f"no way to split named {by!r}{nearest(by, get_args(Way))}")
    if by == "release":
        return _by_release(manifest, seed)
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise BadPlan(f"fractions must be three positive numbers with sum 1, as 0.6, 0.2, 0.2; got {fractions}")
    # Folds by image are folds by patient in which everyone has but one image.
    owners = {s.id: s.id if by == "image" else patient_of(s) for s in manifest.samples}
    owned = [replace(s, patient=owners[s.id]) for s in manifest.samples]
    folds = _assign(owned, dict(zip(FOLDS, fractions, strict=True)), manifest.labels, seed)
    samples = [replace(s, fold=folds[owners[s.id]]) for s in manifest.samples]
    return _recorded(manifest, samples, {"by": by, "fractions": list(fractions), "seed": seed})


def patient_of(sample: Sample) -> str:
    """Whose image it is; one without a patient counts as its own."""
    return sample.patient or sample.id


def stratum_of(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    """The rarest of the labels, "" for none: what a patient or an image is stratified by."""
    return min(labels, key=lambda label: (counts[label], label), default="")


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers with sum `total` nearest to the proportions (largest remainders), none 0 where `total` allows."""
    exact = [total * weight / sum(weights) for weight in weights]
    whole = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    while total >= len(whole) and 0 in whole:
        whole[whole.index(max(whole))] -= 1
        whole[whole.index(0)] += 1
    return whole


def _by_release(manifest: Manifest, seed: int) -> Manifest:
    listed = [s for s in manifest.samples if s.fold in FOLDS]
    present = {s.fold for s in listed}
    if not {"train", "test"} <= present:
        missing = " and ".join(sorted({"train", "test"} - present))
        raise BadData(
            f"{manifest.describe()} brings no {missing} fold of its own; put the release's lists beside the table "
            "or choose `split: patient`"
        )
    carved = "validation" not in present
    if carved:
        train = [s for s in listed if s.fold == "train"]
        parts = {"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
        folds = _assign(train, parts, manifest.labels, seed)
        listed = [replace(s, fold=folds[patient_of(s)]) if s.fold == "train" else s for s in listed]
    about = {"by": "release", "validation": VALIDATION_SHARE if carved else "release", "seed": seed}
    return _recorded(manifest, listed, {**about, "in no list": len(manifest) - len(listed)})


def _recorded(manifest: Manifest, samples: Sequence[Sample], about: Mapping[str, object]) -> Manifest:
    return replace(manifest, samples=tuple(samples), source={**manifest.source, "split": dict(about)})


def _assign(samples: Sequence[Sample], parts: Mapping[str, float], labels: Sequence[str], seed: int) -> dict[str, str]:
    """Patient -> fold, in these parts of each stratum, every class in every fold."""
    shown: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        shown[patient_of(sample)].update(sample.labels)
    counts = Counter(label for found in shown.values() for label in found)
    for label in labels:
        if counts[label] < len(parts):
            raise BadData(
                f"class {label} has {counts[label]} patients, too few for {len(parts)} folds "
                f"({', '.join(parts)}): a class without patients in a fold cannot be measured; "
                "leave the class out, or add patients"
            )
    strata: defaultdict[str, list[str]] = defaultdict(list)
    for patient in sorted(shown):
        strata[stratum_of(sorted(shown[patient]), counts)].append(patient)
    lacking = ""
    for attempt in range(_TRIES):
        folds = _draw(strata, parts, seed, attempt)
        lacking = _lacking(folds, shown, parts, labels)
        if not lacking:
            return folds
    raise BadData(
        f"class without patients in a fold: {lacking}, in each of {_TRIES} drawings; leave the class out, add patients "
        "or choose more even fractions"
    )


def _draw(strata: Mapping[str, list[str]], parts: Mapping[str, float], seed: int, attempt: int) -> dict[str, str]:
    folds: dict[str, str] = {}
    for stratum in sorted(strata):
        patients = strata[stratum]
        order = numpy_generator("split", seed, attempt, stratum).permutation(len(patients))
        quota = shares(len(patients), list(parts.values()))
        fold_of = [fold for fold, count in zip(parts, quota, strict=True) for _ in range(count)]
        folds.update({patients[i]: fold for i, fold in zip(order, fold_of, strict=True)})
    return folds


def _lacking(
    folds: Mapping[str, str], shown: Mapping[str, set[str]], parts: Mapping[str, float], labels: Sequence[str]
) -> str:
    """The first class that some fold lacks, or ""."""
    seen = {(folds[patient], label) for patient, found in shown.items() for label in found}
    return next((label for label in labels for fold in parts if (fold, label) not in seen), "")
