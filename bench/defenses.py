# SPDX-License-Identifier: Apache-2.0
"""Defences against the libraries they could have been borrowed from: one thread, 8 grey images of 224 × 224.

TVM is compared at an equal objective, as a smoother that stops early is fast and wrong: for each stop of
scikit-image's Chambolle, the loosest of our duality gaps whose objective is no worse. JPEG is compared with a loop
over Pillow. Prints JSON: CPU milliseconds per image, the best of several runs.

    python bench/defenses.py [--images FOLDER]
"""

import argparse
import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from skimage.restoration import denoise_tv_chambolle

from radproof.core.rng import generator
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.tvm import Tvm

LAM, SIDE, BATCH = 0.1, 224, 8
GAPS = (0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, help="a folder of radiographs; smooth noise is used without it")
    torch.set_num_threads(1)
    images = _images(parser.parse_args().images)
    x = torch.from_numpy(images)[:, None]
    rng = generator(0)
    print(
        json.dumps(
            {
                "versions": {"torch": torch.__version__, "skimage": skimage.__version__},
                "batch": list(x.shape),
                "tvm": [_tvm(x, images, stop) for stop in (2e-4, 2e-5, 5e-6)],
                "tvm_default_ms": _ms(lambda: Tvm(LAM)(x, rng=rng)),
                "tvm_iterations": Tvm(LAM).solve(x).iterations.tolist(),
                "jpeg_ms": _ms(lambda: Jpeg(75)(x, rng=rng)),
                "pillow_loop_ms": _ms(lambda: [_pillow(image) for image in images]),
            },
            indent=1,
        )
    )


def _tvm(x: torch.Tensor, images: np.ndarray, stop: float) -> dict[str, float]:
    def theirs() -> np.ndarray:
        return np.stack([denoise_tv_chambolle(f, weight=LAM / 2, eps=stop, max_num_iter=10_000) for f in images])

    wanted = _objective(theirs(), images)
    gap = next(g for g in GAPS if _objective(Tvm(LAM, g).solve(x).u.numpy(), images) <= wanted)
    ours = Tvm(LAM, gap)
    rng = generator(0)
    return {
        "skimage_eps": stop,
        "skimage_objective": wanted,
        "skimage_ms": _ms(theirs),
        "our_gap": gap,
        "our_objective": _objective(ours.solve(x).u.numpy(), images),
        "our_ms": _ms(lambda: ours(x, rng=rng)),
    }


def _objective(u: np.ndarray, f: np.ndarray) -> float:
    """‖u − f‖² + lambda TV(u), the mean over images."""
    u, f = u.astype(np.float64), f.astype(np.float64)
    across, down = np.zeros_like(u), np.zeros_like(u)
    across[:, :, :-1], down[:, :-1] = np.diff(u, axis=2), np.diff(u, axis=1)
    return float((((u - f) ** 2).sum() + LAM * np.hypot(across, down).sum()) / len(u))


def _pillow(image: np.ndarray) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream)) / np.float32(255)


def _ms(work: Callable[[], object], runs: int = 7) -> float:
    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    once()
    return round(min(once() for _ in range(runs)) / BATCH * 1000, 3)


def _images(folder: Path | None) -> np.ndarray:
    if folder is None:
        rng = np.random.default_rng(0)
        coarse = torch.from_numpy(rng.random((BATCH, 1, 14, 14), dtype=np.float32))
        smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)[:, 0].numpy()
        return np.clip(smooth + 0.02 * rng.normal(size=smooth.shape), 0, 1).astype(np.float32)
    files = sorted(folder.glob("*.png"))[:BATCH]
    opened = [Image.open(file).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS) for file in files]
    return np.stack([np.asarray(image, dtype=np.float32) / 255 for image in opened])


if __name__ == "__main__":
    main()
