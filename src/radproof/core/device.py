# SPDX-License-Identifier: Apache-2.0
"""Which processor to compute on, and what a run must record about it to be repeatable."""

import platform
from typing import Literal

import torch

from radproof.errors import BadInput

Device = Literal["auto", "cpu", "cuda", "mps"]


def resolve(device: str) -> torch.device:
    """The torch device for auto | cpu | cuda | mps. Raises BadInput where it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
    if device not in there:
        raise BadInput(f"device must be one of auto, cpu, cuda, mps; got {device!r}")
    if not there[device]:
        raise BadInput(f"device {device!r} was asked for and is not available here; use --device auto or cpu")
    return torch.device(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 natively, so that it is faster and not merely possible."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage]
    return False


def gains_from_bfloat16(device: torch.device, network: object) -> bool:
    """Whether bfloat16 makes this network's gradients faster: a rule, not a stopwatch, so the answer stays the same.

    It makes plain convolutions half as fast again on a CPU that has it, but the gradients of grouped ones slower
    (EfficientNet-Lite0 learns 35 images a second in float32, 22 in bfloat16).
    """
    if not has_bfloat16(device):
        return False
    layers = network.modules() if isinstance(network, torch.nn.Module) else ()
    grouped = any(isinstance(layer, torch.nn.Conv2d) and layer.groups > 1 for layer in layers)
    return device.type != "cpu" or not grouped


def fingerprint(device: torch.device) -> dict[str, str | int]:
    """What equal bytes depend on: torch build, device and processor type, threads."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
