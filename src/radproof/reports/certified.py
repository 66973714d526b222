# SPDX-License-Identifier: Apache-2.0
"""What randomised smoothing proved: certified accuracy against radius, and how small such a radius is."""

import math

from radproof.assess.result import Certified
from radproof.core.records import Estimate
from radproof.measure.certified import root_mean_square
from radproof.reports.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Chart,
    Scale,
    Series,
    linear,
    marks,
    nice,
    percent_ticks,
    tidy,
)
from radproof.reports.tables import Box, Row, Table
from radproof.reports.words import budget, count, plain, sentence, show

LINE = "right and proved"


def certified_chart(found: Certified | None) -> Chart | None:
    """Share of images that are right and proved, image by image; marks with intervals at the radii of the table.

    The dashed line is the cap. None where nothing was certified.
    """
    if found is None or not found.curve:
        return None
    furthest = nice(max(found.cap, found.curve[-1].radius))
    x, y = linear(0, furthest, LEFT + 6, RIGHT - 8), linear(0, 1, BOTTOM, TOP)
    measured = [(point.radius, point.accuracy) for point in found.curve]
    cap = tidy(x(found.cap))
    said = "; ".join(f"at {plain(at)} {sentence(accuracy)}" for at, accuracy in measured)
    return Chart(
        title=f"Certified accuracy, {_network(found)}, sigma {plain(found.sigma)}",
        alt=f"Images right and proved against L2 radius: {said}. The cap is {plain(found.cap)}.",
        x_label="L2 radius, in [0, 1] pixel units; dashed: cap",
        y_label=LINE,
        x_ticks=tuple((tidy(x(furthest * k / 4)), f"{furthest * k / 4:.3g}") for k in range(5)),
        y_ticks=percent_ticks(y),
        series=(Series(LINE, 0, _steps(found, x, y), marks(measured, x, y)),),
        guides=(f"M{cap:g} {BOTTOM}V{TOP}",),
    )


def certified_table(found: Certified | None) -> Table | None:
    """Certified accuracy radius by radius, with what such a radius means for a single pixel."""
    if found is None:
        return None
    rows = tuple(
        Row(
            Box(text=plain(point.radius)),
            (Box(text=budget(root_mean_square(point.radius, found.values))), Box((show(point.accuracy, strip=True),))),
        )
        for point in found.curve
    )
    return Table(
        f"Certified accuracy; cap {plain(found.cap)}",
        ("L2 radius", "Spread over all pixels", "Right and proved"),
        rows,
        "Right and proved: the smoothed network answers rightly, and no change with an L2 norm below the radius turns "
        "its answer; abstentions count as wrong. Spread over all pixels: the change of each pixel if all changed "
        "alike, which is also the largest L-infinity budget that the radius covers. The cap is the largest radius that "
        f"{count(found.n, 'draw')} can prove, all agreeing: sigma · Φ⁻¹(alpha^(1/n)).",
    )


def certified_rows(found: Certified) -> list[dict[str, str]]:
    """The same for the command line; the last row tells of abstentions."""
    rows = [
        {
            "L2 radius": plain(point.radius),
            "spread over all pixels": budget(root_mean_square(point.radius, found.values)),
            "right and proved": sentence(point.accuracy),
            "n": str(point.accuracy.n),
        }
        for point in found.curve
    ]
    last = {"L2 radius": "abstained", "right and proved": sentence(found.abstained), "n": str(found.abstained.n)}
    return [*rows, {key: last.get(key, "") for key in rows[0]}]


def certified_words(found: Certified | None) -> str:
    """What was smoothed and how, what was proved, and how far that reaches; nothing where nothing was certified."""
    if found is None:
        return ""
    reach = root_mean_square(found.cap, found.values)
    return (
        f"Smoothing shows {_network(found)} {found.n0:,} noisy copies of an image to choose a class and {found.n:,} "
        f"others to prove it; the noise is Gaussian, sigma {plain(found.sigma)} ({255 * found.sigma:.3g} of 255 grey "
        f"levels). Each certificate holds but for a chance "
        f"of {_chance(found.alpha)}. Over {count(found.images, 'image')} {_network(found)} itself is right on "
        f"{sentence(found.plain)}, the smoothed network on {sentence(found.accuracy)}; it proves nothing (abstains) "
        f"for {sentence(found.abstained)}, and the mean radius, counting 0 where it is wrong or abstains, is "
        f"{_number(found.average_radius)}. No radius above {plain(found.cap)} can be proved with so many copies, and "
        f"over {found.values:,} pixel values that is {budget(reach)} for each: no larger L-infinity budget is "
        "covered. What is proved concerns the smoothed network, which needs all "
        "these passes for every image, and not the network by itself."
    )


def _network(found: Certified) -> str:
    return "the model" if found.network == "model" else found.network


def _chance(alpha: float) -> str:
    return f"{plain(100 * alpha)} %"


def _number(estimate: Estimate) -> str:
    return sentence(estimate, "number")


def _steps(found: Certified, x: Scale, y: Scale) -> str:
    """The curve itself falls at every image's radius."""
    proved = sorted(one.radius for one in found.certificates if one.answer is not None and one.answer == one.truth)
    kept = len(proved)
    path = f"M{tidy(x(0)):g} {tidy(y(_share(kept, found.images))):g}"
    for at in proved:
        kept -= 1
        path += f"H{tidy(x(at)):g}V{tidy(y(_share(kept, found.images))):g}"
    return f"{path}H{tidy(x(nice(max(found.cap, found.curve[-1].radius)))):g}"


def _share(kept: int, images: int) -> float:
    return kept / images if images else math.nan
