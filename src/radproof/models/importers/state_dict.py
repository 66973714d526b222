# SPDX-License-Identifier: Apache-2.0
"""Weights of a network that timm or torchvision builds: .safetensors, .pt, .pth, .bin, whatever their nest.

Names and shapes are compared with the network before any weight is allocated. What could run code is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from radproof.errors import BadModel
from radproof.models.graph import notes_of, take_off, tidy
from radproof.models.imported import Imported
from radproof.models.importers.architectures import Plan, fixed_size, known, plans
from radproof.models.importers.kinds import Kind, refusal, what_is
from radproof.models.importers.torch_files import declared, stored
from radproof.models.importers.tracing import traced
from radproof.models.weights import compare, refuse_nan, shapes_of

_NESTS = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "teacher", "ema",
    "model_ema", "state_dict_ema", "ema_state_dict",
)  # fmt: skip
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "ema.")
_BESIDE = ("total_ops", "total_params")  # what profilers leave behind
_LOSSES = ("criterion.", "loss.", "loss_fn.", "train_metrics.", "val_metrics.")
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # as torchvision named them before 2017
_Weights = dict[str, Tensor]


def read_state_dict(path: Path, architecture: str, *, classes: int | None = None) -> Imported:
    """The network `architecture` (timm's name, or torchvision:NAME) with the weights of a file.

    classes: how many are expected. Raises BadModel, with the reason and what to do, for a file that could run code,
    that declares more than it holds or does not fit, and for an unknown name.
    """
    path = Path(path)
    kind = what_is(path)
    if kind not in ("safetensors", "torch-zip", "torch-legacy"):
        raise BadModel(refusal(path, kind) or f"{path.name} is no file of weights, but {kind}")
    if not architecture:
        declared(path, kind)
        raise BadModel(f"{path.name} holds weights alone; say of which network: --architecture NAME")
    known(architecture)
    network, plan, notes = _filled(path, kind, architecture, classes)
    graph, size = traced(network, plan.channels, fixed_size(network), path.name)
    graph = tidy(graph)
    graph, head, note = take_off(graph)
    notes = (*notes, plan.note, *notes_of(graph), note or "")
    return Imported(
        graph, plan.channels, size, plan.classes, head=head, notes=tuple(dict.fromkeys(filter(None, notes)))
    )


def _filled(path: Path, kind: Kind, architecture: str, classes: int | None) -> tuple[nn.Module, Plan, tuple[str, ...]]:
    found, _ = _weights(declared(path, kind), path.name)
    _refuse_integers(path.name, found)
    plan = _fitting(path.name, architecture, found)
    if classes is not None and classes != plan.classes:
        raise BadModel(f"{path.name} has weights for {plan.classes} classes, expected {classes}; check both")
    weights, notes = _weights(stored(path, kind), path.name)
    refuse_nan(path.name, weights)
    other = sorted({str(value.dtype).removeprefix("torch.") for value in weights.values() if value.is_floating_point()})
    if other and other != ["float32"]:
        notes = (*notes, f"weights stored as {', '.join(other)} are computed in float32")
    with torch.random.fork_rng(devices=[]):
        network = plan.build().eval()
    whole = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict({**whole, **weights})
    return network, plan, notes


def _fitting(file: str, architecture: str, found: _Weights) -> Plan:
    shapes = shapes_of(found)
    reasons: list[BadModel] = []
    with torch.device("meta"):
        for plan in plans(architecture, shapes):
            try:
                compare(file, shapes, shapes_of(plan.build().state_dict()))
                return plan
            except BadModel as error:
                reasons.append(error)
    raise reasons[0]


def _weights(found: Mapping[str, Any], file: str) -> tuple[_Weights, tuple[str, ...]]:
    """The state_dict in a checkpoint, by the names that its network uses."""
    notes: tuple[str, ...] = ()
    for _ in range(4):
        inner = [name for name in _NESTS if _is_weights(found.get(name))]
        if not inner or _is_weights(found, whole=True):
            break
        found = found[inner[0]]
        if len(inner) > 1:
            notes = (*notes, f"of {', '.join(inner)} in the file, {inner[0]} is read")
    flat = {
        str(name): value
        for name, value in found.items()
        if isinstance(value, Tensor) and not str(name).startswith(_LOSSES) and not str(name).endswith(_BESIDE)
    }
    if not flat:
        raise BadModel(f"{file} holds no weights by name; expected a state_dict")
    bare = _unprefixed(flat)
    named = {_OLD_DENSE.sub(r"\1\2", name): value for name, value in bare.items()}
    if len(named) < len(flat):
        raise BadModel(f"{file} names two weights alike; save its state_dict again")
    return named, notes


def _is_weights(found: Any, *, whole: bool = False) -> bool:
    if not isinstance(found, Mapping) or not found:
        return False
    values = list(cast(Mapping[str, Any], found).values())
    test = all if whole else any
    return test(isinstance(value, Tensor) or (not whole and _is_weights(value)) for value in values)


def _unprefixed(flat: _Weights) -> _Weights:
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in flat)), ""):
        flat = {name.removeprefix(prefix): value for name, value in flat.items()}
    return flat


def _refuse_integers(file: str, found: _Weights) -> None:
    for name, value in found.items():
        if value.is_complex() or (not value.is_floating_point() and value.numel() > 1 and name.endswith("weight")):
            kind = str(value.dtype).removeprefix("torch.")
            raise BadModel(f"{file}: {name} is stored as {kind}, expected floating-point weights")
