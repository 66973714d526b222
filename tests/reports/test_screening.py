"""The page of one screened image: what it says, what it draws, and that it can be read anywhere."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from radproof.assess.screening import Judged, Screened
from radproof.detectors.calibrate import Threshold, Thresholds
from radproof.detectors.fitted import Fitted
from radproof.detectors.guard import About, Choice, Grid, Guard, Sentry
from radproof.detectors.save import GuardCard, SentryCard
from radproof.detectors.screening import Reading, Screening
from radproof.errors import BadInput
from radproof.models.blueprint import Blueprint
from radproof.models.zoo import from_blueprint
from radproof.reports.promises import basis, origin, promise, rate, refusals, share, shared, threshold_rows
from radproof.reports.screening import gauge, page_of, render, views, write_page

LABELS = ("Normal", "Pneumonia")
HOSTILE = "<script>alert(1)</script>"
KEPT = Threshold(value=30.5, promised=0.05, n=180, low=0.0, high=0.09)
REFUSED = Threshold(value=None, promised=0.05, n=7, reason="7 clean images cannot promise 5 %: at least 19 are needed")


def thresholds(one: Threshold = KEPT) -> Thresholds:
    return Thresholds(promised=0.05, groups={"": one}, covers=("clean", "jpeg-90"))


@pytest.fixture(scope="module")
def guard() -> Guard:
    """Around a small network with random weights; what it would score is told by the readings below."""
    torch.manual_seed(0)
    model = from_blueprint(
        Blueprint(architecture="cxrnet", labels=LABELS, input_size=32, channels=1, hidden=0, mean=(0.5,), std=(0.25,))
    ).freeze()
    about = About(model_fingerprint="ab" * 32, grid=Grid(channels=1, height=40, width=60), images=180, patients=150)
    sentry = Sentry(Choice(name="frequency"), Fitted(model, None), thresholds(), torch.arange(180.0))
    return Guard(model, about, sentry)


def reading(score: float, threshold: Threshold = KEPT, higher: int = 0) -> Reading:
    return Reading(detector="frequency", score=score, threshold=threshold, tail=(1 + higher) / 181, clean=180)


def judged(verdict: str, suspicion: Reading, *reasons: str, outside: Reading | None = None) -> Judged:
    found = Screening(
        prediction=("Pneumonia",),
        confidence=0.873,
        probabilities={"Normal": 0.127, "Pneumonia": 0.873},
        group="Pneumonia",
        verdict=verdict,
        reasons=reasons,
        suspicion=suspicion,
        outside=outside,
    )
    pixels = torch.linspace(0, 1, 2400).view(1, 40, 60)
    return Judged(Screened(name="/secret/Jane Doe.png", image="0123456789abcdef", screening=found), pixels)


SUSPICIOUS = judged("suspicious", reading(41.2), "The finest grain: 7 spreads from the usual.", HOSTILE)


def test_the_page_says_the_verdict_the_figures_and_the_reasons(guard, elements):
    text = elements(render(page_of(SUSPICIOUS, guard))).text
    for said in (
        "suspicious",
        "Do not rely on the model's answer for this image.",
        "Pneumonia 87 % sure",
        "41.2 of 30.5 allowed",
        "As high or higher: none of 180 clean images.",
        "The finest grain: 7 spreads from the usual.",
        "180 clean images of 150 patients",
        "grey, 60 × 40 pixels, 8 bits",
        "up to 9 % in 95 of 100 calibration sets",
    ):
        assert said in text, said
    assert "PHANTOM" not in text
    assert "PHANTOM DATA" in elements(render(page_of(SUSPICIOUS, guard, phantom=True))).text


def test_the_page_needs_nothing_else_and_names_nobody(guard, tmp_path, elements):
    name = write_page(tmp_path, SUSPICIOUS, guard)
    assert name == "0123456789abcdef.html"
    page = (tmp_path / name).read_text(encoding="utf-8")
    assert page == render(page_of(SUSPICIOUS, guard))
    parsed = elements(page)
    assert not {tag for tag, _ in parsed.elements} & {"script", "iframe", "object", "embed", "form", "base"}
    assert HOSTILE in parsed.text
    for tag, attributes in parsed.elements:
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith("data:"), tag
    assert not re.search(r"url\(|@import|https?://", page)
    assert "Jane" not in page
    assert "secret" not in page


@pytest.mark.parametrize("verdict", ["clear", "suspicious", "outside the model's data", "not established"])
def test_every_verdict_has_words_of_its_own(guard, verdict):
    page = page_of(judged(verdict, reading(3.0)), guard)
    others = [
        page_of(judged(other, reading(3.0)), guard)
        for other in ("clear", "suspicious", "outside the model's data", "not established")
        if other != verdict
    ]
    assert page.headline not in {other.headline for other in others}
    assert page.advice not in {other.advice for other in others}
    assert (page.tone == "calm") == (verdict == "clear")


def test_a_refusal_has_no_page(guard):
    with pytest.raises(BadInput, match="too small"):
        page_of(Judged(Screened(name="a.png", refusal="too small")), guard)


def test_a_gauge_puts_the_threshold_in_the_middle():
    at = gauge(reading(30.5, higher=9), "t")
    assert (at.filled, at.mark, at.over) == (50.0, 50.0, False)  # at the threshold is not above it
    assert at.note == "As high or higher: 9 of 180 clean images."
    assert gauge(reading(61.0), "t").filled == gauge(reading(1e6), "t").filled == 100.0
    assert gauge(reading(-3.0), "t").filled == 0.0
    none = gauge(reading(5.0, REFUSED), "t")
    assert none.mark is None
    assert "at least 19" in none.note


def test_the_image_and_its_maps_are_drawn_as_they_are(guard):
    shown, differs, looks = views(SUSPICIOUS.said.screening, SUSPICIOUS.pixels, guard)
    data = base64.b64decode(shown.uri.removeprefix("data:image/webp;base64,"))
    drawn = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(float)
    assert drawn.shape == (shown.height, shown.width) == (299, 448)
    assert drawn[0, 0] == 0
    assert drawn[-1, -1] == 255
    assert shown.ends is None
    assert differs.ends is not None
    assert looks.title == "What speaks for Pneumonia"


def test_a_model_without_feature_maps_has_its_image_shown_alone(guard):
    class Asked:
        labels, head, micro_batch = LABELS, "softmax", 4

        def __call__(self, x):
            return torch.zeros(len(x), 2)

    plain = Guard(Asked(), guard.about, guard.suspicion)
    assert [view.title for view in views(SUSPICIOUS.said.screening, SUSPICIOUS.pixels, plain)] == ["The image"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0, "0 %"),
        (0.0001, "<0.1 %"),
        (0.005, "0.5 %"),
        (0.05, "5 %"),
        (0.873, "87 %"),
        (0.9996, ">99.9 %"),
        (1, "100 %"),
    ],
)
def test_shares_never_round_to_never_or_always(part, said):
    assert share(part) == said


def test_promises_and_refusals_are_told(guard):
    told = promise(guard, KEPT)
    assert told.startswith("At most 5 % of clean images are to get an alarm. Called suspicious are up to 9 % in 95")
    assert "JPEG, quality 90" in told
    assert "set on 180 images" in told
    assert REFUSED.reason in promise(guard, REFUSED)
    suspicion = SentryCard(
        choice=Choice(name="lid"),
        thresholds=Thresholds(by="class", promised=0.05, groups={"Normal": KEPT, "Pneumonia": REFUSED}),
    )
    outside = SentryCard(choice=Choice(name="novelty"), thresholds=thresholds())
    card = GuardCard(about=guard.about, suspicion=suspicion, outside=outside)
    rows = threshold_rows(card)
    assert [(row["detector"], row.get("class"), row["threshold"]) for row in rows] == [
        ("lid", "Normal", "30.5"),
        ("lid", "Pneumonia", "nothing is promised"),
        ("novelty", None, "30.5"),
    ]
    assert (
        shared(card)
        == "At most 10 % of clean images are to get an alarm: 5 % as suspicious, 5 % as outside the model's data."
    )
    assert "not known" in origin(guard.about)
    assert origin(guard.about.model_copy(update={"data": "training"})) != origin(
        guard.about.model_copy(update={"data": "other"})
    )
    assert [rate(part) for part in (0.025, 0.05, 0.0005)] == ["2.5 %", "5 %", "0.05 %"]
    assert refusals(card) == [f"No threshold for lid (Pneumonia): {REFUSED.reason}"]
    assert basis(guard.about.model_copy(update={"patients": None, "images": 1})) == "1 clean image"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (400, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(400, "light", marks=pytest.mark.slow),
    ],
)
def test_the_page_fits_and_can_be_read_at_any_width_in_any_light(guard, tmp_path, browser, asks, width, scheme):
    address = (tmp_path / write_page(tmp_path, SUSPICIOUS, guard, phantom=True)).as_uri()
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address)
    assert page.evaluate(asks["spilling"]) == []
    assert page.evaluate(asks["faint"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
    assert complaints == []
