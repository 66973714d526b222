# SPDX-License-Identifier: Apache-2.0
"""For the owner of a model file that radproof does not open: run it once, and keep a form in which nothing runs.

What the file holds is executed here. Call it in a guarded process, and only for files whose maker is trusted.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from radproof.core.files import atomic
from radproof.core.guard import guarded
from radproof.core.progress import SILENT, Progress
from radproof.errors import BadModel
from radproof.models.importers.kinds import refusal, what_is
from radproof.models.weights import save_weights

_CONVERTED = ("model.pt2", "model.onnx", "model.safetensors")
_PICKLES = ("torch-zip", "torch-legacy", "torch-tar", "pickle")
_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params", "ema")
_ANSWERS = ("logits", "out", "output", "predictions")
_MOST_IMAGES = 512
_DEPTH = 5  # of a checkpoint's nest
_OPENS = "it opens as it is: give it to --model"


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
    raise BadModel(f"{file.name} is of the kind {kind}: {_OPENS}" if not refusal(file, kind) else refusal(file, kind))


def _unpickled(file: Path, out: Path, shape: Sequence[int]) -> Path:
    try:
        # The one place where a full pickle is opened: by its owner's own word.
        found: Any = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BadModel(
            f"{file.name} cannot be opened ({type(error).__name__}: {said}); the code that it names must be "
            "importable: --code FOLDER"
        ) from None
    network = next((one for one in _inside(found) if isinstance(one, nn.Module)), None)
    if network is not None:
        return _exported(network, out, shape)
    weights = _weights(found)
    if not weights:
        raise BadModel(f"{file.name} holds {type(found).__name__}, neither a network nor its weights")
    save_weights(out / "model.safetensors", weights)
    return out / "model.safetensors"


def _inside(found: Any, depth: int = 0) -> Iterator[Any]:
    """A thing and what it holds, the likeliest places of a network first."""
    yield found
    if isinstance(found, nn.Module) or depth == _DEPTH:
        return
    held: list[Any] = []
    if isinstance(found, Mapping):
        told = cast("Mapping[str, Any]", found)
        held = [told[name] for name in sorted(told, key=lambda name: (_rank(name), "optim" in str(name)))]
    elif isinstance(found, list | tuple):
        held = list(cast("Sequence[Any]", found))
    for one in held:
        yield from _inside(one, depth + 1)


def _rank(name: Any) -> int:
    return _NESTS.index(name) if name in _NESTS else len(_NESTS)


def _weights(found: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, wherever in a checkpoint it lies; an optimiser's have no names."""
    for one in _inside(found):
        if isinstance(one, Mapping):
            told = cast("Mapping[Any, Any]", one)
            own = {name: _whole(value) for name, value in told.items() if isinstance(value, Tensor)}
            if any(isinstance(name, str) and value.dim() > 1 for name, value in own.items()):
                return {str(name): value for name, value in own.items()}
    return {}


def _whole(value: Tensor) -> Tensor:
    return (value.dequantize() if value.is_quantized else value).detach().to_dense().clone()


class Logits(nn.Module):
    """A network whose answer is one tensor, where its own wraps the logits in something else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """Logits (N, K) of images as the network takes them."""
        answer: Any = self.network(x)
        if isinstance(answer, Mapping):
            told = cast("Mapping[str, Any]", answer)
            return next((told[name] for name in _ANSWERS if name in told), answer)
        if isinstance(answer, tuple | list) and len(cast("Sequence[Any]", answer)) == 1:
            return cast("Sequence[Any]", answer)[0]
        return cast(Any, answer)


def _exported(model: nn.Module, out: Path, shape: Sequence[int]) -> Path:
    images = torch.export.Dim("images", min=1, max=_MOST_IMAGES)
    example = torch.zeros(2, *shape)
    try:
        network = Logits(model.float()).eval()
        with torch.no_grad():
            answer: Any = network(example)
        _one_table(answer)
        program = torch.export.export(network, (example,), dynamic_shapes=({0: images},), strict=False)
    except BadModel:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:300]
        raise BadModel(
            f"the network cannot be exported for images of {tuple(shape)}: {first}; try another --shape"
        ) from None
    path = out / "model.pt2"
    with atomic(path) as temporary, temporary.open("wb") as stream:
        torch.export.save(program, stream)
    return path


def _one_table(answer: Any) -> None:
    if not isinstance(answer, Tensor) or answer.dim() != 2:
        told = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise BadModel(f"the network answers two images with {told}, expected (2, K): wrap it to give its logits alone")


def _scripted(file: Path, out: Path, shape: Sequence[int]) -> Path:
    path = out / "model.onnx"
    try:
        model = torch.jit.load(str(file), map_location="cpu").eval()
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
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BadModel(f"the program cannot be exported for images of {tuple(shape)}: {said}; try --shape") from None
    return path


def _one_file(file: Path, out: Path) -> Path:
    """The same ONNX model with its external data inside."""
    import onnx
    from onnx.external_data_helper import convert_model_from_external_data

    path = out / "model.onnx"
    try:
        model = onnx.load(str(file), load_external_data=True)
        convert_model_from_external_data(model)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BadModel(f"{file.name} or the data beside it cannot be read: {said}") from None
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path


def _keras(file: Path, out: Path) -> Path:
    """What a Keras file computes, its own code included, as a program of torch's calls."""
    from radproof.models.importers.keras_build import import_keras

    keras = import_keras()
    try:
        model: Any = keras.models.load_model(str(file), compile=False, safe_mode=False)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BadModel(f"{file.name} cannot be opened ({type(error).__name__}: {said})") from None
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


def converted(
    file: Path,
    out: Path,
    *,
    shape: Sequence[int] = (3, 224, 224),
    code: Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Convert in a guarded process, which may write into a new folder alone; the path of what came of it in `out`.

    Only the file itself can be read, and for ONNX the files beside it; `code`: a folder of Python modules that the
    file names.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=out) as fresh:
        arguments = {"file": str(file.resolve()), "out": str(Path(fresh).resolve()), "shape": list(shape)}
        done = guarded(
            "radproof.models.convert:task",
            arguments,
            read=[file, *([file.resolve().parent] if what_is(file) == "onnx" else [])],
            write=[fresh],
            paths=[code] if code else [],
            progress=progress,
        )
        # The file's code may have answered in the process's place: its word is compared, and never taken for a path.
        name = next((known for known in _CONVERTED if known == done.value), None)
        made = Path(fresh) / (name or _CONVERTED[0])
        if name is None or made.is_symlink() or not made.is_file():
            raise BadModel(f"{file.name} was run, and no network came of it")
        made.replace(out / name)
    return out / name
