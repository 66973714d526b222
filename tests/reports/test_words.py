"""Numbers in words, against cases worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.core.records import Estimate
from radproof.reports.words import budget, count, listed, plain, sample, seconds, sentence, show


def estimate(low: float, value: float, high: float, n: int = 90, patients: int | None = None) -> Estimate:
    return Estimate(value=value, low=low, high=high, method="bootstrap", n=n, patients=patients)


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        ((0.54, 0.62, 0.70), "share", "62 % (54–70)"),
        ((0.0, 0.0, 0.04), "share", "0 % (0–4)"),
        ((0.0, 0.004, 0.021), "share", "0.4 % (0–2.1)"),
        ((0.981, 0.996, 1.0), "share", "99.6 % (98.1–100)"),
        ((0.0, 0.0002, 0.001), "share", "<0.1 % (0–0.1)"),
        ((0.999, 0.9998, 1.0), "share", ">99.9 % (99.9–100)"),
        ((1.0, 1.0, 1.0), "share", "100 % (100–100)"),
        ((0.3, 0.34, 0.391), "points", "34 points (30–39)"),
        ((-0.09, -0.031, 0.034), "points", "−3 points (−9 to 3)"),
        ((0.712, 0.79, 0.858), "score", "0.79 (0.71–0.86)"),
        ((0.2 / 255, 0.31 / 255, 0.5 / 255), "budget", "0.31/255 (0.2–0.5)"),
        ((1 / 255, 1 / 255, 2 / 255), "budget", "1/255 (1–2)"),
        ((40.91, 41.24, 41.55), "decibel", "41.2 dB (40.9–41.5)"),
        ((1.28, 1.31, 1.35), "distance", "1.3 (1.3–1.4)"),
    ],
)
def test_an_estimate_is_said_with_its_interval(numbers, kind, text):
    assert sentence(estimate(*numbers), kind) == text


def test_nothing_measured_is_a_dash_with_the_reason():
    empty = Estimate(value=None, low=None, high=None, method="refused: too few patients", n=3)
    assert sentence(empty) == "– refused: too few patients"
    assert show(empty).n == "n 3"
    assert sentence(empty.model_copy(update={"n": 0})) == "– no images to measure on"
    assert sentence(None) == "– not measured"


def test_the_end_of_a_search_stands_for_itself_or_more():
    median = estimate(9 / 255, 16 / 255, 16 / 255)
    assert sentence(median, "budget", most=16 / 255) == "≥16/255 (9–≥16)"
    assert sentence(median, "budget", most=32 / 255) == "16/255 (9–16)"


def test_the_sample_is_named():
    assert sample(estimate(0, 0.1, 1, n=1090, patients=800)) == "1,090 images of 800 patients"
    assert sample(estimate(0, 0.1, 1, n=1, patients=1)) == "1 image of 1 patient"
    assert sample(estimate(0, 0.1, 1, n=7)) == "7 images"


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.42, "0.42 s"), (9.96, "10 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(duration, text):
    assert seconds(duration) == text


def test_small_words():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert count(2, "image") == "2 images"
    assert budget(0.5) == "128/255"
    assert (plain(7300675), plain(1e-5), plain(0.123456)) == ("7,300,675", "1e-05", "0.1235")


share = st.floats(0, 1)


@given(st.tuples(share, share, share).map(sorted))
def test_a_share_is_never_rounded_to_all_or_nothing(numbers):
    shown = show(estimate(*numbers), strip=True)
    assert (shown.value == "0 %") == (numbers[1] == 0)
    assert (shown.value == "100 %") == (numbers[1] == 1)
    assert shown.strip is not None
    assert 0 <= shown.strip[0] <= shown.strip[1] <= shown.strip[2] <= 100
