# SPDX-License-Identifier: Apache-2.0
"""The one line from images to result: open, attack, defend, detect, measure. Interrupt and rerun as you like."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from radproof.assess import checks
from radproof.assess.answers import collect
from radproof.assess.baselines import shortcuts
from radproof.assess.batches import precision_of, run_jobs
from radproof.assess.certify import certified, run_certify, smoothed
from radproof.assess.concluding import Worked, conclude, timing
from radproof.assess.fitting import fit_detectors
from radproof.assess.jobs import Parts, list_jobs
from radproof.assess.learned import run_learned
from radproof.assess.leavings import images_manifest, write_all
from radproof.assess.material import Material
from radproof.assess.opening import open_material
from radproof.assess.outline import opening, working
from radproof.assess.plan import FILES, Plan
from radproof.assess.plan_checks import check_parts
from radproof.assess.replay import Replay, read_replay
from radproof.assess.result import Certified, Result
from radproof.assess.spending import run_spending
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Workspace, open_workspace
from radproof.core.device import resolve
from radproof.core.files import sha256_file
from radproof.core.progress import SILENT, Progress, expect
from radproof.core.records import Doubt
from radproof.data.audit import audit
from radproof.data.manifest import Manifest
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
            worked = _worked(space, material, progress, watch)
            progress.start("summary", 1)
            with watch.stage("summary"):
                result = conclude(space, material, worked)
                took = timing(material, worked.found, started.isoformat(timespec="seconds"), began, watch)
                result = result.model_copy(update={"timing": took})
                write_all(space, material, worked.found, result)
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
        run_jobs(space, material, jobs, precision_of(space, material, jobs), progress)
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


def _worked(space: Workspace, material: Material, progress: Progress, watch: Stopwatch) -> Worked:
    """Everything that takes long, a batch at a time."""
    smoothed(material)
    doubtful = _preflight(material)
    jobs = (
        list(material.replay.jobs) if material.replay else list_jobs(material.plan, material.parts, material.contenders)
    )
    precision = precision_of(space, material, jobs)
    expect(progress, working(space, material, jobs))
    with watch.stage("detectors"):
        fit_detectors(material, space.work, progress)
    with watch.stage("attacks"):
        run_jobs(space, material, jobs, precision, progress)
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
    return Worked(
        found=collect(space, material, jobs),
        measurer=measurer,
        preflight=doubtful,
        audit=audited,
        baselines=baselines,
        precision=precision,
    )


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


def _read_replay(folder: Path, out: Path, material: Material) -> Replay:
    if folder.resolve().is_relative_to(out.resolve()):
        raise BadData(f"{folder} lies in the run's own folder; give a replay another --out")
    return read_replay(folder, material.fingerprint, material.contenders)
