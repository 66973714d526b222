# SPDX-License-Identifier: Apache-2.0
"""What the guarded child process costs: PGD inside it beside the same in a process like any other, and its start.

Both sides are fresh processes that call `cell` of this file: ten steps of PGD on eight images of 224 × 224, one thread.
Rounds are interleaved. `ratio` compares the CPU-seconds of the attack, `watching` is the CPU-time of the parent
meanwhile as a share of the attack's time on the clock; `start_seconds` is a guarded call that does nothing, by the
clock.

    python -m bench.guard [--quick] [--rounds N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from radproof.core.guard import Limits, guarded

ROOT = Path(__file__).parent.parent
LIMITS = Limits(memory=8_000_000_000, cpu=None, wall=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network and one round: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        json.dump(cell(**json.loads(given.plain)), sys.stdout)
        return
    asked: dict[str, Any] = {"network": "resnet18", "images": 2, "side": 64, "steps": 2, "repeats": 2}
    if not given.quick:
        asked = {"network": "densenet121", "images": 8, "side": 224, "steps": 10, "repeats": 2}
    rounds: list[dict[str, Any]] = []
    level: tuple[str, ...] = ()
    for _ in range(1 if given.quick else given.rounds):
        plain = outside(asked)
        within, share, level = inside(asked)
        rounds.append({"plain": plain, "guarded": within, "watching": share, "start": start()})
    pairs = [
        (inner / outer)
        for found in rounds
        for inner, outer in zip(found["guarded"]["cpu_seconds"], found["plain"]["cpu_seconds"], strict=True)
    ]
    result = {
        "asked": asked,
        "level": level,
        "ratio": round(statistics.median(pairs), 4),
        "ratios": [round(pair, 4) for pair in pairs],
        "same_answer": all(found["plain"]["sum"] == found["guarded"]["sum"] for found in rounds),
        "watching": round(statistics.median(found["watching"] for found in rounds), 5),
        "start_seconds": round(statistics.median(found["start"] for found in rounds), 3),
        "rounds": rounds,
    }
    json.dump(result, sys.stdout, indent=1)


def cell(network: str, images: int, side: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds of each PGD after a rehearsal, and the sum of what it made."""
    import torch

    from radproof.attacks import attack
    from radproof.attacks.metered import Metered
    from radproof.core.goals import Misclassify
    from radproof.core.rng import generator
    from radproof.models.zoo import build

    torch.set_num_threads(1)
    labels = ("Normal", "Pneumonia", "Pneumothorax")
    torch.manual_seed(0)
    model = build(network, labels=labels, input_size=side, hidden=0, dropout=0.0).freeze()
    x = torch.rand(images, 1, side, side, generator=generator("bench", "guard"))
    part = attack["pgd"].make({"steps": steps})
    took: list[tuple[float, float]] = []
    made = x
    for _ in range(repeats + 1):
        clock, began = time.perf_counter(), time.process_time()
        rng = generator("bench", "guard", "pgd")
        made = part(Metered(model), x, Misclassify(torch.arange(images) % 3), rng=rng)
        took.append((time.process_time() - began, time.perf_counter() - clock))
    return {
        "cpu_seconds": [round(cpu, 4) for cpu, _ in took[1:]],
        "seconds": [round(clock, 4) for _, clock in took[1:]],
        "sum": float(made.double().sum()),
    }


def outside(asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.guard", "--plain", json.dumps(asked)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout)


def inside(asked: dict[str, Any]) -> tuple[dict[str, Any], float, tuple[str, ...]]:
    """What the cell tells, the share of a core that watching took, and the level reached."""
    began, clock = time.process_time(), time.perf_counter()
    done = guarded("bench.guard:cell", asked, read=[ROOT / "bench"], paths=[ROOT], limits=LIMITS)
    share = (time.process_time() - began) / (time.perf_counter() - clock)
    return done.value, share, done.level


def start() -> float:
    """Seconds by the clock of a guarded call that does nothing."""
    began = time.perf_counter()
    guarded("radproof.core.guard_child:nothing", {})
    return time.perf_counter() - began


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
