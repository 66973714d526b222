# SPDX-License-Identifier: Apache-2.0
"""What a run's detectors learnt, kept in its folder: a later start judges with the very same ones, at once."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from radproof.assess.watching import Watching, as_kept
from radproof.core.files import atomic
from radproof.core.records import Record, canonical_json
from radproof.core.types import Classifier
from radproof.detectors.calibrate import Threshold, Thresholds
from radproof.detectors.fitted import restore
from radproof.detectors.registry import Learner

NAME = "detectors.safetensors"
_KEY, _ORDER = "radproof.taught", "radproof.order"


class _Told(Record):
    """All of a detector but its tensors."""

    thresholds: Thresholds
    at: dict[float, Threshold]
    spread: float


def keep(path: Path, detectors: Mapping[str, Watching]) -> None:
    """Write them to one file, whole or not at all."""
    tensors = {
        f"{number}/{name}": tensor
        for number, one in enumerate(detectors.values())
        for name, tensor in as_kept(one.fitted).items()
    }
    told = {
        label: _Told(thresholds=one.thresholds, at=dict(one.at), spread=one.spread).model_dump(mode="json")
        for label, one in detectors.items()
    }
    with atomic(path) as temporary:
        # The file sorts its tensors; sums round alike only in the order in which they were learnt.
        save_file(tensors, temporary, metadata={_KEY: canonical_json(told), _ORDER: json.dumps(list(tensors))})


def read(path: Path, learners: Mapping[str, Learner], model: Classifier) -> dict[str, Watching] | None:
    """What `keep` wrote in this run; None where there is nothing, or not of these detectors."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as stored:
        about = stored.metadata() or {}
        told, order = json.loads(about[_KEY]), json.loads(about[_ORDER])
        tensors = {name: stored.get_tensor(name) for name in order}
    if set(told) != set(learners):
        return None
    found: dict[str, Watching] = {}
    for number, (label, learner) in enumerate(learners.items()):
        own = f"{number}/"
        state = {name.removeprefix(own): tensor for name, tensor in tensors.items() if name.startswith(own)}
        known = _Told.model_validate(told[label])
        found[label] = Watching(restore(learner, model, state), known.thresholds, known.at, known.spread)
    return found
