# SPDX-License-Identifier: Apache-2.0
"""One screened image as one page: for the person who has to decide whether the model's answer may be read."""

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from radproof import __version__
from radproof.assess.screening import Judged
from radproof.core.files import write_text
from radproof.detectors.disagreement import disagreement
from radproof.detectors.guard import Grid, Guard
from radproof.detectors.screening import Reading, Screening
from radproof.errors import BadInput, BadModel
from radproof.models.classifier import ImageClassifier
from radproof.models.explain import grad_cam
from radproof.reports.promises import any_alarm, basis, bound, interval, promise, rate, share
from radproof.reports.verdicts import ADVICE, HEADLINES, TONES, Tone
from radproof.reports.words import count, listed, plain

SIDE = 448  # pixels of a picture's longer side on the page
COLOURS = "inferno"
STRENGTH = 0.55  # of the heat over the image, where it is highest
LOOKS = "Grad-CAM: the brighter, the more a place speaks for the answer."
DIFFERS = (
    "The brighter, the more the network's view of a place changes when the image is smoothed or compressed a little."
)


@dataclass(frozen=True)
class View:
    """One picture with its caption; a heat map has words for the ends of its scale."""

    title: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int
    ends: tuple[str, str] | None = None


@dataclass(frozen=True)
class Gauge:
    """A score against its threshold; places in percent of the gauge's width, none where there is no threshold."""

    title: str
    value: str
    limit: str
    note: str
    over: bool
    filled: float = 0.0
    mark: float | None = None


@dataclass(frozen=True)
class Page:
    """What one page says, in words."""

    image: str
    size: str
    detector: str
    phantom: bool
    verdict: str
    tone: Tone
    headline: str
    advice: str
    reasons: tuple[str, ...]
    prediction: str
    confidence: str
    gauges: tuple[Gauge, ...]
    views: tuple[View, ...]
    facts: tuple[tuple[str, str], ...]
    promise: str


def write_page(folder: Path, judged: Judged, guard: Guard, *, phantom: bool = False) -> str:
    """Write a screened image's page into a folder, whole or not at all; the file's name is the image's.

    Raises BadInput for an image that was not screened.
    """
    name = f"{judged.said.image}.html"
    write_text(folder / name, render(page_of(judged, guard, phantom=phantom)))
    return name


def render(page: Page) -> str:
    """The page as text; equal pages give equal bytes."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    environment = Environment(
        loader=PackageLoader("radproof.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(bound=bound)
    return environment.get_template("screening.html.j2").render(
        p=page,
        style=(files("radproof.reports") / "templates" / "style.css").read_text(encoding="utf-8"),
        scale=", ".join(to_hex(colormaps[COLOURS](place / 8)) for place in range(9)),
        version=__version__,
    )


def page_of(judged: Judged, guard: Guard, *, phantom: bool = False) -> Page:
    """Everything that the page says. Raises BadInput for an image that was not screened."""
    found, pixels = judged.said.screening, judged.pixels
    if found is None or pixels is None:
        raise BadInput(f"there is no page for an image that was not screened: {judged.said.refusal}")
    readings = [reading for reading in (found.suspicion, found.outside) if reading]
    return Page(
        image=judged.said.image,
        size=_size(guard.about.grid),
        detector=listed([reading.detector for reading in readings]),
        phantom=phantom,
        verdict=found.verdict,
        tone=TONES.get(found.verdict, "open"),
        headline=HEADLINES[found.verdict],
        advice=ADVICE[found.verdict],
        reasons=found.reasons,
        prediction=listed(list(found.prediction)) or "No finding",
        confidence=f"{share(found.confidence)} sure",
        gauges=tuple(gauge(reading, title) for reading, title in zip(readings, GAUGES, strict=False)),
        views=views(found, pixels, guard),
        facts=facts(found, guard),
        promise=promise(guard, found.suspicion.threshold),
    )


GAUGES = ("Suspicion of an attack", "Distance from the model's data")


def gauge(reading: Reading, title: str) -> Gauge:
    """A score beside its threshold; the threshold stands in the middle."""
    value, threshold = plain(reading.score), reading.threshold.value
    higher = round(reading.tail * (reading.clean + 1)) - 1  # the image itself is counted in
    note = f"As high or higher: {higher or 'none'} of {count(reading.clean, 'clean image')}."
    if threshold is None:
        return Gauge(title, value, "no threshold", reading.threshold.reason or note, over=False)
    limit = f"of {plain(threshold)} allowed"
    if threshold <= 0:
        return Gauge(title, value, limit, note, over=bool(reading.flagged))
    filled = min(max(50 * reading.score / threshold, 0.0), 100.0)
    return Gauge(title, value, limit, note, bool(reading.flagged), round(filled, 1), 50.0)


def facts(found: Screening, guard: Guard) -> tuple[tuple[str, str], ...]:
    """What the verdict rests on, by name."""
    threshold = found.suspicion.threshold
    told = [
        *((name, share(p)) for name, p in found.probabilities.items()),
        ("thresholds set on", basis(guard.about)),
        ("false alarms promised", f"at most {rate(any_alarm(guard))} of clean images"),
        ("of them suspicions", f"at most {rate(threshold.promised)}; {interval(threshold)}"),
        ("model", guard.about.model_fingerprint[:16]),
    ]
    return tuple(told)


def views(found: Screening, pixels: Tensor, guard: Guard) -> tuple[View, ...]:
    """The image, where squeezed views of it disagree, and where the network looks; maps only where they can be drawn.

    `pixels` is (C, H, W) in [0, 1].
    """
    image = pixels.float().cpu().expand(3, -1, -1).numpy().transpose(1, 2, 0)
    drawn = [_view("The image", "As it was given to the model.", image)]
    model = guard.model
    if not isinstance(model, ImageClassifier):
        return tuple(drawn)
    x = pixels[None].to(model.mean.device)
    likeliest = max(found.probabilities, key=lambda name: found.probabilities[name])
    classes = torch.tensor([model.labels.index(likeliest)])
    for title, caption, ends, make in (
        ("Where views of it disagree", DIFFERS, ("agree", "disagree most"), lambda: disagreement(model, x)),
        (f"What speaks for {likeliest}", LOOKS, ("nothing", "most"), lambda: grad_cam(model, x, classes)),
    ):
        try:
            heat = make()[0].float().cpu().numpy()
        except BadModel:  # a network without convolutional feature maps
            continue
        told = caption if heat.any() else f"{caption} There is nothing here."
        drawn.append(_view(title, told, _over(image, heat), ends))
    return tuple(drawn)


def _size(grid: Grid) -> str:
    return f"{'grey' if grid.channels == 1 else 'colour'}, {grid.width} × {grid.height} pixels, {grid.bits} bits"


def _over(image: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """A heat map (H, W) in [0, 1] over an image (H, W, 3): clear where there is none."""
    from matplotlib import colormaps

    colours = np.asarray(colormaps[COLOURS](heat))[..., :3].astype(np.float32)
    weight = STRENGTH * heat[..., None]
    return (image * (1 - weight) + colours * weight).astype(np.float32)


def _view(title: str, caption: str, image: NDArray[np.float32], ends: tuple[str, str] | None = None) -> View:
    picture = Image.fromarray(np.rint(image * 255).clip(0, 255).astype(np.uint8))
    scale = SIDE / max(picture.size)
    small = scale > 1  # drawn larger pixel by pixel: smoothing would show what is not there
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=ends is None, quality=88, method=4)
    uri = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return View(title, caption, f"{title}. {caption}", uri, *picture.size, ends)
