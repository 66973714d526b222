# SPDX-License-Identifier: Apache-2.0
"""For the owner of a model file that radproof does not open: run it once, and keep a form in which nothing runs.

What the file holds is executed here. Call it in a guarded process, and only for files whose maker is trusted.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from radproof.core.files import atomic
from radproof.errors import BadModel
from radproof.models.importers.kinds import what_is
from radproof.models.weights import save_weights

_PICKLES = ("torch-zip", "torch-legacy", "torch-tar", "pickle")
_MOST_IMAGES = 512


def convert_model(file: Path, out: Path, shape: Sequence[int] = (3, 224, 224)) -> Path:
    """Open a file whatever it runs, and write model.pt2, model.onnx or model.safetensors into `out`; its path.

    `shape` is that of one image as the network takes it. Raises BadModel for files that need no conversion or that
    hold no network.
    """
    kind = what_is(file)
    out.mkdir(parents=True, exist_ok=True)
    if kind in _PICKLES:
        return _unpickled(file, out, shape)
    if kind == "torchscript":
        return _scripted(file, out, shape)
    if kind == "onnx":
        return _one_file(file, out)
    if kind in ("keras", "hdf5"):
        return _keras(file, out)
    raise BadModel(f"{file.name} is {kind}: it needs no conversion, or holds no network that radproof could convert")


def _unpickled(file: Path, out: Path, shape: Sequence[int]) -> Path:
    try:
        # The one place where a full pickle is opened: by its owner's own word.
        found: Any = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:
        raise BadModel(
            f"{file.name} cannot be opened ({type(error).__name__}: {error}); its code must be importable"
        ) from None
    if isinstance(found, Mapping):
        inner = next(
            (found[name] for name in ("model", "net", "module") if isinstance(found.get(name), nn.Module)), None
        )
        found = inner if inner is not None else found
    if isinstance(found, nn.Module):
        return _exported(found, out, shape)
    weights = _weights(found)
    if not weights:
        raise BadModel(f"{file.name} holds {type(found).__name__}, neither a network nor its weights")
    save_weights(out / "model.safetensors", weights)
    return out / "model.safetensors"


def _weights(found: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, wherever in a checkpoint it lies."""
    if not isinstance(found, Mapping):
        return {}
    told = cast("Mapping[str, Any]", found)
    own = {str(name): value.clone() for name, value in told.items() if isinstance(value, Tensor)}
    if own:
        return own
    return next((inner for value in told.values() if (inner := _weights(value))), {})


def _exported(model: nn.Module, out: Path, shape: Sequence[int]) -> Path:
    example = (torch.zeros(2, *shape),)
    images = torch.export.Dim("images", min=1, max=_MOST_IMAGES)
    try:
        program = torch.export.export(model.eval(), example, dynamic_shapes=({0: images},), strict=False)
    except Exception as error:
        first = " ".join(str(error).split())[:300]
        raise BadModel(
            f"the network cannot be exported for images of {tuple(shape)}: {first}; try another --shape"
        ) from None
    path = out / "model.pt2"
    with atomic(path) as temporary, temporary.open("wb") as stream:
        torch.export.save(program, stream)
    return path


def _scripted(file: Path, out: Path, shape: Sequence[int]) -> Path:
    model = torch.jit.load(str(file), map_location="cpu").eval()
    path = out / "model.onnx"
    with warnings.catch_warnings(), atomic(path) as temporary:
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, *shape),),
            str(temporary),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            dynamic_axes={"image": {0: "images"}},
        )
    return path


def _one_file(file: Path, out: Path) -> Path:
    """The same ONNX model with its external data inside."""
    import onnx
    from onnx.external_data_helper import convert_model_from_external_data

    path = out / "model.onnx"
    model = onnx.load(str(file), load_external_data=True)
    convert_model_from_external_data(model)
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path


def _keras(file: Path, out: Path) -> Path:
    """What a Keras file computes, its own code included, as a program of torch's calls."""
    from radproof.models.importers.keras_build import import_keras

    keras = import_keras()
    model: Any = keras.models.load_model(str(file), compile=False, safe_mode=False)
    told = model.inputs[0].shape

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x, training=False)

    return _exported(Plain(), out, [side or 224 for side in told[1:]])


def task(file: str, out: str, shape: Sequence[int]) -> str:
    """What the guarded process does; the name of the file that was written."""
    return convert_model(Path(file), Path(out), tuple(shape)).name
