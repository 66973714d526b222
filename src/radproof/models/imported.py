# SPDX-License-Identifier: Apache-2.0
"""What comes out of a stranger's model file, before its conventions are known: a graph of plain torch calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.fx import GraphModule

from radproof.core.types import Head
from radproof.models.classifier import Exact

FAR = "attacks on it say little about the original"
"""What a note says of a stand-in that answers otherwise than the quantised original."""


@dataclass(frozen=True)
class Imported:
    """A network as a graph: (N, C, H, W) float32, already normalised -> logits (N, K), channels first.

    Importers put a permutation in front of networks that take channels last, and take a softmax or sigmoid at the
    end off, so that gradients do not vanish where the network is sure.
    """

    graph: GraphModule
    channels: int  # that it takes
    size: tuple[int, int] | None  # height and width that it takes; None: any
    classes: int  # K
    batch: int | None = None  # the only number of images that it takes at once; None: any
    head: Head | None = None  # what a softmax or sigmoid that was taken off says of the head
    exact: Exact | None = None  # logits of a quantised original, where the graph only stands in for its gradients
    hints: Mapping[str, Any] = field(default_factory=dict[str, Any])  # from the file's metadata: labels, mean, std, …
    notes: tuple[str, ...] = ()  # what was done to the file's graph, in words for a report
