# SPDX-License-Identifier: Apache-2.0
"""Whole grey levels 0..top, and what of a budget is left on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.core.depth import EIGHT, SIXTEEN, Depth, span
from radproof.errors import BadInput


@given(st.integers(1, 65535), st.integers(0, 65535))
def test_whole_grey_levels_are_not_lost_to_binary_fractions(top, n):
    assert Depth(top).levels(n / top) == n


@given(st.integers(1, 65535), st.integers(0, 255))
def test_a_budget_is_rounded_down(top, k):
    assert Depth(top).levels(k / 255) == k * top // 255


def test_levels_of_the_usual_ladder():
    assert [EIGHT.levels(eps / 255) for eps in (0.5, 1, 2, 4, 8, 1.5)] == [0, 1, 2, 4, 8, 1]
    assert [SIXTEEN.levels(eps / 255) for eps in (0.125, 0.25, 0.5, 1)] == [32, 64, 128, 257]
    assert [Depth(3000).levels(eps / 255) for eps in (1, 4)] == [11, 47]


@pytest.mark.parametrize(("top", "bits"), [(1, 8), (40, 8), (255, 8), (256, 16), (4000, 16), (65535, 16)])
def test_the_file_that_holds_them(top, bits):
    assert Depth(top).bits == bits


@pytest.mark.parametrize("top", [0, -1, 65536])
def test_tops_that_no_file_holds_are_refused(top):
    with pytest.raises(BadInput, match=rf"1\.\.65535; got {top}"):
        Depth(top)


def test_depths_are_ordered_by_their_top_and_say_what_they_are():
    depths = [SIXTEEN, Depth(4000, held=True), EIGHT, Depth(40), Depth(4000)]
    assert sorted(depths) == [Depth(40), EIGHT, Depth(4000), Depth(4000, held=True), SIXTEEN]
    assert [str(depth) for depth in sorted(depths)] == [
        "41 grey levels",
        "8 bit",
        "4001 grey levels",
        "4001 grey levels",
        "16 bit",
    ]
    assert Depth(255) == EIGHT != Depth(255, held=True)


def test_the_depths_of_a_set_in_words():
    assert span([Depth(399), Depth(399, held=True)]) == "400 grey levels"
    assert span([Depth(29999), EIGHT, Depth(3000)]) == "8 bit to 30000 grey levels"
