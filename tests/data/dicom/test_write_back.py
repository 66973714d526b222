# SPDX-License-Identifier: Apache-2.0
"""Changed grey levels become stored values: exactly under a window, inside the budget under a table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radproof.data.dicom.back import restore
from radproof.data.dicom.display import Display
from radproof.errors import BadInput


@pytest.mark.parametrize("inverted", [False, True])
def test_levels_become_stored_values_and_values_outside_the_window_stay(inverted):
    raw = np.array([[-2000, -1000, -999], [0, 400, 4000]], np.int32)
    shown = Display(-1000, 400, inverted)
    levels = np.array([[0, 0, 2], [1005, 1397, 1400]])
    changed = (1400 - levels if inverted else levels).astype(np.int32)
    stored = restore(changed, raw, shown, eps=None)
    assert stored.tolist() == [[-2000, -1000, -998], [5, 397, 4000]]


@pytest.mark.parametrize(
    ("changed", "says"), [(np.zeros((2, 3)), "3x2 pixels"), (np.full((2, 2), 9), "0..8"), (np.full((2, 2), -1), "0..8")]
)
def test_another_original_is_refused(changed, says):
    with pytest.raises(BadInput, match=says):
        restore(changed.astype(np.int32), np.zeros((2, 2), np.int32), Display(0, 8), eps=None)


def tables(size: int) -> dict[str, np.ndarray]:
    x = np.arange(size)
    rough = np.random.default_rng(3).random(size)
    return {
        "sigmoid": 1 / (1 + np.exp(-4 * (x - size / 2) / size)),
        "plateaus": np.floor(x / 7) / np.floor((size - 1) / 7),
        "falling": (1 - x / (size - 1)) ** 2,
        "rough": rough,
        "coarse": np.round(rough * 5) / 5,
    }


@pytest.mark.parametrize("kind", list(tables(8)))
@pytest.mark.parametrize("inverted", [False, True])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), eighths=st.sampled_from([1, 4, 8, 16, 64, 800]))
def test_under_a_table_the_best_value_inside_the_budget_is_taken(kind, inverted, seed, eighths):
    rng = np.random.default_rng(seed)
    table, low = tables(211)[kind], -40
    eps = eighths / 8 / 255
    shown = Display(low, low + 210, inverted, tuple(table.tolist()))
    display = 1 - table if inverted else table
    raw = rng.integers(low - 5, low + 216, (6, 7), dtype=np.int32)
    now = np.rint(display[np.clip(raw - low, 0, 210)] * 65535)
    changed = np.clip(now + rng.integers(-300, 301, raw.shape) * eighths, 0, 65535).astype(np.int32)
    changed[0] = now[0]
    stored = restore(changed, raw, shown, eps=eps)
    for s, p, found in zip(raw.flat, changed.flat, stored.flat, strict=True):
        if not low <= s <= low + 210 or p == round(display[s - low] * 65535):
            assert found == s
            continue
        own = display[s - low]
        near = [v for v in range(211) if abs(display[v] - own) <= eps + 1e-9]
        near = [v for v in near if abs(round(display[v] * 65535) - round(own * 65535)) <= int(eps * 65535 + 1e-6)]
        best = min(abs(display[v] - p / 65535) for v in near)
        assert found - low in near
        assert abs(display[found - low] - p / 65535) == pytest.approx(best, abs=1e-12)


def test_of_values_shown_alike_the_nearest_to_the_original_is_taken():
    table = np.repeat([0.0, 0.5, 1.0], [10, 10, 10])
    raw = np.array([[9, 20, 0, 14]], np.int32)
    changed = np.array([[32768, 32768, 32768, 65535]], np.int32)
    stored = restore(changed, raw, Display(0, 29, table=tuple(table.tolist())), eps=None)
    assert stored.tolist() == [[10, 19, 10, 20]]
