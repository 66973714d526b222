# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file takes and gives, as it says itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from radproof.errors import BadModel

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_REAL = (1, 10, 11, 16)
_CHANNELS = (1, 3)
_MOST_SIDE = 4096


@dataclass(frozen=True)
class Signature:
    """One input of images, one output of answers."""

    input: str
    output: str
    channels: int
    size: tuple[int, int] | None  # None: any, or not told
    batch: int | None
    last: bool  # channels last
    kind: int  # ONNX type of the input
    others: tuple[str, ...] = ()  # outputs that are not read

    def shaped(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (batch, self.channels, height, width)


def signature_of(model: "ModelProto", name: str) -> Signature:
    """What the file takes and gives. Raises BadModel for anything but images in and one answer per image out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise BadModel(f"{name} takes {len(inputs)} inputs, expected one: images; export it with images alone")
    given = inputs[0]
    kind = given.type.tensor_type.elem_type
    if kind not in _REAL:
        raise BadModel(
            f"{name} takes images as ONNX type {kind}, expected real numbers; export it without its first conversion"
        )
    sizes = _sizes(given)
    if len(sizes) != 4:
        raise BadModel(f"{name} takes an array of {len(sizes)} dimensions, expected images (N, C, H, W)")
    last = sizes[1] not in _CHANNELS and sizes[3] in _CHANNELS
    batch, channels, height, width = (sizes[at] for at in ((0, 3, 1, 2) if last else (0, 1, 2, 3)))
    channels = channels or _first_channels(model, given.name)
    if channels not in _CHANNELS:
        raise BadModel(f"{name} takes images of {channels or 'unknown'} channels, expected 1 or 3")
    if max(height or 1, width or 1) > _MOST_SIDE or (batch or 1) > 1024:
        raise BadModel(f"{name} takes {batch or 'any number of'} images of {height}x{width} at once, which is too much")
    chosen, others = _output(model, name)
    size = (height, width) if height and width else None
    return Signature(given.name, chosen, channels, size, batch, last, kind, others)


def _sizes(value: "ValueInfoProto") -> list[int | None]:
    """Told sizes, None for those that may change."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]


def _first_channels(model: "ModelProto", name: str) -> int | None:
    """Channels that the first convolution's weights take."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] == name and node.input[1] in weights:
            return int(weights[node.input[1]].dims[1])
    return None


def _output(model: "ModelProto", name: str) -> tuple[str, tuple[str, ...]]:
    there = [value for value in model.graph.output if value.type.tensor_type.elem_type in _REAL]
    if not there:
        raise BadModel(f"{name} gives no real numbers, expected logits or probabilities; export it without its ArgMax")
    flat = [value for value in there if len(_sizes(value)) == 2]
    chosen = (flat or there)[0].name
    return chosen, tuple(value.name for value in model.graph.output if value.name != chosen)
