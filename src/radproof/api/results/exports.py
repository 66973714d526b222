# SPDX-License-Identifier: Apache-2.0
"""What of a run leaves the server as a file of its own is told in the trail."""

from radproof.api.people.access import Caller
from radproof.api.service import Service
from radproof.store.tables import Run

TOLD = frozenset({"csv", "pdf", "image"})  # every image's row, the printed report, an image as it is stored


def exported(service: Service, who: Caller, run: Run, form: str) -> None:
    """One event for one of `TOLD`; nothing for another format."""
    if form not in TOLD:
        return
    with service.database.writing() as session:
        service.trail.add(session, "run.export", actor=who.user_id, object=run.id, project=run.project_id, format=form)
