# SPDX-License-Identifier: Apache-2.0
"""The server, and the worker beside it, are killed -9: the run ends once, with the same bytes."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.site.running import Site

from .test_crash import LONG, at_work, check_ended, children, gone, until

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(1800)]


def workers(server: int) -> list[int]:
    """The processes beside the server that do its jobs."""
    found: list[int] = []
    for number in children(server):
        with suppress(OSError):
            if b"worker" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(number)
    return found


def test_server_and_worker_killed_twenty_times_in_mid_run_ends_with_the_same_bytes(furnished) -> None:
    run, job = furnished.run(LONG)
    home, rng, killed = furnished.settings.home, random.Random(3), ""
    site = Site(home)

    def over() -> bool:
        return furnished.job(job).state in ("done", "failed")

    while len(killed) < 20:
        until(lambda: over() or bool(at_work(home)), "a command")
        if rng.random() < 0.7:
            before = furnished.job(job).progress
            until(lambda old=before: over() or furnished.job(job).progress != old, "progress")
        time.sleep(rng.uniform(0, 1.5))
        assert not over(), f"over after {killed}"
        beside = workers(site.process.pid)
        if len(killed) % 3 == 2 and beside:
            os.kill(beside[0], signal.SIGKILL)
            until(lambda server=site.process.pid, old=beside[0]: bool({*workers(server)} - {old}), "another worker")
            killed += "w"
        else:
            site.kill()
            until(lambda old=beside: all(map(gone, old)) and not at_work(home), "everything beside it to end")
            killed += "s"
            site = Site(home)
            assert httpx.get(f"{site.address}/healthz").status_code == 200
    check_ended(furnished, run, job)
    print(f"killed {killed}")
    assert site.stop() == 0
