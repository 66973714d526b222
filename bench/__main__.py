# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every suite, each in a process of its own, gathered in bench/results/<version>.json.

Ratios are measured side by side in one run; absolute times are those of the machine named in the file.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from radproof import __version__

HERE = Path(__file__).parent
SUITES = ("attacks", "defenses")


def main() -> None:
    found = {}
    for suite in SUITES:
        print(f"{suite} …", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, str(HERE / f"{suite}.py")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found[suite] = json.loads(done.stdout)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False)
    about = {
        "version": __version__,
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).date().isoformat(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    path = HERE / "results" / f"{__version__}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
