# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped, killed and damaged leaves the same in the end."""

import json
import signal
import time

import pandas as pd
import pytest

pytestmark = pytest.mark.e2e


def result_of(run) -> dict:
    result = json.loads((run / "result.json").read_text())
    result.pop("timing")
    return result


def wait_for(run, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(run.glob("work/batches/*/*.npz"))) < count:
        time.sleep(0.02)
    return len(list(run.glob("work/batches/*/*.npz")))


def test_ctrl_c_and_a_kill_lose_at_most_a_batch_and_change_no_byte(finished, tmp_path, plan, write_plan, command, done):
    path, run = write_plan(tmp_path, plan), tmp_path / "run"
    process = command("assess", path, "--out", run, short=True)
    wait_for(run, 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert not (run / "result.json").exists()
    made = wait_for(run, 2)
    process = command("assess", path, "--out", run, short=True)
    assert wait_for(run, made + 6) >= made + 6
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "result.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in run.glob("work/batches/*/*.npz")}
    damaged = sorted(kept)[0]
    damaged.write_bytes(damaged.read_bytes()[:50])  # as a failing disk would leave it
    done("assess", path, "--out", run)
    assert {p: p.stat().st_mtime_ns for p in kept if p != damaged} == {p: t for p, t in kept.items() if p != damaged}
    assert result_of(run) == result_of(finished)
    hashes = [pd.read_parquet(folder / "rows.parquet")["sha256"].tolist() for folder in (run, finished)]
    assert hashes[0] == hashes[1]
