# SPDX-License-Identifier: Apache-2.0
"""What a gradient costs inside each of the four main attacks, over a bare forward pass and input gradient.

CPU-seconds on one thread, DenseNet-121 with random weights, batch 8: 1.0 means that the attack's own arithmetic
(random views, styles, neighbours, projections) costs nothing beside the network's. Prints JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from radproof.attacks import attack
from radproof.attacks.cost import gradients_per_image
from radproof.attacks.metered import Metered, Precision
from radproof.attacks.objective import Objective
from radproof.attacks.pool import Pool
from radproof.core.device import fingerprint
from radproof.core.goals import Misclassify
from radproof.core.rng import generator

BATCH = 8
RECIPES = {
    "sia": {"steps": 1, "copies": 4},
    "stm": {"steps": 1, "copies": 4},
    "pgn": {"steps": 1, "samples": 2},
    "usmm": {"steps": 1, "scales": 4, "mixes": 1},
}


@dataclass
class Grey:
    """A backbone for colour behind one grey channel."""

    backbone: nn.Module
    labels: tuple[str, ...] = ("Normal", "Pneumonia", "Pneumothorax")
    head: str = "softmax"
    micro_batch: int = BATCH

    def __call__(self, x: Tensor, /) -> Tensor:
        colour = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        return self.backbone((colour - 0.45) / 0.23)


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(model: Grey, side: int, precision: Precision, repeats: int) -> dict[str, object]:
    rng = generator("bench", side)
    x, y = torch.rand(BATCH, 1, side, side, generator=rng), torch.arange(BATCH) % 3
    others = torch.rand(16, 1, side, side, generator=rng)
    bound = {"pool": Pool(others, torch.arange(16) % 3), "bank": others}
    goal, meter = Misclassify(y), Metered(model, precision=precision)  # type: ignore[arg-type]

    def bare() -> Tensor:
        return Objective(meter, goal).gradient(x)

    bare()
    base: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in RECIPES}
    for _ in range(repeats):
        for name, params in RECIPES.items():
            recipe = attack[name]
            part = recipe.make(params, **{need: bound[need] for need in recipe.needs})
            count = gradients_per_image(name, recipe.settle(params))
            here = statistics.mean(seconds(bare) for _ in range(2))  # beside each, as the machine's speed drifts
            spent = seconds(lambda part=part: part(meter, x, goal, rng=rng))
            base.append(here)
            ratios[name].append(spent / count / here)
    return {
        "side": side,
        "precision": precision,
        "bare_ms_per_image": round(1000 * statistics.median(base) / BATCH, 2),
        "cost_per_gradient": {name: round(statistics.median(found), 3) for name, found in ratios.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    backbone = timm.create_model("densenet121", pretrained=False, num_classes=3).eval().requires_grad_(False)
    rows = [
        measure(Grey(backbone), side, precision, given.repeats)
        for side in given.sides
        for precision in given.precisions
    ]
    about = {"network": "densenet121", "batch": BATCH, "cpus": os.cpu_count(), **fingerprint(torch.device("cpu"))}
    json.dump({"about": about, "rows": rows}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
