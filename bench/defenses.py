# SPDX-License-Identifier: Apache-2.0
"""Defences against the libraries they could have been borrowed from: one thread, batches of grey images, 224 × 224.

CPU milliseconds per image, medians over rounds in which everybody has his turn; ratios are paired round by round.

1. `tvm`: a smoother that stops early is fast and wrong, so it is compared at an equal objective: scikit-image's
   Chambolle at its default stop, and the loosest of our duality gaps whose objective is no worse; the default gap
   beside them. `objective` is ‖u − f‖² + lambda TV(u), the mean over images; `exact` is its minimum.
2. `stops`: the same for Chambolle's stricter stops.
3. `art`: ART's TotalVarMin at its defaults, beside ours at its default gap and at the gap of `tvm`. ART minimises
   something else (dropped pixels, an unsquared distance, TV by whole rows and columns), so its objective in our terms
   only tells that we are no worse at what we claim. `art_as_installed` is a batch in a process whose numerical
   libraries choose their threads, as users run it: SciPy's solver then spends most of its time on waiting threads.
4. `jpeg`: our batch against a loop over Pillow, at the same quality.

The images are smooth noise, drawn radiographs and, where a folder is given, real ones. Prints JSON.

    python -m bench.defenses [--images FOLDER] [--quick]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import skimage
import torch
from art.defences.preprocessor import TotalVarMin
from numpy.typing import NDArray
from PIL import Image
from skimage.restoration import denoise_tv_chambolle

from bench import nets
from bench.rounds import timed
from radproof.core.rng import generator
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.tvm import Tvm

LAM, SIDE, QUALITY, BATCHES, STOP = 0.1, 224, 75, (8, 32), 2e-4
STRICTER = (2e-5, 5e-6)
GAPS = (0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
RNG = generator(0)

Images = NDArray[np.float32]  # (N, H, W)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of radiographs, to measure on them too")
    parser.add_argument("--quick", action="store_true", help="one small batch, one round: does it run?")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child()))
        return
    torch.set_num_threads(1)
    batches, rounds = ((2,), 1) if given.quick else (BATCHES, 9)
    count = max(batches)
    pictures = {"smooth": smooth(count), "drawn": drawn(count)}
    if given.images:
        pictures["radiographs"] = radiographs(given.images, count)
    tvm = {
        name: {str(n): equal_objective(images[:n], STOP, 200, rounds) for n in batches}
        for name, images in pictures.items()
    }
    found = {
        "versions": {"torch": torch.__version__, "skimage": skimage.__version__, "pillow": PIL.__version__},
        "lambda": LAM,
        "tvm": tvm,
        "stops": {
            name: [equal_objective(images[: batches[0]], stop, 10_000, (rounds + 2) // 3) for stop in STRICTER]
            for name, images in pictures.items()
        },
        "art": {
            name: against_art(images[: batches[0]], tvm[name][str(batches[0])]["gap"], (rounds + 2) // 3)
            for name, images in pictures.items()
        },
        "art_as_installed": as_installed(),
        "jpeg": {
            name: {str(n): against_pillow(images[:n], 3 * rounds) for n in batches} for name, images in pictures.items()
        },
    }
    print(json.dumps(found, indent=1))


def equal_objective(images: Images, stop: float, most: int, rounds: int) -> dict[str, Any]:
    theirs = partial(chambolle, images, stop, most)
    wanted = objective(theirs(), images)
    x = torch.from_numpy(images)[:, None]
    gap = next(g for g in GAPS if objective(smoothed(Tvm(LAM, g), x), images) <= wanted)
    ours, usual = Tvm(LAM, gap), Tvm(LAM)
    took = timed({"skimage": theirs, "equal": lambda: ours(x, rng=RNG), "default": lambda: usual(x, rng=RNG)}, rounds)
    return {
        "skimage_eps": stop,
        "gap": gap,
        "default_gap": usual.gap,
        "ms": per_image(took, len(images)),
        "speed_up": {name: paired(took, "skimage", name) for name in ("equal", "default")},
        "objective": {
            "skimage": wanted,
            "equal": objective(smoothed(ours, x), images),
            "default": objective(smoothed(usual, x), images),
            "exact": objective(smoothed(Tvm(LAM, 1e-5, 20_000), x.double()), images),
        },
        "iterations": statistics.mean(ours.solve(x).iterations.tolist()),
        "default_iterations": statistics.mean(usual.solve(x).iterations.tolist()),
    }


def against_art(images: Images, gap: float, rounds: int) -> dict[str, Any]:
    np.random.seed(0)  # what ART draws from
    x, last = torch.from_numpy(images)[:, None], images[..., None]  # ART loops over the last axis
    ours, loose, theirs = Tvm(LAM), Tvm(LAM, gap), TotalVarMin()
    took = timed(
        {"art": lambda: theirs(last), "loose": lambda: loose(x, rng=RNG), "default": lambda: ours(x, rng=RNG)}, rounds
    )
    return {
        "gap": gap,
        "ms": per_image(took, len(images)),
        "speed_up": {name: paired(took, "art", name) for name in ("loose", "default")},
        "objective": {
            "untouched": objective(images, images),
            "art": objective(theirs(last)[0][..., 0], images),
            "loose": objective(smoothed(loose, x), images),
            "default": objective(smoothed(ours, x), images),
        },
    }


def as_installed() -> dict[str, Any]:
    """CPU and wall milliseconds per image with the threads that everybody's libraries choose."""
    told = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-m", "bench.defenses", "--child"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=told).stdout)


def child() -> dict[str, Any]:
    images, found = drawn(4), {}
    x, last, ours, theirs = torch.from_numpy(images)[:, None], images[..., None], Tvm(LAM), TotalVarMin()
    work: dict[str, Callable[[], object]] = {"art": lambda: theirs(last), "radproof": lambda: ours(x, rng=RNG)}
    for name, run in work.items():
        run()
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found[name] = {"cpu_ms": round(250 * cpu, 2), "wall_ms": round(250 * wall, 2)}
    return {"threads": torch.get_num_threads(), **found}


def against_pillow(images: Images, rounds: int) -> dict[str, Any]:
    x, ours = torch.from_numpy(images)[:, None], Jpeg(QUALITY)
    same = np.array_equal(np.stack([pillow(image) for image in images]), ours(x, rng=RNG)[:, 0].numpy())
    took = timed({"pillow": lambda: [pillow(image) for image in images], "radproof": lambda: ours(x, rng=RNG)}, rounds)
    return {
        "ms": per_image(took, len(images)),
        "speed_up": paired(took, "pillow", "radproof"),
        "same_pixels": same,
    }


def chambolle(images: Images, stop: float, most: int) -> Images:
    return np.stack([denoise_tv_chambolle(f, weight=LAM / 2, eps=stop, max_num_iter=most) for f in images])


def pillow(image: NDArray[np.float32]) -> NDArray[np.float32]:
    stream = BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(stream)) / np.float32(255)


def smoothed(part: Tvm, x: torch.Tensor) -> NDArray[Any]:
    return part.solve(x).u.numpy()


def objective(u: NDArray[Any], f: NDArray[Any]) -> float:
    """‖u − f‖² + lambda TV(u), the mean over images."""
    u, f = u.astype(np.float64), f.astype(np.float64)
    across, down = np.zeros_like(u), np.zeros_like(u)
    across[:, :, :-1], down[:, :-1] = np.diff(u, axis=2), np.diff(u, axis=1)
    return float((((u - f) ** 2).sum() + LAM * np.hypot(across, down).sum()) / len(u))


def per_image(took: Mapping[str, list[float]], count: int) -> dict[str, float]:
    return {name: round(1000 * statistics.median(seconds) / count, 3) for name, seconds in took.items()}


def paired(took: Mapping[str, list[float]], theirs: str, ours: str) -> float:
    return round(statistics.median(a / b for a, b in zip(took[theirs], took[ours], strict=True)), 3)


def smooth(count: int) -> Images:
    """Soft blotches with noise."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 1, 14, 14), dtype=np.float32))
    soft = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)[:, 0].numpy()
    return np.clip(soft + 0.02 * rng.normal(size=soft.shape), 0, 1).astype(np.float32)


def drawn(count: int) -> Images:
    return np.ascontiguousarray(nets.films(count, SIDE, seed=1).x[:, 0].numpy())


def radiographs(folder: Path, count: int) -> Images:
    files = sorted(folder.glob("*.png"))[:count]
    opened = [Image.open(file).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS) for file in files]
    return np.stack([np.asarray(image, dtype=np.float32) / 255 for image in opened])


if __name__ == "__main__":
    main()
