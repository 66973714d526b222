# SPDX-License-Identifier: Apache-2.0
"""From what was answered to the result: figures, doubts, verdict and provenance."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from radproof import __version__
from radproof.assess import checks
from radproof.assess.answers import Answered, worst_groups
from radproof.assess.certify import certified
from radproof.assess.context import by_view
from radproof.assess.corruption import corruption_summaries
from radproof.assess.detection import Seen, detections, paired_checks
from radproof.assess.doubts import Evidence, doubts
from radproof.assess.gains import gains
from radproof.assess.gallery import pictures
from radproof.assess.learned import read_learned
from radproof.assess.material import Material
from radproof.assess.probed import probed
from radproof.assess.result import Result, Shortcut, Timing
from radproof.assess.score import Findings, scores
from radproof.assess.spending import spending
from radproof.assess.summary import Measurer, cell_key
from radproof.assess.survival import survival
from radproof.assess.transfer import transfer
from radproof.assess.verdict import verdict
from radproof.assess.watching import latency
from radproof.assess.workspace import Workspace
from radproof.attacks.metered import Precision
from radproof.core.depth import span
from radproof.core.device import fingerprint
from radproof.core.records import Doubt
from radproof.data.audit import Audit
from radproof.data.manifest import Manifest
from radproof.detectors.benign import handlings
from radproof.measure.cost import Stopwatch


@dataclass(frozen=True)
class Worked:
    """What a run's long work brought, beside what the workspace keeps of it."""

    found: Sequence[Answered]
    measurer: Measurer
    preflight: Sequence[Doubt]
    audit: Audit
    baselines: tuple[Shortcut, ...]
    precision: Precision


def conclude(space: Workspace, material: Material, worked: Worked) -> Result:
    """The whole result but its timing, which is blank."""
    plan, manifest, test = material.plan, material.manifest, material.test
    measurer, baselines, audited = worked.measurer, worked.baselines, worked.audit
    found = [a for a in worked.found if a.job.role != "detector"]  # made against a detector too: told with it
    worst = worst_groups(found)
    cells = tuple(measurer.cell(a) for a in (*found, *worst))
    brought = gains(found, worst, measurer)
    seen = Seen(worked.found, checks.at_smallest(material, space), read_learned(material, space))
    detected = detections(seen, material, measurer)
    clean = next(a for a in found if a.job.kind == "clean" and a.defense == "none")
    least = checks.smallest(material, space, measurer)
    why = doubts(
        Evidence(
            material=material,
            cells=cells,
            detection=detected,
            shortcuts=baselines,
            audit=audited,
            halvings=max(a.halvings for a in found),
            noise=checks.noise_accuracy(material, space, measurer),
            preflight=worked.preflight,
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
        provenance=_provenance(material, worked.precision),
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


def timing(material: Material, found: Sequence[Answered], started: str, began: float, watch: Stopwatch) -> Timing:
    """Seconds since `began`, of time.perf_counter, and of every stage, attack and detector."""
    x = material.images(material.batches[0][:1])
    return Timing(
        detectors={name: latency(one.fitted, x) for name, one in material.detectors.items()},
        started=started,
        seconds=round(time.perf_counter() - began, 3),
        cells={cell_key(a): round(a.seconds, 6) for a in found if a.job.kind == "attack"},
        memory={cell_key(a): round(a.peak, 1) for a in found if a.peak is not None and a.job.kind == "attack"},
        stages={name: round(seconds, 3) for name, seconds in watch.seconds.items()},
    )
