# SPDX-License-Identifier: Apache-2.0
"""Randomness is always an argument. These helpers keep the generator's seed and device right."""

import hashlib
import json

import numpy as np
import torch
from torch import Generator, Tensor


def seed_for(*parts: object) -> int:
    """A 63-bit seed from anything JSON can write: the same parts, the same seed, on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object, device: torch.device | str = "cpu") -> Generator:
    """A torch generator seeded by its parts, for example generator(seed, "sia", eps, batch)."""
    return Generator(device=device).manual_seed(seed_for(*parts))


def numpy_generator(*parts: object) -> np.random.Generator:
    """The same for NumPy."""
    return np.random.default_rng(seed_for(*parts))


def uniform_like(x: Tensor, radius: float, rng: Generator) -> Tensor:
    """U(-radius, radius), shaped like x."""
    return torch.empty_like(x, memory_format=torch.contiguous_format).uniform_(-radius, radius, generator=rng)


def normal_like(x: Tensor, sigma: float, rng: Generator) -> Tensor:
    """N(0, sigma^2), shaped like x."""
    return torch.empty_like(x, memory_format=torch.contiguous_format).normal_(0, sigma, generator=rng)
