# SPDX-License-Identifier: Apache-2.0
"""Do a plan's certificates alone."""

from pathlib import Path

from radproof.assess import sheltered
from radproof.assess.plan import Plan
from radproof.assess.result import Certified
from radproof.core.files import write_text
from radproof.core.progress import SILENT, Progress
from radproof.errors import BadInput

CERTIFICATES = "certificates.json"


def certify(plan: Plan, out: Path, *, overwrite: bool = False, progress: Progress = SILENT) -> Certified:
    """Do the plan's certify section alone; the certificates are left in `out`/certificates.json."""
    found = sheltered.certify_only(plan, out, overwrite=overwrite, progress=progress)
    if found is None:
        raise BadInput("the plan certifies nothing; give it a section certify:")
    write_text(out / CERTIFICATES, found.model_dump_json(indent=1))
    return found
