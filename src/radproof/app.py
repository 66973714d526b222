# SPDX-License-Identifier: Apache-2.0
"""The use cases as functions: what the command line does, a script can do."""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from radproof.assess import sheltered
from radproof.assess.baselines import shortcuts
from radproof.assess.compare import Comparison
from radproof.assess.compare import compare as compare_runs
from radproof.assess.describing import Described, describe_model, import_model
from radproof.assess.finished import Finished, open_run, read_result
from radproof.assess.flagging import Flag
from radproof.assess.gate import check_known, judge, require_runs
from radproof.assess.gate_sentence import anchor_gate
from radproof.assess.guarding import Lesson, known_groups
from radproof.assess.in_use import data_plan, flag, make_guard, require_empty
from radproof.assess.in_use import open_path as open_path
from radproof.assess.inspecting import Inspection, inspected
from radproof.assess.leavings import RESULT
from radproof.assess.networks import training_facts
from radproof.assess.parts import settle_all
from radproof.assess.plan import Plan, read_plan
from radproof.assess.received import Received
from radproof.assess.receiving import receive as receive_data
from radproof.assess.result import Certified, GateVerdict, Result, Shortcut
from radproof.assess.screening import Screened
from radproof.assess.sections import DetectionPlan, ModelPlan, Part
from radproof.assess.tune import Tuned, read_search, tuned
from radproof.core.depth import Depth
from radproof.core.device import resolve
from radproof.core.files import sha256_file, write_text
from radproof.core.params import fraction, show_fraction
from radproof.core.progress import SILENT, Progress
from radproof.core.rng import generator
from radproof.data.audit import Audit
from radproof.data.audit import audit as audit_manifest
from radproof.data.kinds import kind_of as kind_of
from radproof.data.load import grids, load_batch, load_images, partition
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.storage import quantise, quantise_step, write_png
from radproof.defenses import defense
from radproof.detectors import detector
from radproof.detectors.save import GuardCard
from radproof.errors import BadInput, BadPlan, UnknownName
from radproof.measure.intervals import Resampler
from radproof.models.card import ModelCard, load_model
from radproof.models.convert import converted
from radproof.reports.comparison import markdown as comparison_page
from radproof.reports.curves import write_curves
from radproof.reports.html import write_report
from radproof.reports.junit import NAME as JUNIT
from radproof.reports.junit import write_junit
from radproof.reports.markdown import NAME as SUMMARY
from radproof.reports.markdown import write_markdown
from radproof.reports.pdf import require_pdf, write_pdf
from radproof.reports.sarif import NAME as SARIF
from radproof.reports.sarif import write_sarif
from radproof.reports.screened import screened
from radproof.reports.tuning import front_svg, tuning_markdown
from radproof.training.loop import train as train_model
from radproof.training.recipe import TrainingRecipe

BATCH = 16
CERTIFICATES = "certificates.json"


def assess(
    plan: Plan,
    out: Path,
    *,
    overwrite: bool = False,
    replay: Path | None = None,
    pdf: bool = False,
    plan_file: Path | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Run a plan and draw its report; see assess.run.assess.

    Where the plan has a gate, the result holds its verdicts and the run's folder gate.junit.xml and gate.sarif (which
    points to `plan_file`).
    """
    if pdf:
        require_pdf()
    require_runs(plan.gate)
    result = sheltered.assess(plan, out, overwrite=overwrite, replay=replay, progress=progress)
    if plan.gate:
        result = result.model_copy(update={"gates": judge(Finished(out, result), plan.gate)})
        write_text(out / RESULT, result.model_dump_json(indent=1))
    report(out, pdf=pdf)
    if plan.gate:
        write_junit(out / JUNIT, result, result.gates)
        write_sarif(out / SARIF, result, result.gates, plan_file)
    return result


def gate(
    run: Path,
    require: Sequence[str] = (),
    *,
    plan: Path | None = None,
    junit: Path | None = None,
    sarif: Path | None = None,
    markdown: Path | None = None,
) -> tuple[GateVerdict, ...]:
    """Judge a finished run by these promises, or a plan's, else by its own plan's; write reports where asked.

    The run itself stays as it is. Raises BadPlan for a sentence that is no gate or about what the run does not have.
    """
    finished = open_run(run)
    told = tuple(anchor_gate(sentence, Path.cwd()) for sentence in require) or (read_plan(plan).gate if plan else ())
    check_known(finished.result, told)
    sentences = told if told or plan else tuple(finished.result.plan.get("gate", ()))
    if not sentences:
        raise BadInput(f"{plan or run} promises nothing: its plan has no gate; give --require 'clean_accuracy >= 0.8'")
    require_runs(sentences)
    verdicts = judge(finished, sentences)
    if junit:
        write_junit(junit, finished.result, verdicts)
    if sarif:
        write_sarif(sarif, finished.result, verdicts, plan)
    if markdown:
        write_markdown(markdown, finished.result, verdicts)
    return verdicts


def compare(a: Path, b: Path | None = None, *, markdown: Path | None = None) -> Comparison:
    """Compare two finished runs on the same images, or the defences of one with none; see assess.compare."""
    found = compare_runs(open_run(a), open_run(b) if b else None)
    if markdown:
        write_text(markdown, comparison_page(found))
    return found


def attack(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Manifest:
    """Only make the plan's adversarial images: PNG files and a manifest in `out`/images."""
    unscored = {"defenses": (), "hardened": {}, "detectors": (), "smallest": None, "spending": None, "survival": False}
    bare = plan.model_copy(update={**unscored, "detection": DetectionPlan()})
    return sheltered.craft_only(bare, out, overwrite=overwrite, progress=progress)


def certify(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Certified:
    """Do the plan's certify section alone; the certificates are left in `out`/certificates.json."""
    found = sheltered.certify_only(plan, out, overwrite=overwrite, progress=progress)
    if found is None:
        raise BadInput("the plan certifies nothing; give it a section certify:")
    write_text(out / CERTIFICATES, found.model_dump_json(indent=1))
    return found


def defend(source: Path, defenses: Sequence[str], out: Path, *, seed: int = 0, progress: Progress = SILENT) -> Manifest:
    """Clean every image of a manifest with the defences, in order; PNG files and a manifest in `out`."""
    manifest = Manifest.read(source)
    require_empty(out)
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
        depth = stored[rows[0]][-1]
        for sample, image in zip(samples, quantise(cleaned, x, eps=1.0, norm="visible", depth=depth), strict=True):
            steps = tuple({"step": "defense", "name": p.recipe.name, "params": p.params} for p in parts.values())
            made.append(_written(part_way, sample, image.numpy(), depth, steps))
        progress.advance("defend", len(rows))
    replace(manifest, root=part_way, samples=tuple(made)).write(part_way / NAME)
    if out.exists():
        out.rmdir()
    part_way.rename(out)
    return Manifest.read(out)


def detect(
    model: Path,
    clean: Path,
    images: Path,
    detectors: Sequence[str],
    out: Path,
    *,
    false_positive_rate: float = 0.05,
    split: str = "patient",
    seed: int = 0,
    other_data: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> tuple[Manifest, tuple[Flag, ...]]:
    """Fit detectors on the clean data set's training fold, set thresholds on its validation fold, judge `images`.

    Leaves `out`/manifest.parquet, in which every image carries its scores. `split`, `seed` and `other_data` are those
    of `guard`; raises BadData as it does.
    """
    how: dict[str, Any] = {"split": split, "seed": seed, "other_data": other_data, "device": device}
    told = {"detectors": list(detectors), "rate": false_positive_rate, **how}
    return flag(model, clean, images, out, told, progress)


def train(
    manifest: Manifest,
    recipe: TrainingRecipe,
    out: Path,
    *,
    start: Path | None = None,
    teacher: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> ModelCard:
    """Train on the training fold, choose and calibrate on the validation fold; the model's folder is `out`.

    `start` is the folder of a model whose weights to begin from, `teacher` of one whose answers to learn.
    """
    where = resolve(device)
    begun, taught = (load_model(folder, where)[0] if folder else None for folder in (start, teacher))
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
        device=where,
        folder=out,
        progress=progress,
        facts=training_facts(manifest),
        start=begun,
        teacher=taught,
    )
    write_curves(out)
    return trained.card


def tune(
    search: Path,
    out: Path | None = None,
    *,
    eps: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> tuple[Path, Tuned]:
    """Try every candidate of a search file on validation patients; the run's folder, with tuning.md, front.svg, report.

    `eps` is the budget to choose at, the plan's largest by default. Raises BadPlan for a budget that is not the plan's.
    """
    plan, wanted, told = read_search(search)
    chosen = plan.budgets[-1]
    if eps is not None:
        asked = fraction(eps)
        near = [budget for budget in plan.budgets if isinstance(asked, float) and math.isclose(budget, asked)]
        if not near:
            raise BadPlan(f"the plan has no budget {eps}; it has {', '.join(map(show_fraction, plan.budgets))}")
        chosen = near[0]
    folder = out or Path("runs") / plan.name
    found = tuned(assess(plan, folder, overwrite=overwrite, progress=progress), wanted, told, chosen)
    write_text(folder / "front.svg", front_svg(found))
    write_text(folder / "tuning.md", tuning_markdown(found))
    write_text(folder / "tuning.json", found.model_dump_json(indent=1))
    return folder, found


def check_model(
    model: ModelPlan, data: Path, cache: Path, *, device: str = "auto", progress: Progress = SILENT, **how: Any
) -> Inspection:
    """What a model is and whether its images reach it as it learnt them, before anything attacks it.

    `how` are keys of a plan's data section. Strangers' files are opened in a guarded process.
    """
    return inspected(model, data_plan(data.resolve(), **how), cache, device, progress)


def take_model(upload: Path, out: Path, *, progress: Progress = SILENT, **how: Any) -> Described:
    """Keep a stranger's model file, or a zip of radproof's own folder, in `out`: opened once, in a guarded process.

    `how`: card, architecture, device. Nothing is left of what cannot be opened.
    """
    return import_model(upload, out, progress=progress, **how)


def describe(model: Path, *, progress: Progress = SILENT, **how: Any) -> Described:
    """What a model is: its card, size, speed and access, opened in a guarded process.

    `how`: architecture, device; data, cache and write, to try it on labelled images and leave the likely card.
    """
    return describe_model(model, progress=progress, **how)


def take_data(archive: Path, out: Path, *, progress: Progress = SILENT, **how: Any) -> Received:
    """Import a stranger's zip archive into `out`: PNG files and a manifest, nothing of the originals, and an audit.

    `how`: labels, classes, multi_label, label_tag, strict (else 5 % of the files may be unreadable). What it says names
    no file. Nothing is left of what cannot be used.
    """
    return receive_data(archive, out, progress=progress, **how)


def convert(
    file: Path,
    out: Path,
    *,
    shape: Sequence[int] = (3, 224, 224),
    code: Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Run a file that radproof does not open, by its owner's word, and keep a form in which nothing runs.

    `shape` is that of one image as the network takes it; `code` a folder of Python modules that the file names. It is
    run in a guarded process, which may write into a new folder alone. Raises BadModel where no network comes out.
    """
    return converted(file, out, shape=shape, code=code, progress=progress)


def audit(manifest: Manifest, *, progress: Progress = SILENT) -> tuple[Audit, tuple[Shortcut, ...]]:
    """What is wrong with a data set, and what shortcuts it offers from its training to its test fold."""
    found = audit_manifest(manifest, progress=progress)
    test = manifest.only(sample for sample in manifest.samples if sample.fold == "test")
    if found.unreadable or not len(test):
        return found, ()
    return found, shortcuts(manifest, test, Resampler([sample.patient for sample in test.samples]))


def report(run: Path, *, pdf: bool = False) -> Path:
    """Draw report.html and summary.md (and report.pdf) from a finished run."""
    if not (run / RESULT).is_file():
        raise UnknownName(f"{run} holds no {RESULT}; run `radproof assess` first, or to its end")
    page = write_report(run)
    result = read_result(run)
    write_markdown(run / SUMMARY, result, result.gates)
    return write_pdf(run) if pdf else page


def guard(
    model: Path,
    data: Path,
    out: Path,
    *,
    name: str = "drift",
    rate: float = 0.05,
    by: str = "",
    split: str = "patient",
    seed: int = 0,
    other_data: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> GuardCard:
    """Teach detector `name` on a data set's training patients, set thresholds on its validation patients, write `out`.

    At most a share `rate` of clean images is to get any alarm, for each answer or view where `by` says so: a half is
    for `name`, a half for images that are not of the model's kind. A threshold that too few images could promise is
    refused, and the card says why. `split` and `seed` are those of the training, where the data have no split.
    `other_data`: the model has seen none of them. Raises BadData where its training is known by other data or folds.
    """
    resolve(device)
    lesson = Lesson(detector[name].name, rate, known_groups(by), seed)
    how = {"split": split, "seed": seed, "other_data": other_data, "device": device}
    return make_guard(model, data, out, lesson, how, progress)


def screen(
    images: Sequence[Path],
    model: Path,
    guard_file: Path,
    *,
    out: Path | None = None,
    view: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Iterator[Screened]:
    """Judge image files and folders of them, one by one, with what `guard` wrote; a page each in `out` where given.

    A file that cannot be read or judged gets a refusal. Raises BadModel for a guard of another model.
    """
    return screened(images, model, guard_file, out=out, view=view, device=device, progress=progress)


def _written(out: Path, sample: Sample, image: Any, depth: Depth, steps: tuple[dict[str, Any], ...]) -> Sample:
    path = out / "images" / f"{sample.id}.png"
    write_png(path, image, depth)
    chain = (*sample.chain, *steps, quantise_step(depth))
    relative = str(path.relative_to(out))
    return replace(sample, path=relative, sha256=sha256_file(path), size=path.stat().st_size, chain=chain)
