# SPDX-License-Identifier: Apache-2.0
"""What a screening's four verdicts mean, and what to do then: the same words on every page. Needs no torch."""

from typing import Literal

Tone = Literal["calm", "alarm", "open"]
TONES: dict[str, Tone] = {"clear": "calm", "suspicious": "alarm", "outside the model's data": "alarm"}
HEADLINES = {
    "clear": "Nothing about this image is out of the ordinary for this model.",
    "suspicious": "Do not rely on the model's answer for this image.",
    "outside the model's data": "The model has not learnt from images like this one: its answer means little here.",
    "not established": "No promise can be made for this image: it is neither cleared nor suspected.",
}
ADVICE = {
    "clear": "Read the model's answer as on any other day. It can be wrong on a clear image too.",
    "suspicious": "Read the image without the model. Fetch it again from where it was acquired and compare the two; "
    "tell those who run the system if it happens again.",
    "outside the model's data": "Read the image without the model. Check that body part, view and device are those "
    "that the model was made for, and how the image was exported.",
    "not established": "Treat the answer as one that nobody has screened. More clean images of this kind are needed "
    "before a threshold can be set.",
}


def share(part: float) -> str:
    """'5 %', '0.5 %': a part of [0, 1], never 0 % or 100 % where it is not."""
    percent = 100 * part
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f} %"


def rate(part: float) -> str:
    """'2.5 %', '0.05 %': a promised share, exactly."""
    return f"{100 * part:.4g} %"
