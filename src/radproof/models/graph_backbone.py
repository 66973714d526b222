# SPDX-License-Identifier: Apache-2.0
"""The lower part of an imported graph as a backbone: maps, pooled features, and stages that can be looked at."""

from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule


class Tap(nn.Module):
    """Lets maps pass; keeps them, channels second, while it is open."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.kept: list[Tensor] | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """The same maps."""
        if self.kept is not None:
            self.kept.append(maps.permute(0, 3, 1, 2) if self.channels_last else maps)
        return maps


class Pieces(nn.Module):
    """A graph that takes `batch` images at once and no other number: the last piece is filled up with its last image.

    With batch None the graph takes what it is given.
    """

    def __init__(self, graph: GraphModule, batch: int | None) -> None:
        super().__init__()
        self.graph = graph
        self.batch = batch

    def forward(self, x: Tensor) -> Tensor:
        """(N, …) -> (N, …)."""
        if self.batch is None or len(x) == self.batch:
            return self.graph(x)
        return torch.cat([self.graph(piece) for piece in _filled(x, self.batch)])[: len(x)]


def _filled(x: Tensor, batch: int) -> list[Tensor]:
    short = -len(x) % batch
    return list(torch.cat([x, x[-1:].expand(short, *x.shape[1:])]).split(batch))


class GraphBackbone(nn.Module):
    """Implements models.classifier.Backbone. `stages` are empty modules through which each stage's maps pass.

    They are passed only while a hook hangs on one, or `see` asks, so that nothing is kept in vain.
    """

    def __init__(
        self, body: GraphModule, head: GraphModule, *, num_features: int, width: int, stages: int, batch: int | None
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.head_hidden_size = width
        self.body = Pieces(body, batch)
        self.head = Pieces(head, batch)
        self.stages = nn.Sequential(*(nn.Identity() for _ in range(stages)))

    def forward_features(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) -> feature maps (N, F, h, w)."""
        return self.see(x)[0] if self._watched() else self.body(x)

    def forward_head(self, maps: Tensor) -> Tensor:
        """Feature maps -> features (N, width)."""
        return self.head(maps)

    def see(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Feature maps as above, and the maps (N, C, h, w) of each stage by name, in order."""
        taps = [module for module in self.body.modules() if isinstance(module, Tap)]
        for tap in taps:
            tap.kept = []
        try:
            maps = self.body(x)
            kept = [torch.cat(cast(list[Tensor], tap.kept))[: len(x)] for tap in taps]
        finally:
            for tap in taps:
                tap.kept = None
        passed = zip(self.stages.named_children(), kept, strict=True)
        return maps, {f"stages.{name}": stage(seen) for (name, stage), seen in passed}

    def _watched(self) -> bool:
        hooks = chain.from_iterable(stage._forward_hooks for stage in self.stages)  # pyright: ignore[reportPrivateUsage]
        return any(True for _ in hooks)
