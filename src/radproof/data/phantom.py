# SPDX-License-Identifier: Apache-2.0
"""Chest X-ray phantoms for demos and tests: cartoons with exact anatomy, never clinical material.

The attenuation model. Positions are in centimetres of a patient who faces us (his left is on the image's right, y runs
down); `size` pixels cover `FIELD_CM`. Every part adds its line integral to the attenuation `A` (no unit)::

    A = SOFT * body - AIR * lung * (1 - heart) + bones + vessels + shadows + opacity - rim + sign of the disease

`body` and `lung` are path lengths in cm, `SOFT` is the coefficient of soft tissue, `AIR` what inflated lung saves of
it (1/cm). The focal spot blurs `exp(-A)` (Beer-Lambert), the detector counts `N ~ Poisson(N0 exp(-A))` photons, and the
film is ``grey = logistic((log(N0 / N) - level) / width)``, where automatic exposure sets `level` by the film's mean.
Habitus, age and sex belong to the patient; pose, view, exposure, window, blur and noise are drawn for each image.

The signs. *Pneumonia*: alveoli fill in patches, vessels drown and airways show dark (air bronchograms). *Pneumothorax*:
a thin bright pleural line beyond which there are no vessels. Films of every class have smooth soft-tissue shadows, one
broad opacity and one hyperlucent rim, of the same places, shapes and densities; a sign comes on top and gives back its
own mean over `MATCH_CM`. So the class lies in structure, not in density: neither thumbnail nor histogram tells it. The
random numbers do not depend on the label: one (seed, patient, image) with three labels is one body in three states.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from radproof.core.rng import numpy_generator
from radproof.data.chest import FIELD_CM, Chest, Field, Habitus, Mask, Pose, shot, soft
from radproof.errors import BadInput

LABELS = ("Normal", "Pneumonia", "Pneumothorax")
MIN_SIZE = 32
SOFT, AIR = 0.19, 0.135  # 1/cm at about 70 keV
MATCH_CM = 1.25
THINNEST = 0.55  # pixels: nothing is drawn with a smaller standard deviation, or it would be lost at 64 pixels
# Peak line integrals, the larger kinds first.
BACK_RIB, FRONT_RIB, SPINE, CLAVICLE, TRACHEA = 0.36, 0.16, 0.32, 0.28, 0.28
HILUM, ARTERY, BRONCHUS, PLEURA = 0.35, 0.25, 0.20, 0.36
MOTTLE = 0.68  # swing of a consolidation's density, as a part of it
GENERATIONS = 4  # of vessels; the last has no visible airways


@dataclass(frozen=True)
class Phantom:
    """One film with all that is known of it, so that tests and demos have exact truth to compare with."""

    image: NDArray[np.uint8] | NDArray[np.uint16]  # (H, W)
    label: str
    patient: str
    view: str
    age: int
    sex: str
    lungs: Mask  # (H, W)
    lesion: Mask  # (H, W), empty for Normal
    number: int  # of the patient: what `draw` calls `patient`
    shot: int  # of the patient's films: what `draw` calls `image`


def draw(label: str, *, size: int = 256, seed: int = 0, patient: int = 0, image: int = 0, bits: int = 8) -> Phantom:
    """Draw one phantom, the same bytes for the same arguments, so that a demo can be repeated anywhere."""
    _check(label in LABELS, "label", label, f"one of {', '.join(LABELS)}", "choose one of these")
    _check_film(size, bits)
    habitus, view, pose, chest, rng = shot(size=size, seed=seed, patient=patient, image=image)
    bones = _bones(chest, habitus, pose, rng)
    vessels, airways = (tree * chest.air for tree in _trees(habitus, pose, rng))
    shadows = _shadows(chest, rng)
    change, lesion = _disease(label, chest, vessels, airways, pose, rng)
    film = _film(_torso(chest, habitus) + bones + vessels + shadows + change, pose, rng)
    grey = np.rint(film * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    lesion &= chest.lungs
    about = (f"phantom-{patient:04d}", view, habitus.age, habitus.sex)
    return Phantom(grey, label, *about, chest.lungs, lesion, patient, image)


def phantoms(count: int, *, size: int = 256, seed: int = 0, bits: int = 8) -> Iterator[Phantom]:
    """Draw `count` phantoms in equal classes, one to three per patient, as a hospital's archive would hold them."""
    _check(count >= 1, "count", count, "at least 1", "ask for one phantom or more")
    _check_film(size, bits)
    return _archive(count, size, seed, bits)


def _archive(count: int, size: int, seed: int, bits: int) -> Iterator[Phantom]:
    """Draw lazily, while `phantoms` refuses bad input at once."""
    rng = numpy_generator("phantoms", seed)
    patient, image, left = -1, 0, 0
    for index in rng.permutation(np.arange(count) % len(LABELS)):
        if left == 0:
            patient, image, left = patient + 1, 0, int(rng.integers(1, 4))
        yield draw(LABELS[index], size=size, seed=seed, patient=patient, image=image, bits=bits)
        image, left = image + 1, left - 1


def _check(good: bool, name: str, given: object, expected: str, remedy: str) -> None:
    """Refuse early, with the three things a reader needs."""
    if not good:
        raise BadInput(f"{name} is {given!r}, expected {expected}: {remedy}.")


def _check_film(size: int, bits: int) -> None:
    """Refuse a film too small to show the signs, or of a depth no detector stores."""
    _check(size >= MIN_SIZE, "size", size, f"at least {MIN_SIZE} pixels", "ask for a larger picture")
    _check(bits in (8, 16), "bits", bits, "8 or 16", "choose one of these")


def _blur(x: Field, pixels: float) -> Field:
    """Blur without changing the mean."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, pixels, mode="nearest", truncate=3.0)


def _splat(points: Field, weights: Field, pose: Pose, cm: float) -> Field:
    """Spread weighted points (P, 2) as Gaussians of `cm`: lines, blobs and mottle look alike at any size."""
    n, at = pose.size, pose.pixels(points)
    low = np.floor(at).astype(np.intp)
    fx, fy = (at - low).T
    flat = np.zeros((n + 2) ** 2)
    for i, j, part in ((0, 0, (1 - fx) * (1 - fy)), (1, 0, fx * (1 - fy)), (0, 1, (1 - fx) * fy), (1, 1, fx * fy)):
        cx, cy = np.clip(low[:, 0] + i, -1, n) + 1, np.clip(low[:, 1] + j, -1, n) + 1
        flat += np.bincount(cy * (n + 2) + cx, part * weights, (n + 2) ** 2)
    return _blur(flat.reshape(n + 2, n + 2)[1:-1, 1:-1].astype(np.float32), max(cm / pose.pixel, THINNEST))


def _lines(start: Field, bend: Field, end: Field, peak: float, pose: Pose, cm: float) -> Field:
    """Draw curves (N, 2) of one attenuation and one width: vessels, airways, clavicles."""
    longest = float(np.abs(end - start).sum(-1).max())
    steps = max(2, math.ceil(1.5 * longest / pose.pixel))
    t = ((np.arange(steps) + 0.5) / steps)[:, None, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    spacing = np.linalg.norm(end - start, axis=-1) / steps / pose.pixel
    sigma = math.hypot(max(cm / pose.pixel, THINNEST), 0.4)  # 0.4 pixels: what the bilinear spread adds
    weights = np.broadcast_to(peak * spacing * sigma * math.sqrt(2 * math.pi), points.shape[:2])
    return _splat(points.reshape(-1, 2), weights.ravel(), pose, cm)


def _mottle(rng: Generator, pose: Pose, cm: float, count: int) -> Field:
    """Draw a smooth random field of unit spread and grain `cm`, the same one at every size."""
    area = 1.2 * FIELD_CM
    points, weights = rng.uniform(-area / 2, area / 2, (count, 2)), rng.normal(0, 1, count)
    gain = 2 * max(cm / pose.pixel, THINNEST) * math.sqrt(math.pi / count) * area / pose.pixel
    return _splat(points, weights * gain, pose, cm)


def _torso(chest: Chest, body: Habitus) -> Field:
    """Soft tissue of neck, sloping shoulders and flanks, less the air."""
    x, y = chest.x, chest.y
    flank = body.half_width + body.wall + 3.0 + np.clip(-(y + 6), 0, 8) * 1.1
    thick = np.sqrt(np.clip(1 - (x / flank) ** 2, 0, 1)) * (1 - 0.012 * np.clip(-y, 0, 18))
    shoulder = soft(y + 17.5 - 0.012 * x**2 - 0.1 * np.abs(x), 0.5)
    neck = 0.75 * soft(5.5 - np.abs(x), 0.4)
    chord = 15 * np.sqrt(np.clip(1 - (1 - chest.reach) ** 2, 0, 1))
    return SOFT * body.depth * thick * np.maximum(shoulder, neck) - AIR * chord * chest.lung * (1 - 0.85 * chest.heart)


def _bones(chest: Chest, body: Habitus, pose: Pose, rng: Generator) -> Field:
    """Draw ribs as bands of a running phase, spine and clavicles; the trachea is a dark bone, so to say."""
    y, a, edge = chest.y, np.abs(chest.x), max(0.12, 0.5 * pose.pixel)
    cage = soft(chest.reach + 0.02, 0.01 + 0.02 * pose.pixel) * soft(11 - y, 0.4) * soft(y - body.apex + 1, 0.4)
    back = _band(y - body.rib_slope * 0.3 * a - 0.028 * a**2 + rng.uniform(0, 3), body.rib_gap, edge)
    front = _band(y + 0.75 * a - 0.012 * a**2 + rng.uniform(0, 3), body.rib_gap * 1.25, edge)
    back, front = BACK_RIB * back * soft(a - 2.5, 0.3), FRONT_RIB * front * soft(a - 4.5, 1.0) * soft(6 - y, 2.0)
    spine = SPINE * soft(1.9 - a, 0.2) * (0.8 + 0.2 * np.cos(2 * np.pi * (y / 2.6 + rng.random())) ** 2)
    trachea = TRACHEA * soft(0.85 - np.abs(chest.x + 0.2), 0.15) * soft(-3.5 - y, 0.3)
    knob = body.apex + 3.0 + rng.normal(0, 0.7)
    start = np.array([[-1.8, knob + 1], [1.8, knob + 1]])
    end = np.array([[-14.5, knob - 2.2], [14.5, knob - 2.2]]) + rng.normal(0, 0.4, (2, 2))
    clavicles = _lines(start, (start + end) / 2 + [0, 1], end, CLAVICLE, pose, 0.42)
    return cage * (back + front) + spine - trachea + clavicles


def _band(run: Field, gap: float, edge: float) -> Field:
    """One rib per `gap`: brighter at its two cortices than in its marrow."""
    off, half = np.abs((run / gap) % 1 - 0.5) * gap, 0.26 * gap
    return soft(half - off, edge) * (0.65 + 0.35 * np.clip(off / half, 0, 1) ** 3)


def _trees(body: Habitus, pose: Pose, rng: Generator) -> tuple[Field, Field]:
    """Branch vessels from the hila, and airways which run beside them."""
    side = np.repeat([-1.0, 1.0], 8)
    angle = np.tile(np.linspace(-1.25, 1.2, 8), 2) + rng.normal(0, 0.12, 16)
    start = np.stack([side * rng.normal(3.4, 0.2, 16), rng.normal(0.5, 1.0, 16)], -1)
    hila = _splat(np.array([[-3.6, 0.8], [3.8, 0.2]]), np.ones(2), pose, 1.5)
    vessels, airways = HILUM * hila / max(float(hila.max()), 1e-6), np.zeros_like(hila)
    length, width, peak = 4.2, 0.34, ARTERY * body.vessels
    for generation in range(GENERATIONS):
        way = np.stack([side * np.cos(angle), np.sin(angle)], -1)
        end = start + way * length * rng.uniform(0.75, 1.2, side.size)[:, None]
        bend = (start + end) / 2 + way[:, ::-1] * [1, -1] * rng.normal(0, 0.10 * length, side.size)[:, None]
        vessels += _lines(start, bend, end, peak, pose, width)
        if generation < GENERATIONS - 1:
            airways += _lines(start + 0.5, bend + 0.5, end + 0.5, BRONCHUS, pose, width * 0.8)
        turn = rng.uniform(0.2, 0.55, side.size)
        angle = np.concatenate([angle - turn, angle + turn * rng.uniform(0.5, 1.2, side.size)])
        start, side = np.concatenate([end, end]), np.concatenate([side, side])
        length, width, peak = length * 0.78, width * 0.72, peak * 0.76
    return vessels, airways


def _shadows(chest: Chest, rng: Generator) -> Field:
    """Smooth soft-tissue shadows (breast, scapula, folds) which come with every class."""
    total = np.zeros_like(chest.x)
    for _ in range(3):
        cx, cy, rx, ry = rng.uniform(-13, 13), rng.uniform(-10, 12), rng.uniform(3, 8), rng.uniform(3, 8)
        total += rng.uniform(-0.15, 0.3) * soft(1 - np.hypot((chest.x - cx) / rx, (chest.y - cy) / ry), 0.15)
    return total


def _disease(
    label: str, chest: Chest, vessels: Field, airways: Field, pose: Pose, rng: Generator
) -> tuple[Field, Mask]:
    """Add the opacity and the rim that every film has, and the sign of the one that is the disease."""
    patch, mottle, density = _opacity(chest, pose, rng)
    rim, pleura, lucency = _rim(chest, pose, rng)
    wide = MATCH_CM / pose.pixel
    change = density * _blur(patch, wide) - lucency * _blur(rim, wide)
    if label == "Pneumonia":
        sign, lesion = patch * (density + MOTTLE * density * mottle - vessels - airways), patch > 0.5
    elif label == "Pneumothorax":
        sign, lesion = PLEURA * pleura - rim * (vessels + lucency), rim > 0.5
    else:
        return change, np.zeros(chest.x.shape, dtype=np.bool_)
    return change + sign - _blur(sign, wide), lesion


def _opacity(chest: Chest, pose: Pose, rng: Generator) -> tuple[Field, Field, float]:
    """Lay a lobulated patch in one lung, with the mottle it has when alveoli are filled, and its mean density."""
    side = rng.choice([-1, 1])
    aside = 0.4 * (side + 1)  # the heart takes room on the left
    cx, cy = side * rng.uniform(7.0, 10.0) + aside, rng.uniform(-6.5, 5.0)
    rx, ry = rng.uniform(3.8, 6.0), rng.uniform(3.8, 6.0)
    lobes = _mottle(rng, pose, 1.4, 1500)
    density = rng.uniform(0.55, 0.85)
    patch = soft(1 - np.hypot((chest.x - cx) / rx, (chest.y - cy) / ry) + 0.22 * lobes, 0.07) * chest.air
    return patch, np.tanh(_mottle(rng, pose, 0.45, 6000)), density


def _rim(chest: Chest, pose: Pose, rng: Generator) -> tuple[Field, Field, float]:
    """Lay a rim along one chest wall, widest at the apex, with the pleural line at its edge, and its lucency."""
    here = chest.air * (chest.x * rng.choice([-1, 1]) > 0)
    wave = 0.02 * np.sin(chest.y / 3 + rng.uniform(0, 6))
    off = chest.reach - rng.uniform(0.24, 0.42) - 0.012 * np.clip(-chest.y, -6, 12) - wave
    gy, gx = np.gradient(off)
    inward = off / np.maximum(np.hypot(gx, gy), 1e-6) * pose.pixel  # cm from the visceral pleura
    rim = soft(-inward, max(0.1, 0.35 * pose.pixel)) * here
    pleura = np.exp(-0.5 * (inward / max(0.11, 0.6 * pose.pixel)) ** 2) * here
    return rim, pleura, rng.uniform(0.0, 0.15)


def _film(attenuation: Field, pose: Pose, rng: Generator) -> Field:
    """Turn photons into grey in [0, 1]: focal blur, quantum noise, automatic exposure, window."""
    blur, light = rng.uniform(0.05, 0.18), 10 ** rng.uniform(3.3, 4.5)
    shift, width = rng.normal(0, 0.22), rng.uniform(0.55, 0.8)
    beam = _blur(np.exp(-attenuation), blur / pose.pixel)
    seen = -np.log(np.maximum(rng.poisson(beam * light / float(beam.mean())), 1))
    return 1 / (1 + np.exp((float(seen.mean()) + shift - seen) / width))
