# SPDX-License-Identifier: Apache-2.0
"""Whether anybody does the jobs."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from radproof.store.tables import Worker, now

SILENCE = timedelta(seconds=60)  # after which a worker counts as gone


def served(session: Session) -> bool:
    """Whether a worker gave a sign of life lately."""
    newest = session.execute(select(func.max(Worker.seen))).scalar()
    return newest is not None and now() - newest < SILENCE
