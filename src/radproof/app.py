# SPDX-License-Identifier: Apache-2.0
"""The use cases as functions: what the command line does, a script can do."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from radproof.assess import run as assessment
from radproof.assess.baselines import shortcuts
from radproof.assess.material import FITTED, one_grid, open_manifest
from radproof.assess.networks import training_facts
from radproof.assess.parts import settle_all
from radproof.assess.plan import Plan, checked
from radproof.assess.result import Result, Shortcut
from radproof.assess.sections import DataPlan, Part
from radproof.core.device import resolve
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT, Progress
from radproof.core.rng import generator
from radproof.data.audit import Audit
from radproof.data.audit import audit as audit_manifest
from radproof.data.load import grids, load_batch, load_images, partition
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.storage import quantise, write_png
from radproof.data.subsets import take
from radproof.defenses import defense
from radproof.detectors import detector
from radproof.detectors.calibrate import calibrate
from radproof.errors import BadData, BadInput, UnknownName
from radproof.measure.intervals import Resampler
from radproof.models.card import ModelCard, load_model
from radproof.reports.curves import write_curves
from radproof.reports.html import write_report
from radproof.reports.pdf import require_pdf, write_pdf
from radproof.training.loop import train as train_model
from radproof.training.recipe import TrainingRecipe

BATCH = 16


def kind_of(path: Path) -> str:
    """Which reader a path is for: a manifest, the NIH release, or a folder per class."""
    if not path.exists():
        raise BadData(f"there is no {path}; give a manifest, the NIH release's folder, or a folder with one per class")
    if path.is_file() or (path / NAME).is_file():
        return "manifest"
    return "nih" if any(path.glob("Data_Entry_2017*.csv")) else "folder"


def open_path(path: Path, *, cache: Path | None = None, progress: Progress = SILENT, **how: Any) -> Manifest:
    """Open any data set by its path; `how` are keys of a plan's data section. `cache` is needed to resize."""
    data = checked(DataPlan, {"kind": kind_of(path), "path": str(path), **how}, "data")
    if data.size is not None and cache is None:
        raise BadInput("resizing writes images; give a folder for them")
    return open_manifest(data, cache or path, progress)


def assess(
    plan: Plan,
    out: Path,
    *,
    overwrite: bool = False,
    replay: Path | None = None,
    pdf: bool = False,
    progress: Progress = SILENT,
) -> Result:
    """Run a plan and draw its report; see assess.run.assess."""
    if pdf:
        require_pdf()
    result = assessment.assess(plan, out, overwrite=overwrite, replay=replay, progress=progress)
    report(out, pdf=pdf)
    return result


def attack(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Manifest:
    """Only make the plan's adversarial images: PNG files and a manifest in `out`/images."""
    unscored = {"defenses": (), "hardened": {}, "detectors": (), "smallest": None, "spending": None, "survival": False}
    bare = plan.model_copy(update=unscored)
    return assessment.craft_only(bare, out, overwrite=overwrite, progress=progress)


def defend(source: Path, defenses: Sequence[str], out: Path, *, seed: int = 0, progress: Progress = SILENT) -> Manifest:
    """Clean every image of a manifest with the defences, in order; PNG files and a manifest in `out`."""
    manifest = Manifest.read(source)
    _empty(out)
    part_way = out.with_name(f"{out.name}.part")  # takes its name when it is whole
    shutil.rmtree(part_way, ignore_errors=True)
    parts = settle_all([Part(name=name) for name in defenses], defense, "published")
    chosen = [part.make() for part in parts.values()]
    stored = grids(manifest.samples, manifest.root)
    progress.start("defend", len(manifest))
    made: list[Sample] = []
    for number, rows in enumerate(partition(stored, BATCH)):
        samples = [manifest.samples[row] for row in rows]
        x = load_batch(manifest, samples, torch.device("cpu"))
        cleaned = x
        for part in chosen:
            cleaned = part(cleaned, rng=generator(seed, "defend", number))
        bits = stored[rows[0]][-1]
        for sample, image in zip(samples, quantise(cleaned, x, eps=1.0, norm="visible", bits=bits), strict=True):
            steps = tuple({"step": "defense", "name": p.recipe.name, "params": p.params} for p in parts.values())
            made.append(_written(part_way, sample, image.numpy(), bits, steps))
        progress.advance("defend", len(rows))
    replace(manifest, root=part_way, samples=tuple(made)).write(part_way / NAME)
    if out.exists():
        out.rmdir()
    part_way.rename(out)
    return Manifest.read(out)


@dataclass(frozen=True)
class Flag:
    """What a detector said of one image."""

    sample: str
    detector: str
    score: float
    threshold: float | None
    flagged: bool | None  # None: no threshold could be promised


def detect(
    model: Path,
    clean: Path,
    images: Path,
    detectors: Sequence[str],
    out: Path,
    *,
    false_positive_rate: float = 0.05,
    device: str = "auto",
    progress: Progress = SILENT,
) -> tuple[Manifest, tuple[Flag, ...]]:
    """Fit detectors on the clean data set's training fold, set thresholds on its validation fold, judge `images`.

    Leaves `out`/manifest.parquet, in which every image carries its scores.
    """
    where = resolve(device)
    network, _ = load_model(model, where)
    usual = open_path(clean, progress=progress)
    judged = Manifest.read(images)
    _empty(out)
    settled = settle_all([Part(name=name) for name in detectors], detector, "published")
    learned, calibration = take(usual.fold("train"), FITTED), usual.fold("validation")
    one_grid(learned, calibration, judged)
    progress.start("detect", len(settled) * len(judged))
    flags: list[Flag] = []
    for label, part in settled.items():
        fitted = part.make().fit(network, load_batch(learned, learned.samples, where))
        scores = fitted.score(load_batch(calibration, calibration.samples, where))
        threshold = calibrate(scores, false_positive_rate=false_positive_rate)
        for rows in partition(grids(judged.samples, judged.root), BATCH):
            samples = [judged.samples[row] for row in rows]
            for sample, score in zip(samples, fitted.score(load_batch(judged, samples, where)).tolist(), strict=True):
                flagged = None if threshold.value is None else score > threshold.value
                flags.append(Flag(sample.id, label, score, threshold.value, flagged))
            progress.advance("detect", len(rows))
    steps: dict[str, list[dict[str, Any]]] = {}
    for flag in flags:
        step = {"step": "detect", "detector": flag.detector, "score": flag.score, "flagged": flag.flagged}
        steps.setdefault(flag.sample, []).append({**step, "threshold": flag.threshold})
    told = judged.only(replace(s, chain=(*s.chain, *steps[s.id])) for s in judged.samples)
    told.write(out / NAME)
    return told, tuple(flags)


def train(
    manifest: Manifest, recipe: TrainingRecipe, out: Path, *, device: str = "auto", progress: Progress = SILENT
) -> ModelCard:
    """Train on the training fold, choose and calibrate on the validation fold; the model's folder is `out`."""
    folds = {name: manifest.fold(name) for name in ("train", "validation")}
    loaded = {name: list(load_images(fold.samples, fold.root).images) for name, fold in folds.items()}
    trained = train_model(
        recipe,
        loaded["train"],
        torch.as_tensor(folds["train"].targets()),
        loaded["validation"],
        torch.as_tensor(folds["validation"].targets()),
        labels=manifest.labels,
        head=manifest.head,
        device=resolve(device),
        folder=out,
        progress=progress,
        facts=training_facts(manifest),
    )
    write_curves(out)
    return trained.card


def audit(manifest: Manifest, *, progress: Progress = SILENT) -> tuple[Audit, tuple[Shortcut, ...]]:
    """What is wrong with a data set, and what shortcuts it offers from its training to its test fold."""
    found = audit_manifest(manifest, progress=progress)
    test = manifest.only(sample for sample in manifest.samples if sample.fold == "test")
    if found.unreadable or not len(test):
        return found, ()
    return found, shortcuts(manifest, test, Resampler([sample.patient for sample in test.samples]))


def report(run: Path, *, pdf: bool = False) -> Path:
    """Draw report.html (and report.pdf) from a finished run."""
    if not (run / assessment.RESULT).is_file():
        raise UnknownName(f"{run} holds no {assessment.RESULT}; run `radproof assess` first, or to its end")
    page = write_report(run)
    return write_pdf(run) if pdf else page


def _empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists and is not empty; choose another --out")


def _written(out: Path, sample: Sample, image: Any, bits: int, steps: tuple[dict[str, Any], ...]) -> Sample:
    path = out / "images" / f"{sample.id}.png"
    write_png(path, image, bits)
    chain = (*sample.chain, *steps, {"step": "quantise", "bits": bits})
    relative = str(path.relative_to(out))
    return replace(sample, path=relative, sha256=sha256_file(path), size=path.stat().st_size, chain=chain)
