"""Records round-trip, refuse NaN and unknown keys, and hash alike when they are alike."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from radproof.core.params import fraction, show_fraction
from radproof.core.records import Doubt, Estimate, canonical_json, digest

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(numbers, numbers, numbers, st.integers(0, 10**6), st.text())
def test_an_estimate_reads_back_as_itself(value, low, high, n, method):
    estimate = Estimate(value=value, low=low, high=high, method=method, n=n)
    assert Estimate.model_validate_json(estimate.model_dump_json()) == estimate


def test_an_estimate_has_all_its_numbers_or_none():
    with pytest.raises(ValidationError, match="all numbers or all None"):
        Estimate(value=0.5, low=None, high=None, method="", n=1)
    assert Estimate(value=None, low=None, high=None, method="", n=0).value is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_record_holds_nan_or_infinity(bad):
    with pytest.raises(ValidationError):
        Estimate(value=bad, low=0, high=1, method="", n=1)
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"x": bad})


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Doubt.model_validate({"kind": "a", "about": "b", "message": "c", "colour": "red"})


@given(st.dictionaries(st.text(), numbers))
def test_equal_values_have_equal_digests_in_any_order(value):
    assert digest(value) == digest(dict(reversed(value.items())))


@given(st.integers(1, 255))
def test_budgets_are_written_as_they_are_read(level):
    assert fraction(show_fraction(level / 255)) == pytest.approx(level / 255)


def test_half_a_grey_level_is_written_so():
    assert show_fraction(0.5 / 255) == "0.5/255"
    assert show_fraction(0.3) == "76.5/255"
