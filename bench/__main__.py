# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every suite, each in a process of its own, gathered in bench/results/<version>.json.

Ratios are measured side by side in one run; absolute times are those of the machine named in the file. Suites can be
run one by one, and results of earlier runs of the same version are kept for those that are left out:

    python -m bench [certify] [defenses] [detectors] [guard] [memory] [speed] [strength] [training] [--quick]
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radproof import __version__

HERE = Path(__file__).parent
SUITES = ("certify", "defenses", "detectors", "guard", "memory", "speed", "strength", "training")
QUICK = SUITES  # those that know --quick


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="only see whether they run; nothing is kept")
    given = parser.parse_args()
    unknown = set(given.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {unknown.pop()!r}; there are {', '.join(SUITES)}")
    path = HERE / "results" / f"{__version__}.json"
    for suite in given.suites or SUITES:
        print(f"{suite} …", file=sys.stderr)
        measured = run(suite, given.quick)
        if not given.quick:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            found[suite] = {"about": about(), **measured}
            kept = {name: found[name] for name in SUITES if name in found}
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"version": __version__, **kept}, indent=1) + "\n", encoding="utf-8")
    if not given.quick:
        print(path)


def run(suite: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", f"bench.{suite}", *(["--quick"] if quick and suite in QUICK else [])]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=HERE.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def about() -> dict[str, Any]:
    """What is measured and when; the load tells whether the machine had other work."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False)
    return {
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).date().isoformat(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
