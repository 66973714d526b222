# SPDX-License-Identifier: Apache-2.0
"""Seconds per epoch of the default training recipe and of adversarial training, on two cores.

A DenseNet-121 at 224 × 224 learns a few hundred drawn radiographs; images of the training and the validation fold are
as 3 to 1, so an epoch scales to that of the published study, 10,800 training images, by their number alone. Its 12
minutes per epoch were measured on 32 cores. These are wall-clock times: `cores_had` tells how much of the two cores
the run was given; below about 1.9 the times are those of a busy machine.

1. `fine_tuning`: the last 50 layers, after a head trained on cached features (`head`).
2. `adversarial`: the same on images attacked by three steps of PGD, judged under attack after each epoch.

Prints JSON.

    python -m bench.training [--quick]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench import nets
from radproof.data.phantom import LABELS
from radproof.training.hardening import AdversarialRecipe
from radproof.training.loop import train
from radproof.training.recipe import TrainingRecipe

SIDE, CORES, PUBLISHED = 224, 2, {"images": 10_800, "seconds": 720, "cores": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images: does it run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(CORES)
    found = {
        "network": "densenet121",
        "side": SIDE,
        "cores": CORES,
        "published": PUBLISHED,
        "fine_tuning": epochs(24 if quick else 240, 2 if quick else 4, {}),
        "adversarial": epochs(24 if quick else 96, 2, hardening(24 if quick else 96)),
    }
    print(json.dumps(found, indent=1))


def hardening(count: int) -> dict[str, Any]:
    """PGD of three steps; of the validation fold as large a part is attacked as in the published study's would be."""
    attacked = AdversarialRecipe().validation_images * count / PUBLISHED["images"]
    return {"adversarial": {"method": "pgd", "steps": 3, "validation_images": max(2, round(attacked))}}


def epochs(count: int, number: int, more: dict[str, Any]) -> dict[str, Any]:
    """Train on `count` images for `number` epochs, the first of which is a rehearsal."""
    films = nets.films(4 * count // 3, SIDE, seed=2)
    x, y = films.x[:, :1], films.y
    recipe = TrainingRecipe(head_epochs=3, epochs=number, patience=number + 3, **more)
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            recipe,
            x[:count],
            y[:count],
            x[count:],
            y[count:],
            labels=LABELS,
            head="softmax",
            device=torch.device("cpu"),
            folder=Path(folder) / "model",
        )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    head, tuning = trained.seconds[1 : recipe.head_epochs], trained.seconds[recipe.head_epochs + 1 :]
    scale = PUBLISHED["images"] / count
    seconds = scale * statistics.median(tuning)
    return {
        "images": {"training": count, "validation": len(x) - count},
        "precision": trained.card.recipe["precision"],
        "cores_had": round(cpu / wall, 2),
        "seconds": [round(value, 2) for value in tuning],
        "published_epoch_seconds": round(seconds, 1),
        "published_epoch_core_seconds": round(CORES * seconds, 1),
        "published_head_epoch_seconds": round(scale * statistics.median(head), 2),
        "speed_up_wall": round(PUBLISHED["seconds"] / seconds, 3),
        "speed_up_per_core": round(PUBLISHED["seconds"] * PUBLISHED["cores"] / (CORES * seconds), 1),
    }


if __name__ == "__main__":
    main()
