# SPDX-License-Identifier: Apache-2.0
"""A model behind a defence is a classifier like any other, and can be attacked as one.

Athalye, Carlini & Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018: a defence that breaks
gradients must be attacked through a substitute for its backward pass (BPDA) and, where random, over its expectation.
"""

import torch
from torch import Generator, Tensor

from radproof.core.rng import generator
from radproof.core.types import Backward, Classifier, Defense, Head
from radproof.errors import BadInput


class Defended:
    """model(defense(x)); the value is always the real defence's, only the backward pass is substituted.

    `backward`: none (scoring; no gradient), identity (BPDA, straight through), twin (the defence's surrogate).
    `eot`: draws of a random defence whose logits are averaged; a deterministic one is drawn once. The defence answers
    as itself with `eot=defense.votes`; an attacker may average over fewer or more draws per gradient (expectation over
    transformation). All draws of an image go through the model together, so `micro_batch` counts fewer images.
    Every call draws anew from a generator seeded by `seed`: an image's draws depend on its place among the calls and in
    the batch, so on the micro-batch too, but never on what the other images show. Raises BadInput for an unknown
    `backward` or eot < 1.
    """

    def __init__(
        self, model: Classifier, defense: Defense, *, backward: Backward = "none", seed: int = 0, eot: int = 1
    ) -> None:
        if backward not in ("none", "identity", "twin") or eot < 1:
            raise BadInput(
                f"backward must be none, identity or twin and eot at least 1; got {backward!r} and eot {eot}"
            )
        self.model, self.defense, self.backward = model, defense, backward
        self.draws = 1 if defense.deterministic else eot
        self._seeds = generator(seed, "defended")

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's classes."""
        return self.model.labels

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    @property
    def micro_batch(self) -> int:
        """The images that, with all their draws, make one pass of the model."""
        return max(1, self.model.micro_batch // self.draws)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, K) of the defended images (N, C, H, W), averaged over draws."""
        if self.draws == 1:
            return self.model(self.clean(x))
        copies = self.clean(x.repeat(self.draws, 1, 1, 1))  # one draw after the other, each of all images
        answers = [self.model(piece) for piece in copies.split(max(1, self.model.micro_batch))]
        return torch.cat(answers).unflatten(0, (self.draws, len(x))).mean(0)

    def clean(self, x: Tensor) -> Tensor:
        """What the model gets to see of x, with the chosen backward pass."""
        seed = int(torch.randint(2**62, (1,), generator=self._seeds))
        with torch.autocast(x.device.type, enabled=False):  # pixels stay pixels, whatever the model computes in
            return self._clean(x, seed)

    def _clean(self, x: Tensor, seed: int) -> Tensor:
        climbing = self.backward != "none" and torch.is_grad_enabled() and x.requires_grad
        if climbing and self.backward == "twin" and self.defense.differentiable:
            return self.defense.surrogate(x, rng=_rng(seed, x))
        real = self.defense(x.detach(), rng=_rng(seed, x))
        if not climbing:
            return real
        # The twin draws what the real one drew.
        path = x if self.backward == "identity" else self.defense.surrogate(x, rng=_rng(seed, x))
        return path + (real - path).detach()


def _rng(seed: int, x: Tensor) -> Generator:
    return Generator(device=x.device).manual_seed(seed)
