# SPDX-License-Identifier: Apache-2.0
"""An earlier run's adversarial images, scored again: with other defences, or on another model (a transfer study)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radproof.assess.jobs import Job
from radproof.core.files import sha256_file
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.errors import BadData

MADE = ("attack", "corruption")
ELSEWHERE = "another model"  # which images of another run were made on


@dataclass(frozen=True)
class Replayed:
    """One stored image and how it was made."""

    path: Path
    sha256: str
    step: Mapping[str, Any]


@dataclass(frozen=True)
class Replay:
    """The images by job and original; `digest` is of the manifest they come from."""

    digest: str
    jobs: tuple[Job, ...]
    images: Mapping[str, Mapping[str, Replayed]]  # job key -> sample id of the original -> image

    def of(self, job: Job, sample: Sample) -> Replayed:
        """The image of a job made from a sample. Raises BadData where the set has none, or of another original."""
        found = self.images[job.key].get(sample.id)
        if found is None or found.step["of_sha256"] != sample.sha256:
            raise BadData(
                f"the set to replay holds no image of {job.label} {job.budget} made from image {sample.id}; "
                "replay it with the data and seed that it was made with"
            )
        if not found.path.is_file() or sha256_file(found.path) != found.sha256:
            raise BadData(
                f"the image of {job.label} {job.budget} made from {sample.id} is missing or was changed since"
            )
        return found


def read_replay(folder: Path, model: str, contenders: Mapping[str, object]) -> Replay:
    """Read a run's images/ folder. Images made on another model than `model` (a fingerprint) count as transferred.

    Raises BadData for images that are not as an attack left them.
    """
    manifest = Manifest.read(folder)
    jobs: dict[str, Job] = {}
    images: dict[str, dict[str, Replayed]] = {}
    for sample in manifest.samples:
        step = _made_by(sample, manifest)
        own = step["model"] == model
        if step["role"] == "defense" and (not own or step["on"] not in contenders):
            continue  # made against a defence of another model or plan: neither adaptive nor a plain transfer
        if step["role"] == "detector":
            continue  # made against a detector as it was taught then
        carried = not own and step["role"] == "model"
        job = Job(
            kind=step["step"],
            label=step["label"],
            params=step["params"],
            goal=step["goal"],
            eps=step["eps"],
            on=ELSEWHERE if carried else step["on"],
            backward=step["backward"],
            threat=step["threat"],
            limits=step["limits"],
            role="surrogate" if carried else step["role"],
        )
        jobs[job.key] = job
        path = (manifest.root / sample.path).resolve()
        images.setdefault(job.key, {})[step["of"]] = Replayed(path, sample.sha256, step)
    file = folder / NAME if folder.is_dir() else folder
    return Replay(sha256_file(file), (Job("clean", "none", {}), *jobs.values()), images)


def _made_by(sample: Sample, manifest: Manifest) -> Mapping[str, Any]:
    ends = [step.get("step") for step in sample.chain[-2:]]
    keys = {
        "step",
        "label",
        "params",
        "goal",
        "eps",
        "on",
        "backward",
        "threat",
        "limits",
        "role",
        "of",
        "of_sha256",
        "model",
    }
    if len(ends) < 2 or ends[0] not in MADE or ends[1] != "quantise" or not keys <= set(sample.chain[-2]):
        raise BadData(f"{manifest.describe()} is not as attacks left it; replay the images/ folder of a run")
    return sample.chain[-2]
