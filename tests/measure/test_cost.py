# SPDX-License-Identifier: Apache-2.0
import pytest

from radproof.measure.cost import Stopwatch


def test_stages_add_up_even_when_they_fail(monkeypatch):
    ticks = iter([0.0, 1.5, 10.0, 12.0, 20.0, 20.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    with watch.stage("attack"):
        pass
    with pytest.raises(KeyError), watch.stage("attack"):
        raise KeyError
    with watch.stage("score"):
        pass
    assert watch.seconds == {"attack": 3.5, "score": 0.5}
