# SPDX-License-Identifier: Apache-2.0
"""What certifying adds to the network's own passes: DenseNet-121 at 224 × 224, micro-batch 8, one thread.

Rounds of certificates and of bare forward passes of the same number and size of batches take turns, so that other
work on the machine troubles both alike; the share is the median over rounds of bare over certifying time, in
CPU-seconds. A second network sees 224 × 224 of images of 1024 × 1024, where noise and resizing weigh most: its bare
passes resize too. Prints JSON.

    python -m bench.certify [--quick]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from radproof.assess.certify import Votes
from radproof.core.rng import generator
from radproof.measure.certified import guarantee
from radproof.models.classifier import ImageClassifier
from radproof.models.zoo import build

LABELS = ("Normal", "Pneumonia", "Pneumothorax")
BATCH, SIGMA, ALPHA = 8, 0.25, 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few draws: does it run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    draws, rounds = ((2, 14), 1) if quick else ((16, 64), 9)
    sides = (32,) if quick else (224, 1024)
    result = {"torch": torch.__version__, "batch": BATCH, "draws": list(draws), "rounds": rounds}
    json.dump(result | {str(side): measure(side, draws, rounds) for side in sides}, sys.stdout, indent=1)


def measure(side: int, draws: tuple[int, int], rounds: int) -> dict[str, float]:
    """CPU-seconds per draw, certifying and bare, and the share that is the network's."""
    net = network(min(side, 224))
    x = torch.rand(1, side, side, generator=generator(0))
    noisy = x.expand(BATCH, -1, -1, -1) + SIGMA * torch.randn(BATCH, 1, side, side, generator=generator(1))
    votes = Votes(net, SIGMA, micro_batch=BATCH)
    total = sum(draws)

    def certify() -> None:
        selection, estimation = votes(x, draws, rng=generator(2))
        guarantee(selection, estimation, SIGMA, ALPHA)

    pairs = [(seconds(certify), seconds(lambda: bare(net, noisy, total // BATCH))) for _ in range(rounds + 1)][1:]
    return {
        "certify_s": statistics.median(ours for ours, _ in pairs) / total,
        "bare_s": statistics.median(plain for _, plain in pairs) / total,
        "share": statistics.median(plain / ours for ours, plain in pairs),
        "noise_s": statistics.median(seconds(lambda: noise(votes, x)) for _ in range(rounds)) / BATCH,
    }


@torch.no_grad()
def bare(net: ImageClassifier, noisy: Tensor, passes: int) -> None:
    for _ in range(passes):
        net(noisy)


def noise(votes: Votes, x: Tensor) -> None:
    """A pass without the network."""
    votes.noisy(x, BATCH, rng=generator(3))


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def network(side: int) -> ImageClassifier:
    """A DenseNet-121 of random weights: what it answers costs the same."""
    return build("densenet121", labels=LABELS, input_size=side, hidden=0, dropout=0.0).freeze()


if __name__ == "__main__":
    main()
