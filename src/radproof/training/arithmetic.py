# SPDX-License-Identifier: Apache-2.0
"""In which numbers a training computes, and how its chance is kept apart from everyone else's."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from radproof.core.device import gains_from_bfloat16


@dataclass(frozen=True)
class Arithmetic:
    """Device and precision of a training."""

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def __call__(self) -> AbstractContextManager[object]:
        """Context in which layers compute: bfloat16 where settled on, weights and losses always in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def settle(precision: Literal["auto", "fp32", "bf16"], device: torch.device, network: nn.Module) -> Arithmetic:
    """The arithmetic asked for; auto takes bfloat16 where this processor and network gain from it."""
    if precision == "auto":
        precision = "bf16" if gains_from_bfloat16(device, network) else "fp32"
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
