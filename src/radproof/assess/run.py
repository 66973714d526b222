# SPDX-License-Identifier: Apache-2.0
"""The one line from images to result: open, attack, defend, detect, measure. Interrupt and rerun as you like."""

import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radproof import __version__
from radproof.assess import checks
from radproof.assess.answers import Answered, collect, worst_groups
from radproof.assess.baselines import shortcuts
from radproof.assess.certify import certified, run_certify, smoothed
from radproof.assess.context import by_view
from radproof.assess.corruption import corruption_summaries
from radproof.assess.craft import in_scope, run_batch
from radproof.assess.detection import Seen, detections, paired_checks
from radproof.assess.doubts import Evidence, doubts
from radproof.assess.estimate import estimate_cost
from radproof.assess.fitting import fit_detectors
from radproof.assess.gains import gains
from radproof.assess.gallery import pictures
from radproof.assess.jobs import Job, Parts, list_jobs
from radproof.assess.learned import read_learned, run_learned
from radproof.assess.leavings import images_manifest, write_all
from radproof.assess.material import Material
from radproof.assess.opening import open_material
from radproof.assess.outline import opening, weight_of, working
from radproof.assess.plan import FILES, Plan
from radproof.assess.plan_checks import check_parts
from radproof.assess.probed import probed
from radproof.assess.replay import Replay, read_replay
from radproof.assess.result import Certified, Result, Timing
from radproof.assess.score import Findings, scores
from radproof.assess.spending import run_spending, spending
from radproof.assess.summary import Measurer, cell_key
from radproof.assess.survival import survival
from radproof.assess.transfer import transfer
from radproof.assess.verdict import verdict
from radproof.assess.watching import latency
from radproof.assess.workspace import Workspace, open_workspace
from radproof.attacks.metered import Precision, choose_precision
from radproof.core.depth import span
from radproof.core.device import fingerprint, resolve
from radproof.core.files import sha256_file
from radproof.core.goals import goal as make_goal
from radproof.core.progress import SILENT, Progress, expect
from radproof.core.records import Doubt
from radproof.data.audit import Audit, audit
from radproof.data.manifest import Manifest
from radproof.detectors.benign import handlings
from radproof.errors import BadData, Interrupted
from radproof.measure.cost import Stopwatch
from radproof.models.preflight import preflight


def assess(
    plan: Plan, out: Path, *, overwrite: bool = False, replay: Path | None = None, progress: Progress = SILENT
) -> Result:
    """Do what the plan says in the folder `out`, or go on with what was begun there.

    Leaves result.json, rows.parquet, the adversarial images with a manifest, and a gallery; the report is drawn from
    these. Equal plans and seeds give equal bytes but for `timing`, also after a kill: at most one batch is done again.
    Raises BadInput for anything that cannot be used, Interrupted on Ctrl-C.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    watch = Stopwatch()
    parts = check_parts(plan)
    device = resolve(plan.device)
    expect(progress, ())
    with open_workspace(out, plan, overwrite=overwrite) as space:
        try:
            with watch.stage("open"):
                material = open_material(
                    plan, parts, out, device, progress, known=_foretelling(plan, parts, out, progress)
                )
                if replay is not None:
                    material.replay = _read_replay(replay, out, material)
                _same_inputs(space, material)
            found, evidence = _worked(space, material, progress, watch)
            progress.start("summary", 1)
            with watch.stage("summary"):
                result = _result(space, material, *found, evidence)
                result = result.model_copy(
                    update={"timing": _timing(material, found[0], started.isoformat(timespec="seconds"), began, watch)}
                )
                write_all(space, material, found[0], result)
            progress.advance("summary")
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; finished batches are kept in {out}, and the same command goes on from there"
            ) from None
    return result


def craft_only(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Manifest:
    """The attack stage alone: images and their manifest, no scores."""
    parts = check_parts(plan)
    with open_workspace(out, plan, overwrite=overwrite) as space:
        material = open_material(plan, parts, out, resolve(plan.device), progress)
        _same_inputs(space, material)
        jobs = list_jobs(plan, parts, material.contenders)
        _run_jobs(space, material, jobs, _precision(space, material, jobs), progress)
        return images_manifest(out, material, collect(space, material, jobs))


def certify_only(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Certified | None:
    """The certificates alone; finished images are not done again."""
    parts = check_parts(plan)
    with open_workspace(out, plan, overwrite=overwrite) as space:
        try:
            material = open_material(plan, parts, out, resolve(plan.device), progress)
            _same_inputs(space, material)
            run_certify(material, space, progress)
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; finished images are kept in {out}, and the same command goes on from there"
            ) from None
        return certified(material, space, Measurer(material))


def _worked(
    space: Workspace, material: Material, progress: Progress, watch: Stopwatch
) -> tuple[tuple[list[Answered], Measurer], dict[str, Any]]:
    """Everything that takes long, a batch at a time."""
    smoothed(material)
    doubtful = _preflight(material)
    jobs = (
        list(material.replay.jobs) if material.replay else list_jobs(material.plan, material.parts, material.contenders)
    )
    precision = _precision(space, material, jobs)
    expect(progress, working(space, material, jobs))
    with watch.stage("detectors"):
        fit_detectors(material, space.work, progress)
    with watch.stage("attacks"):
        _run_jobs(space, material, jobs, precision, progress)
    with watch.stage("checks"):
        checks.run_checks(material, space, progress)
    with watch.stage("learned"):
        run_learned(material, space, progress)
    with watch.stage("spending"):
        run_spending(material, space, precision, progress)
    if material.plan.certify:
        with watch.stage("certify"):
            run_certify(material, space, progress)
    with watch.stage("audit"):
        audited = audit(material.manifest, progress=progress)
        measurer = Measurer(material)
        everything = measurer.resampler(range(len(material.test)))
        baselines = shortcuts(material.manifest, material.test, everything)
    return (collect(space, material, jobs), measurer), {
        "preflight": doubtful,
        "audit": audited,
        "baselines": baselines,
        "precision": precision,
    }


def _foretelling(plan: Plan, parts: Parts, out: Path, progress: Progress) -> Callable[[Manifest, int], None]:
    return lambda manifest, images: expect(progress, opening(plan, parts, manifest, images, out))


def _same_inputs(space: Workspace, material: Material) -> None:
    facts = {
        "data": material.manifest.fingerprint(),
        "choice of images": material.test.fingerprint(),
        "model": material.fingerprint,
        "set to replay": material.replay.digest if material.replay else "",
    }
    facts |= {f"surrogate {name}": surrogate.fingerprint for name, surrogate in material.surrogates.items()}
    facts |= {f"hardened {name}": material.contenders[name].fingerprint for name in material.plan.hardened}
    parts = material.parts
    for label, part in {**parts.attacks, **parts.adaptive}.items():
        named = [part.params[key] for key in FILES if isinstance(part.params.get(key), str)]
        facts |= {f"{Path(file).name} of {label}": sha256_file(Path(file)) for file in named if Path(file).is_file()}
    space.insist("inputs", facts)


def _preflight(material: Material) -> Sequence[Doubt]:
    rows = list(material.batches[0])
    return preflight(
        material.model, material.images(rows), material.y[rows], material.manifest.labels, material.manifest.head
    )


def _precision(space: Workspace, material: Material, jobs: Sequence[Job]) -> Precision:
    """Decided once per run, on the first batch."""
    rows = list(material.batches[0])
    goal = make_goal("misclassify", material.y[rows], material.manifest.labels, material.manifest.head)

    def decide() -> str:
        """bfloat16 only where every attacked network bears it."""
        x, wanted = material.images(rows), material.plan.precision
        networks = {id(n): n for n in (material.model, *(c.network for c in material.contenders.values()))}
        found = {choose_precision(network, x, goal, wanted) for network in networks.values()}
        return "bf16" if found == {"bf16"} else "fp32"

    needed = any(job.kind == "attack" for job in jobs)
    known = space.recall("precision")
    found = known or space.remember("precision", {"precision": decide() if needed else "fp32"})
    return "bf16" if found["precision"] == "bf16" else "fp32"


def _run_jobs(
    space: Workspace,
    material: Material,
    jobs: Sequence[Job],
    precision: Precision,
    progress: Progress,
) -> None:
    batches = range(len(material.batches))
    todo = [(job, batch) for job in jobs for batch in batches if not space.has(job.key, batch)]
    images = {job.key: 0 for job in jobs}
    for job, batch in todo:
        images[job.key] += len(in_scope(material, job, material.batches[batch]))
    if todo and not material.replay:
        progress.note(estimate_cost(material, [(job, images[job.key]) for job in jobs], precision))
    progress.start("attacks", sum(weight_of(job, material) * images[job.key] for job in jobs))
    for job, batch in todo:
        space.save(job.key, batch, run_batch(material, job, batch, space.root, precision))
        progress.advance("attacks", weight_of(job, material) * len(in_scope(material, job, material.batches[batch])))


def _read_replay(folder: Path, out: Path, material: Material) -> Replay:
    if folder.resolve().is_relative_to(out.resolve()):
        raise BadData(f"{folder} lies in the run's own folder; give a replay another --out")
    return read_replay(folder, material.fingerprint, material.contenders)


def _result(
    space: Workspace, material: Material, found: list[Answered], measurer: Measurer, evidence: dict[str, Any]
) -> Result:
    plan, manifest, test = material.plan, material.manifest, material.test
    everything = found
    found = [a for a in everything if a.job.role != "detector"]  # made against a detector too: told with it
    worst = worst_groups(found)
    cells = tuple(measurer.cell(a) for a in (*found, *worst))
    brought = gains(found, worst, measurer)
    seen = Seen(everything, checks.at_smallest(material, space), read_learned(material, space))
    detected = detections(seen, material, measurer)
    clean = next(a for a in found if a.job.kind == "clean" and a.defense == "none")
    baselines = evidence["baselines"]
    least = checks.smallest(material, space, measurer)
    audited: Audit = evidence["audit"]
    why = doubts(
        Evidence(
            material=material,
            cells=cells,
            detection=detected,
            shortcuts=baselines,
            audit=audited,
            halvings=max(a.halvings for a in found),
            noise=checks.noise_accuracy(material, space, measurer),
            preflight=evidence["preflight"],
            probed=probed(material, space, measurer),
        )
    )
    spoilt = corruption_summaries(found, measurer)
    shape = tuple(material.images(material.batches[0][:1]).shape)
    return Result(
        name=plan.name,
        title=plan.title or plan.name,
        verdict=verdict(cells, least, why, brought),
        phantom=manifest.source.get("kind") == "phantom" or material.card.phantom,
        labels=manifest.labels,
        head=manifest.head,
        images=len(test),
        patients=len(test.patients()),
        resolution=f"{shape[3]}×{shape[2]}{' in colour' if shape[1] == 3 else ''}, {span(material.depths)}",
        preset=plan.preset,
        data=_data(manifest, test),
        model=material.card.model_dump(mode="json"),
        training=material.training,
        audit=audited.model_dump(mode="json"),
        cells=cells,
        gains=brought,
        smallest=least,
        transfer=transfer(found, measurer),
        spending=spending(material, space, measurer),
        certified=certified(material, space, measurer),
        survival=survival(found, measurer, handlings(max(material.depths))) if plan.survival else None,
        corruptions=spoilt,
        score=scores(Findings(cells, least, detected, spoilt, why)),
        detection=detected,
        paired=paired_checks(found, measurer),
        shortcuts=baselines,
        by_view=by_view(clean, material, measurer),
        gallery=pictures(found, material, space.root),
        doubts=why,
        plan=plan.model_dump(mode="json"),
        provenance=_provenance(material, evidence["precision"]),
        timing=Timing(started="", seconds=0, cells={}, stages={}),
    )


def _data(manifest: Manifest, test: Manifest) -> dict[str, Any]:
    folds = {
        name: manifest.fold(name).counts()
        for name in ("train", "validation", "test")
        if any(sample.fold == name for sample in manifest.samples)
    }
    return {"source": dict(manifest.source), "folds": folds, "assessed": test.counts()}


def _provenance(material: Material, precision: str) -> dict[str, Any]:
    return {
        "radproof": __version__,
        "python": platform.python_version(),
        **fingerprint(material.device),
        "precision": precision,
        "micro_batch": material.model.micro_batch,
        "plan": material.plan.digest,
        "model": material.fingerprint,
        "data": material.test.fingerprint(),
    }


def _timing(material: Material, found: Sequence[Answered], started: str, began: float, watch: Stopwatch) -> Timing:
    x = material.images(material.batches[0][:1])
    return Timing(
        detectors={name: latency(one.fitted, x) for name, one in material.detectors.items()},
        started=started,
        seconds=round(time.perf_counter() - began, 3),
        cells={cell_key(a): round(a.seconds, 6) for a in found if a.job.kind == "attack"},
        memory={cell_key(a): round(a.peak, 1) for a in found if a.peak is not None and a.job.kind == "attack"},
        stages={name: round(seconds, 3) for name, seconds in watch.seconds.items()},
    )
