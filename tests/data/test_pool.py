"""Work in threads: results in order, progress told, the first error raised."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from radproof.core.progress import SILENT, Silent
from radproof.data.pool import LARGE, each, room_for


def test_results_come_in_the_items_order_and_are_told():
    told = []

    class Told(Silent):
        def advance(self, stage, amount=1.0):
            told.append((stage, amount))

    def slow_first(item):
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert each(slow_first, range(20), stage="squares", progress=Told()) == [i * i for i in range(20)]
    assert told == [("squares", 1.0)] * 20
    assert each(slow_first, [], stage="squares", progress=SILENT) == []


def test_an_error_ends_the_work():
    started = []

    def fail_early(item):
        started.append(item)
        time.sleep(0.001)
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        each(fail_early, range(5000), stage="x", progress=SILENT)
    assert len(started) < 5000


@pytest.mark.parametrize(("pixels", "together"), [(LARGE, True), (LARGE + 1, False)])
def test_large_images_have_the_memory_for_themselves(pixels, together):
    inside, most = [], []

    def decode(item):
        with room_for(pixels):
            inside.append(item)
            time.sleep(0.02)
            most.append(len(inside))
            inside.remove(item)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode, range(4)))
    assert (max(most) > 1) == together
