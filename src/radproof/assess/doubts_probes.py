# SPDX-License-Identifier: Apache-2.0
"""Doubts that the probes give rise to, for the bare model and every contender, each with the figures it rests on.

A difference counts where it is more than a point and its interval, over the patients probed, lies above nothing.
"""

from collections.abc import Iterator

from radproof.assess.evidence import TOLERANCE, Evidence, show
from radproof.assess.probed import Probed
from radproof.core.records import Doubt, Estimate

SHARE = 0.05  # of images with a useless gradient from which nothing is believed
RISE = 0.9  # share of images whose loss an attack must raise
SAME = 1e-4  # of the largest logit, what arithmetic may change between equal questions
CLOSE = 1e-3  # the same between batches of different sizes
AGREE = 0.9  # cosine between halves of the draws
CHANCE = 0.5  # below it, gradients are more of the draws than of the image


def probe_doubts(e: Evidence) -> Iterator[Doubt]:
    """Every doubt about the bare model (defense:none) and each contender (defense:NAME)."""
    known = {doubt.kind for doubt in e.preflight}  # said of the bare model already, and of everything
    for one in e.probed:
        for check in (_answers, _gradient, _path, _huge, _weaker, _effort, _noise, _draws):
            yield from (doubt for doubt in check(one) if one.name != "none" or doubt.kind not in known)


def _about(one: Probed) -> str:
    return f"defense:{one.name}"


def _who(one: Probed) -> str:
    return "the bare model" if one.name == "none" else one.name


def _answers(one: Probed) -> Iterator[Doubt]:
    if one.probabilities:
        yield Doubt(
            kind="probabilities",
            about=_about(one),
            message=f"the answers of {_who(one)} to {one.clean.n} images look like probabilities, not logits: "
            "gradients vanish where it is sure",
        )
    if one.constant:
        yield Doubt(
            kind="constant-answers",
            about=_about(one),
            message=f"{_who(one)} gives the same answer to {one.clean.n} different images",
        )
    if not one.random and one.alone > max(CLOSE, 2 * one.apart):
        yield Doubt(
            kind="batch-dependence",
            about=_about(one),
            message=f"an answer of {_who(one)} changes by up to {_part(one.alone)} of the largest logit with the other "
            "images in its batch",
        )


def _gradient(one: Probed) -> Iterator[Doubt]:
    found = {
        "no gradient at all": one.absent,
        "a gradient that is zero or has underflowed": one.dead,
        "a gradient that is NaN or infinite": one.broken,
    }
    for what, share in found.items():
        if share.value:
            yield Doubt(
                kind="dead-gradients",
                about=_about(one),
                message=f"{_who(one)} has {what} on {_share(share)}: attacks that climb it cannot be trusted to fail",
                severity="serious" if share.value >= SHARE else "note",
            )


def _path(one: Probed) -> Iterator[Doubt]:
    if one.rose.value is not None and one.rose.high is not None and one.rose.high < RISE:
        steps = f", and {one.rising:.0%} of the steps raise it" if one.rising is not None else ""
        yield Doubt(
            kind="loss-does-not-rise",
            about=_about(one),
            message=f"PGD against {_who(one)} ends with a higher loss on only {_share(one.rose)}{steps}: the gradient "
            "does not point uphill",
        )


def _huge(one: Probed) -> Iterator[Doubt]:
    if one.huge.value:
        yield Doubt(
            kind="gradient-masking",
            about=_about(one),
            message=f"under a budget of 1/2, which can hide any image, {_who(one)} still answers {_share(one.huge)} "
            "rightly instead of none: the attack is misled by its gradients, and small-budget figures are too good",
            severity="serious" if (one.huge.low or 0) > 0 else "note",
        )


def _weaker(one: Probed) -> Iterator[Doubt]:
    """Attacks that ought to do less than PGD, and do more."""
    step, square, at = one.one_step, one.square, f"at {one.budget}"
    if _clear(step.gain):
        yield Doubt(
            kind="one-step-beats-iterative",
            about=_about(one),
            message=f"a single step {at} leaves {_who(one)} right on {_share(step.other)}, {one.steps} steps on "
            f"{show(step.one)}: gradients mislead",
        )
    if _clear(square.gain):
        yield Doubt(
            kind="black-box-beats-white-box",
            about=_about(one),
            message=f"Square {at}, which asks for answers alone, brings {_who(one)} from {show(square.one)} right "
            f"after PGD to {_share(square.other)}: the gradient misses what random search finds",
        )


def _effort(one: Probed) -> Iterator[Doubt]:
    """Another loss, or a little more of the same, that does more."""
    margin, longer, at = one.margin, one.longer, f"at {one.budget}"
    if _clear(margin.gain):
        yield Doubt(
            kind="loss-saturates",
            about=_about(one),
            message=f"PGD {at} that climbs the margin of the logits leaves {_who(one)} right on "
            f"{_share(margin.other)}, on the cross-entropy {show(margin.one)}: that loss saturates, and attacks on it "
            "look weaker than they are",
        )
    if longer is not None and _clear(longer.gain):
        yield Doubt(
            kind="not-converged",
            about=_about(one),
            message=f"the plan's attacks {at} leave {_who(one)} right on {_share(longer.one)}, one more start with "
            f"twice the steps on {show(longer.other)}: they had not converged",
        )


def _noise(one: Probed) -> Iterator[Doubt]:
    lost, attacked = one.noise.gain, one.attacked.gain
    if one.name == "none" or lost.value is None or attacked.value is None:
        return  # the bare model is judged on all images
    if _clear(lost) and lost.value > 0.5 * attacked.value:
        yield Doubt(
            kind="noise-does-as-much",
            about=_about(one),
            message=f"random noise of {one.budget} brings {_who(one)} from {show(one.noise.one)} to "
            f"{_share(one.noise.other)} right, PGD to {show(one.attacked.other)}: attacks find little that "
            "chance does not",
        )


def _draws(one: Probed) -> Iterator[Doubt]:
    if not one.random and one.apart > SAME:
        yield Doubt(
            kind="random-answers",
            about=_about(one),
            message=f"{_who(one)} is said to be deterministic, and two answers to the same image differ by up to "
            f"{_part(one.apart)} of the largest logit (variance of the confidence in the truth {one.variance:.2g}, "
            f"{one.clean.n} images): attacks did not average over its draws",
        )
    if one.random and one.eot == 1 and one.apart > SAME:
        yield Doubt(
            kind="random-without-eot",
            about=_about(one),
            message=f"{_who(one)} is random (variance of the confidence in the truth {one.variance:.2g}, "
            f"{one.clean.n} images), and gradients were taken over one draw: set eot",
        )
    elif one.random and one.agreement.value is not None and one.agreement.value < AGREE:
        yield Doubt(
            kind="eot-too-small",
            about=_about(one),
            message=f"gradients of {_who(one)} over two halves of the {one.eot} draws have a mean cosine of "
            f"{show(one.agreement, 2)}, {one.agreement.n} images, less than {AGREE}: more draws would make the attack "
            "stronger",
            severity="serious" if (one.agreement.high or 0) < CHANCE else "note",
        )


def _clear(gain: Estimate) -> bool:
    return gain.value is not None and gain.low is not None and gain.value > TOLERANCE and gain.low > 0


def _share(share: Estimate) -> str:
    return f"{show(share)} of {share.n} images"


def _part(share: float) -> str:
    return f"{100 * share:.2g} %"
