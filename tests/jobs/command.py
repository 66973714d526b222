# SPDX-License-Identifier: Apache-2.0
"""A command in miniature that a worker can run: `python command.py HOW FOLDER`."""

import os
import signal
import sys
import time
from pathlib import Path

from radproof.cli.supervised import Told, end_with_worker, fail, say

end_with_worker()
how, folder = sys.argv[1], Path(sys.argv[2])
(folder / "began").open("a").write(f"{os.getpid()}\n")
times = len((folder / "began").read_text().split())
if how == "busy" and times < 3:
    fail("another process is at work in here; wait for it", 2)
    sys.exit(2)
if how == "noise":
    os.write(2, b"x" * 3_000_000 + b"\n{broken\n" + b'{"stage": 3}\n')
    os.write(1, b"y" * 5_000_000)
if how == "told":
    print(sorted(os.environ))
    sys.exit(0)
if how in ("killed", "killed again and again") and (times < 3 or how != "killed"):
    os.kill(os.getpid(), signal.SIGKILL)
told = Told()
told.start("steps", 4)
told.advance("steps", 2)
if how == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if how in ("waits", "deaf"):
    say(note="waiting")
    try:
        while not (folder / "go").exists():
            time.sleep(0.02)
    except KeyboardInterrupt:
        fail("stopped; finished batches are kept", 130)
        sys.exit(130)
if how == "fails":
    fail(f"cannot read {folder}/secret/file.png: no", 2)
    sys.exit(2)
if how == "gate":
    fail("1 of 1 gates did not pass", 1)
    sys.exit(1)
if how == "breaks":
    sys.exit(1)
told.advance("steps", 2)
