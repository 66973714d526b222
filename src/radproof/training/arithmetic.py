# SPDX-License-Identifier: Apache-2.0
"""In which numbers a training computes, and how its chance is kept apart from everyone else's."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from radproof.core.device import has_bfloat16


@dataclass(frozen=True)
class Arithmetic:
    """Device and precision of a training."""

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def __call__(self) -> AbstractContextManager[object]:
        """Context in which layers compute: bfloat16 where settled on, weights and losses always in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def settle(precision: Literal["auto", "fp32", "bf16"], device: torch.device, network: nn.Module) -> Arithmetic:
    """The arithmetic asked for; auto follows processor and network, not a stopwatch: the same every time.

    bfloat16 makes plain convolutions half as fast again on a CPU that has it, but the gradients of grouped ones slower
    (EfficientNet-Lite0 learns 35 images a second in float32, 22 in bfloat16), so networks with those take float32.
    """
    if precision == "auto":
        grouped = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())
        slower = grouped and device.type == "cpu"
        precision = "bf16" if has_bfloat16(device) and not slower else "fp32"
    return Arithmetic(device, precision)


@contextmanager
def repeatable(seed: int, device: torch.device) -> Generator[None, None, None]:
    """Dropout draws from the global generators: lend them a seed, give them back as they were; same bytes on CUDA."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
