# SPDX-License-Identifier: Apache-2.0
"""Choose the best of many defences."""

import math
from pathlib import Path

from radproof.app.assessing import assess
from radproof.assess.tune import Tuned, read_search, tuned
from radproof.core.files import write_text
from radproof.core.params import fraction, show_fraction
from radproof.core.progress import SILENT, Progress
from radproof.errors import BadPlan
from radproof.reports.tuning import front_svg, tuning_markdown


def tune(
    search: Path,
    out: Path | None = None,
    *,
    eps: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> tuple[Path, Tuned]:
    """Try every candidate of a search file on validation patients; the run's folder, with tuning.md, front.svg, report.

    `eps` is the budget to choose at, the plan's largest by default. Raises BadPlan for a budget that is not the plan's.
    """
    plan, wanted, told = read_search(search)
    chosen = plan.budgets[-1]
    if eps is not None:
        asked = fraction(eps)
        near = [budget for budget in plan.budgets if isinstance(asked, float) and math.isclose(budget, asked)]
        if not near:
            raise BadPlan(f"the plan has no budget {eps}; it has {', '.join(map(show_fraction, plan.budgets))}")
        chosen = near[0]
    folder = out or Path("runs") / plan.name
    found = tuned(assess(plan, folder, overwrite=overwrite, progress=progress), wanted, told, chosen)
    write_text(folder / "front.svg", front_svg(found))
    write_text(folder / "tuning.md", tuning_markdown(found))
    write_text(folder / "tuning.json", found.model_dump_json(indent=1))
    return folder, found
