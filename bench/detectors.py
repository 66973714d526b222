# SPDX-License-Identifier: Apache-2.0
"""What detectors add to the network's own passes: grey images of 224 × 224, one thread, batches of 1 and of 8.

1. `squeezers`: CPU-milliseconds of a squeezer and of a forward pass, which take turns, and `ratio`: squeezing and
   the pass of the squeezed view over the pass alone, the median over rounds.
2. `detectors`: every detector of the registry that clean images suffice for. `own_ms` is what scoring an image takes
   without the network: detectors ask a look whose passes were made before the clock started, and which still
   squeezes the images; `passes` are those asked for per image, and `equivalents` these and the own work in passes.
   Detectors that could not be fitted are listed under `left_out`, with the reason.

Images are drawn radiographs; networks have random weights, which cost the same. Times are medians over rounds.
Prints JSON.

    python -m bench.detectors [--quick]
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench import nets
from bench.rounds import timed
from radproof.core.rng import generator
from radproof.data.phantom import LABELS
from radproof.detectors import detector
from radproof.detectors.fitted import Fitted, learn, taught_on
from radproof.detectors.look import Look
from radproof.detectors.squeezers import squeezers
from radproof.errors import RadproofError
from radproof.models.classifier import ImageClassifier
from radproof.models.layers import Seen
from radproof.models.zoo import build

NETWORKS, BATCHES, CLEAN = ("densenet121", "tf_efficientnet_lite0"), (1, 8), 32
RNG = generator(0)


class Asked(Look):
    """A look whose passes are told: what it takes to answer is what detectors do themselves."""

    def __init__(self, look: Look, told: Mapping[str, Seen]) -> None:
        super().__init__(look.model, look.x)
        self.told, self.asked = told, list[str]()

    def seen(self, squeezer: str = "") -> Seen:
        if squeezer not in self.asked:
            self.asked.append(squeezer)
            self.squeezed(squeezer)
        return self.told[squeezer]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network on small images: does it run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    side, names, rounds = (64, ("cxrnet",), 2) if quick else (224, NETWORKS, 15)
    x = nets.films(CLEAN, side, seed=1).x[:, :1].contiguous()
    found = {"torch": torch.__version__, "side": side, "rounds": rounds, "clean": CLEAN}
    json.dump(found | {name: measure(name, x, rounds) for name in names}, sys.stdout, indent=1)


def measure(name: str, x: Tensor, rounds: int) -> dict[str, Any]:
    """Everything for one network."""
    net = build(name, labels=LABELS, input_size=x.shape[-1], hidden=256).freeze()
    net.micro_batch = max(BATCHES)
    detectors, left_out = fitted(net, x)
    batches = {str(n): squeezing(net, x[:n], rounds) for n in BATCHES}
    return {
        "forward_ms": {n: row["forward_ms"] for n, row in batches.items()},
        "squeezers": {n: row["squeezers"] for n, row in batches.items()},
        "detectors": {
            kind: {
                str(n): scoring(one, x[:n], batches[str(n)]["forward_ms"], told, rounds)
                for n, told in ((n, everything(net, x[:n])) for n in BATCHES)
            }
            for kind, one in detectors.items()
        },
        "left_out": left_out,
    }


def fitted(net: ImageClassifier, x: Tensor) -> tuple[dict[str, Fitted], dict[str, str]]:
    """By name, the detectors that learnt from x; and why others did not."""
    done: dict[str, Fitted] = {}
    left_out: dict[str, str] = {}
    pieces = taught_on(net, x)
    for recipe in detector:
        try:
            done[recipe.name] = learn(recipe.make({}), pieces)
        except RadproofError as error:
            left_out[recipe.name] = str(error)
    return done, left_out


def squeezing(net: ImageClassifier, x: Tensor, rounds: int) -> dict[str, Any]:
    """Each squeezer beside the network."""
    work: dict[str, Callable[[], object]] = {
        name: lambda part=part: part(x, rng=RNG) for name, part in squeezers().items()
    }
    with torch.no_grad():
        took = timed({**work, "": lambda: net(x)}, rounds)
    passes = took.pop("")
    return {
        "forward_ms": per_image(passes, x),
        "squeezers": {
            name: {
                "squeezer_ms": per_image(seconds, x),
                "ratio": round(statistics.median((a + b) / b for a, b in zip(seconds, passes, strict=True)), 4),
            }
            for name, seconds in took.items()
        },
    }


def everything(net: ImageClassifier, x: Tensor) -> tuple[Look, dict[str, Seen]]:
    """All passes that a detector may ask for."""
    look = Look(net, x)
    return look, {name: look.seen(name) for name in ("", *squeezers())}


def scoring(
    one: Fitted, x: Tensor, forward_ms: float, told: tuple[Look, dict[str, Seen]], rounds: int
) -> dict[str, Any]:
    """A detector's own work and how many passes it asks for."""
    asked = Asked(*told)
    with torch.no_grad():
        one.judge(asked)
        seconds = timed({"": lambda: one.judge(Asked(*told))}, rounds)[""]
    own = per_image(seconds, x)
    return {"own_ms": own, "passes": len(asked.asked), "equivalents": round(len(asked.asked) + own / forward_ms, 3)}


def per_image(seconds: list[float], x: Tensor) -> float:
    return round(1000 * statistics.median(seconds) / len(x), 3)


if __name__ == "__main__":
    main()
