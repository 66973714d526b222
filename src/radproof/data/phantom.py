# SPDX-License-Identifier: Apache-2.0
"""Chest X-ray phantoms for demos and tests: cartoons with exact anatomy, never clinical material.

The attenuation model. Positions are in centimetres of a patient who faces us (his left is on the image's right, y runs
down); `size` pixels cover `FIELD_CM`. Every part adds its line integral to the attenuation `A` (no unit)::

    A = SOFT * body - AIR * lung * (1 - heart) + bones + vessels + shadows + sign of the disease

`body` and `lung` are path lengths in cm, `SOFT` is the coefficient of soft tissue and `AIR` what is lost where lung takes
its place (1/cm). The detector counts `N ~ Poisson(N0 exp(-A))` photons (Beer-Lambert), blurred by the focal spot, and the
film is ``grey = logistic((log(N0 / N) - level) / width)``, where automatic exposure sets `level` by the mean of the film.
Habitus, age and sex belong to the patient; pose, view, exposure, window, blur and noise are drawn for each image.

The signs. *Pneumonia*: alveoli fill in patches, vessels drown and airways show dark (air bronchograms). *Pneumothorax*: a
thin bright pleural line beyond which there are no vessels. Films of every class have smooth soft-tissue shadows and a
hyperlucent rim of the same places, shapes and mean densities, and each sign gives back its own mean (`MATCH_CM`). So the
class lies in structure, not in mean density: neither a thumbnail nor a histogram tells it. The random numbers do not
depend on the label: one (seed, patient, image) with three labels is one body in three states.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from radproof.core.rng import numpy_generator
from radproof.errors import BadInput

LABELS = ("Normal", "Pneumonia", "Pneumothorax")
FIELD_CM = 34.0  # side of the detector
SOFT, AIR = 0.19, 0.135  # 1/cm: soft tissue at about 70 keV; what inflated lung saves of it
MATCH_CM = 2.0  # each sign gives back its mean density over this distance
THINNEST = 0.55  # pixels: no structure is drawn with a smaller standard deviation
MIN_SIZE = 32

Field = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Phantom:
    """One film with all that is known of it, so that tests and demos have exact truth to compare with."""

    image: NDArray[np.uint8] | NDArray[np.uint16]  # (H, W)
    label: str
    patient: str
    view: str
    age: int
    sex: str
    lungs: NDArray[np.bool_]  # (H, W)
    lesion: NDArray[np.bool_]  # (H, W), empty for Normal


@dataclass(frozen=True)
class Habitus:
    """What stays with a patient from film to film (cm)."""

    age: int
    sex: str
    half_width: float
    apex: float
    depth: float
    wall: float
    heart: float
    rib_gap: float
    rib_slope: float
    vessels: float


@dataclass(frozen=True)
class Pose:
    """Where body coordinates land on the detector, so that lines can be drawn point by point."""

    size: int
    angle: float
    zoom: float
    dx: float
    dy: float

    @property
    def pixel(self) -> float:
        """Centimetres of body per pixel, to keep widths the same at every size."""
        return FIELD_CM / self.size / self.zoom

    def body(self) -> tuple[Field, Field]:
        """Body coordinates (cm) of every pixel."""
        line = ((np.arange(self.size) + 0.5) / self.size - 0.5) * FIELD_CM / self.zoom
        u, v = np.meshgrid(line, line)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x, y = cos * u + sin * v - self.dx, cos * v - sin * u - self.dy
        return x.astype(np.float32), y.astype(np.float32)

    def pixels(self, points: Points) -> Points:
        """Pixel positions of body points (..., 2): the inverse of `body`."""
        x, y = points[..., 0] + self.dx, points[..., 1] + self.dy
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.stack([cos * x - sin * y, sin * x + cos * y], -1) / self.pixel + self.size / 2 - 0.5


def draw(label: str, *, size: int = 256, seed: int = 0, patient: int = 0, image: int = 0, bits: int = 8) -> Phantom:
    """One phantom, the same bytes for the same arguments, so that a demo can be repeated anywhere."""
    _check(label in LABELS, "label", label, f"one of {', '.join(LABELS)}", "choose one of these")
    _check(size >= MIN_SIZE, "size", size, f"at least {MIN_SIZE} pixels", "ask for a larger picture")
    _check(bits in (8, 16), "bits", bits, "8 or 16", "choose one of these")
    habitus = _habitus(numpy_generator("phantom", seed, patient))
    rng = numpy_generator("phantom", seed, patient, image)
    view = "AP" if rng.random() < 0.35 else "PA"
    pose = Pose(size, rng.normal(0, 0.045), rng.uniform(0.93, 1.1), rng.normal(0, 0.8), rng.normal(0.6, 0.8))
    attenuation, lungs, lesion = _expose(label, habitus, pose, view, rng)
    film = _film(attenuation, pose, rng)
    top = 2**bits - 1
    grey = np.rint(film * top).astype(np.uint8 if bits == 8 else np.uint16)
    return Phantom(grey, label, f"phantom-{patient:04d}", view, habitus.age, habitus.sex, lungs, lesion)


def phantoms(count: int, *, size: int = 256, seed: int = 0, bits: int = 8) -> Iterator[Phantom]:
    """`count` phantoms in equal classes, one to three per patient, as a hospital's archive would hold them."""
    _check(count >= 1, "count", count, "at least 1", "ask for one phantom or more")
    rng = numpy_generator("phantoms", seed)
    order = rng.permutation(np.arange(count) % len(LABELS))
    patient, image, left = -1, 0, 0
    for index in order:
        if left == 0:
            patient, image, left = patient + 1, 0, int(rng.integers(1, 4))
        yield draw(LABELS[index], size=size, seed=seed, patient=patient, image=image, bits=bits)
        image, left = image + 1, left - 1


def _check(good: bool, name: str, given: object, expected: str, remedy: str) -> None:
    """Refuse early, with the three things a reader needs."""
    if not good:
        raise BadInput(f"{name} is {given!r}, expected {expected}: {remedy}.")


def _habitus(rng: np.random.Generator) -> Habitus:
    """A patient: build and sex are related to each other, never to disease."""
    sex = "F" if rng.random() < 0.5 else "M"
    return Habitus(
        age=int(rng.integers(18, 91)),
        sex=sex,
        half_width=rng.normal(12.6 if sex == "F" else 13.5, 0.6),
        apex=rng.normal(-14.0, 0.6),
        depth=rng.uniform(18, 26),
        wall=rng.uniform(1.5, 4.5),
        heart=rng.normal(1.0, 0.08),
        rib_gap=rng.uniform(2.7, 3.2),
        rib_slope=rng.uniform(0.15, 0.3),
        vessels=rng.uniform(0.75, 1.35),
    )


def _soft(x: Field, width: float) -> Field:
    """An edge of finite width, as penumbra makes it."""
    return (0.5 + 0.5 * np.tanh(x / (2 * width))).astype(np.float32)


def _blur(x: Field, pixels: float) -> Field:
    """Gaussian blur that leaves the mean alone."""
    return gaussian_filter(x, pixels, mode="nearest", truncate=3.0)


def _splat(points: Points, weights: Points, pose: Pose, cm: float) -> Field:
    """Gaussian spots of `cm` with the given peak sums: how lines, blobs and mottle are drawn at any size."""
    n, at = pose.size, pose.pixels(points)
    low = np.floor(at).astype(np.intp)
    fx, fy = at[:, 0] - low[:, 0], at[:, 1] - low[:, 1]
    flat = np.zeros((n + 2) * (n + 2))
    for i, j, part in ((0, 0, (1 - fx) * (1 - fy)), (1, 0, fx * (1 - fy)), (0, 1, (1 - fx) * fy), (1, 1, fx * fy)):
        cx, cy = np.clip(low[:, 0] + i, -1, n) + 1, np.clip(low[:, 1] + j, -1, n) + 1
        flat += np.bincount(cy * (n + 2) + cx, part * weights, (n + 2) * (n + 2))
    grid = flat.reshape(n + 2, n + 2)[1:-1, 1:-1].astype(np.float32)
    return _blur(grid, max(cm / pose.pixel, THINNEST))


def _lines(start: Points, bend: Points, end: Points, peak: Points, pose: Pose, cm: float) -> Field:
    """Curves (N, 2) of attenuation `peak` and standard deviation `cm`: vessels, airways, clavicles."""
    longest = float(np.abs(end - start).sum(-1).max())
    steps = max(2, math.ceil(1.5 * longest / pose.pixel))
    t = ((np.arange(steps) + 0.5) / steps)[:, None, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    spacing = np.linalg.norm(end - start, axis=-1) / steps / pose.pixel
    sigma = math.hypot(max(cm / pose.pixel, THINNEST), 0.4)
    weights = np.broadcast_to(peak * spacing * sigma * math.sqrt(2 * math.pi), points.shape[:2])
    return _splat(points.reshape(-1, 2), weights.ravel(), pose, cm)


def _mottle(rng: np.random.Generator, pose: Pose, cm: float, count: int) -> Field:
    """Smooth random field of unit spread and grain `cm`, the same at every size."""
    points, weights = rng.uniform(-0.6, 0.6, (count, 2)) * FIELD_CM, rng.normal(0, 1, count)
    gain = 2 * max(cm / pose.pixel, THINNEST) * math.sqrt(math.pi / count) * 1.2 * FIELD_CM / pose.pixel
    return _splat(points, weights * gain, pose, cm)


def _expose(
    label: str, body: Habitus, pose: Pose, view: str, rng: np.random.Generator
) -> tuple[Field, NDArray[np.bool_], NDArray[np.bool_]]:
    """Attenuation of one patient in one state, with the exact lungs and lesion."""
    x, y = pose.body()
    ap = view == "AP"
    breath = rng.normal(-1.0 if ap else 0.0, 0.6)  # cm of diaphragm; AP films are seldom in full breath
    side = np.where(x < 0, -1, 1).astype(np.float32)
    reach, lung, heart = _chest(x, y, side, body, breath, 1.2 if ap else 1.0, pose)
    inside = _trunk(x, y, body)
    chord = 15 * np.sqrt(np.clip(1 - (1 - reach) ** 2, 0, 1))
    base = SOFT * body.depth * inside - AIR * chord * lung * (1 - 0.85 * heart)
    bones = _bones(x, y, reach, body, pose, rng)
    vessels, airways = _trees(body, pose, rng)
    lungs = (lung * (1 - heart)) > 0.5
    air = lung * (1 - heart)
    shadows = _shadows(x, y, pose, rng)
    vessels, airways = vessels * air, airways * air
    change, lesion = _disease(label, x, y, reach, lung, air, vessels, airways, pose, rng)
    return base + bones + shadows + vessels + change, lungs, lesion & lungs


def _chest(
    x: Field, y: Field, side: Field, body: Habitus, breath: float, heart_scale: float, pose: Pose
) -> tuple[Field, Field, Field]:
    """Depth from the chest wall (0 wall, 1 midline), soft lung mask and soft heart mask."""
    low = 8.0
    tall = np.clip((low - y) / (low - body.apex), 0, 1)
    wide = body.half_width * (1 - tall**2.6) ** (1 / 2.2) * (1 + 0.01 * np.clip(y - low, 0, 4))
    edge = max(0.25, 0.6 * pose.pixel)
    reach = 1 - np.abs(x) / np.maximum(wide, 0.5)
    middle = 2.7 + 0.5 * np.tanh((y - 2) / 3) + 0.3 * np.tanh((-9 - y) / 2) + 1.1 * np.exp(-(((y + 4.5) / 1.6) ** 2)) * (side > 0)
    dome = 8.6 + breath + 0.5 * side + 0.06 * (np.abs(x) - 6.5) ** 2
    lung = _soft(wide - np.abs(x), edge) * _soft(np.abs(x) - middle, edge) * _soft(dome - y, edge)
    lung *= _soft(y - body.apex, edge)
    size = body.heart * heart_scale
    u, v = 0.9 * (x - 2.2) + 0.43 * (y - 5.2), 0.9 * (y - 5.2) - 0.43 * (x - 2.2)
    heart = _soft(1 - np.hypot(u / (6.3 * size), v / (4.9 * size)), edge / 6)
    return reach.astype(np.float32), lung.astype(np.float32), heart


def _trunk(x: Field, y: Field, body: Habitus) -> Field:
    """Relative thickness of the body: neck, sloping shoulders, flanks."""
    flank = body.half_width + body.wall + 3.0 + np.clip(-(y + 6), 0, 8) * 1.1
    thick = np.sqrt(np.clip(1 - (x / flank) ** 2, 0, 1)) * (1 - 0.012 * np.clip(-y, 0, 18))
    shoulder = _soft(y - (-17.5 + 0.012 * x**2 + 0.1 * np.abs(x)), 0.5)
    neck = 0.75 * _soft(5.5 - np.abs(x), 0.4)
    return (thick * np.maximum(shoulder, neck)).astype(np.float32)


def _bones(x: Field, y: Field, reach: Field, body: Habitus, pose: Pose, rng: np.random.Generator) -> Field:
    """Ribs as rounded bands of a running phase, spine, trachea (negative) and clavicles."""
    edge = max(0.12, 0.5 * pose.pixel)
    cage = _soft(reach + 0.02, 0.01 + 0.02 * pose.pixel) * _soft(11 - y, 0.4) * _soft(y - body.apex + 1, 0.4)
    a = np.abs(x)
    back = _band(y - body.rib_slope * 0.3 * a - 0.028 * a**2 + rng.uniform(0, 3), body.rib_gap, edge)
    front = _band(y + 0.75 * a - 0.012 * a**2 + rng.uniform(0, 3), body.rib_gap * 1.25, edge)
    ribs = cage * (0.36 * back * _soft(a - 2.5, 0.3) + 0.16 * front * _soft(a - 4.5, 1.0) * _soft(6 - y, 2.0))
    spine = 0.32 * _soft(1.9 - a, 0.2) * (0.8 + 0.2 * np.cos(2 * np.pi * (y / 2.6 + rng.random())) ** 2)
    trachea = 0.28 * _soft(0.85 - np.abs(x + 0.2), 0.15) * _soft(-3.5 - y, 0.3)
    knob = body.apex + 3.0 + rng.normal(0, 0.7)
    start = np.array([[-1.8, knob + 1], [1.8, knob + 1]])
    end = np.array([[-14.5, knob - 2.2], [14.5, knob - 2.2]]) + rng.normal(0, 0.4, (2, 2))
    bend = (start + end) / 2 + np.array([[0, 1.0], [0, 1.0]])
    clavicles = _lines(start, bend, end, np.full(2, 0.28), pose, 0.42)
    return (ribs + spine - trachea + clavicles).astype(np.float32)


def _band(run: Field, gap: float, edge: float) -> Field:
    """One rib per `gap`: brighter at its two cortices than in its marrow."""
    off = np.abs((run / gap) % 1 - 0.5) * gap
    half = 0.26 * gap
    return _soft(half - off, edge) * (0.65 + 0.35 * np.clip(off / half, 0, 1) ** 3)


def _trees(body: Habitus, pose: Pose, rng: np.random.Generator) -> tuple[Field, Field]:
    """Vessels branching from the hila, and the airways which run beside them."""
    side = np.repeat([-1.0, 1.0], 8)
    angle = np.tile(np.linspace(-1.25, 1.2, 8), 2) + rng.normal(0, 0.12, 16)
    start = np.stack([side * rng.normal(3.4, 0.2, 16), rng.normal(0.5, 1.0, 16)], -1)
    length, width, peak = 4.2, 0.34, 0.25 * body.vessels
    vessels = _splat(np.array([[-3.6, 0.8], [3.8, 0.2]]), np.ones(2), pose, 1.5)
    vessels = 0.35 * vessels / max(float(vessels.max()), 1e-6)
    airways = np.zeros_like(vessels)
    for level in range(4):
        way = np.stack([side * np.cos(angle), np.sin(angle)], -1)
        end = start + way * length * rng.uniform(0.75, 1.2, side.size)[:, None]
        bend = (start + end) / 2 + way[:, ::-1] * [1, -1] * rng.normal(0, 0.10 * length, side.size)[:, None]
        vessels += _lines(start, bend, end, np.full(side.size, peak), pose, width)
        if level < 3:
            airways += _lines(start + 0.5, bend + 0.5, end + 0.5, np.full(side.size, 0.2), pose, width * 0.8)
        turn = rng.uniform(0.2, 0.55, side.size)
        angle = np.concatenate([angle - turn, angle + turn * rng.uniform(0.5, 1.2, side.size)])
        start, side = np.concatenate([end, end]), np.concatenate([side, side])
        length, width, peak = length * 0.78, width * 0.72, peak * 0.76
    return vessels, airways


def _shadows(x: Field, y: Field, pose: Pose, rng: np.random.Generator) -> Field:
    """Smooth soft-tissue shadows (breast, scapula, folds) which come with every class."""
    total = np.zeros_like(x)
    for _ in range(2):
        cx, cy, rx, ry = rng.uniform(-13, 13), rng.uniform(-10, 12), rng.uniform(3, 8), rng.uniform(3, 8)
        total += rng.uniform(-0.1, 0.3) * _soft(1 - np.hypot((x - cx) / rx, (y - cy) / ry), 0.15)
    return total


def _disease(
    label: str,
    x: Field,
    y: Field,
    reach: Field,
    lung: Field,
    air: Field,
    vessels: Field,
    airways: Field,
    pose: Pose,
    rng: np.random.Generator,
) -> tuple[Field, NDArray[np.bool_]]:
    """The opacity and the rim that every film has, and the one of them that is the disease."""
    ax, ay = rng.choice([-1, 1]) * rng.uniform(6.5, 10), rng.uniform(-6, 6)
    rx, ry = rng.uniform(3.0, 5.5), rng.uniform(3.0, 5.5)
    lobes = _mottle(rng, pose, 1.4, 1500)
    depth = rng.uniform(0.35, 0.7)
    patch = _soft(1 - np.hypot((x - ax) / rx, (y - ay) / ry) + 0.22 * lobes, 0.07) * air
    grain = _mottle(rng, pose, 0.45, 6000)

    lobe = rng.choice([-1, 1])
    gap = rng.uniform(0.24, 0.42) + 0.012 * np.clip(-y, -6, 12) + 0.02 * np.sin(y / 3 + rng.uniform(0, 6))
    off = reach - gap.astype(np.float32)
    gy, gx = np.gradient(off)
    distance = off / np.maximum(np.hypot(gx, gy), 1e-6) * pose.pixel  # cm from the visceral pleura, positive inside
    here = (lobe * x > 0).astype(np.float32)
    rim = _soft(-distance, max(0.1, 0.35 * pose.pixel)) * lung * here
    thin = max(0.11, 0.6 * pose.pixel)
    line = np.exp(-0.5 * (distance / thin) ** 2).astype(np.float32) * air * here * 0.30
    lucent = rng.uniform(0.0, 0.15)

    wide = MATCH_CM / pose.pixel
    change = depth * _blur(patch, wide) - lucent * _blur(rim, wide)
    if label == "Pneumonia":
        sign = patch * (depth + 0.35 * depth * np.clip(grain, -1.5, 2) - vessels - airways)
        return change + sign - _blur(sign, wide), patch > 0.5
    if label == "Pneumothorax":
        sign = line - rim * (vessels + lucent)
        return change + sign - _blur(sign, wide), rim > 0.5
    return change, np.zeros(x.shape, bool)


def _film(attenuation: Field, pose: Pose, rng: np.random.Generator) -> Field:
    """Photons to grey in [0, 1]: focal blur, quantum noise, automatic exposure, window."""
    blur = _blur(np.exp(-attenuation), rng.uniform(0.05, 0.15) / pose.pixel)
    photons = 10 ** rng.uniform(3.6, 4.6) / float(blur.mean())
    seen = np.log(photons / np.maximum(rng.poisson(blur * photons), 1)).astype(np.float32)
    level = float(seen.mean()) + rng.normal(0, 0.22)
    return 1 / (1 + np.exp(-(seen - level) / rng.uniform(0.55, 0.8)))
