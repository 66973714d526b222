# SPDX-License-Identifier: Apache-2.0
"""Uploads of images whose import failed: they may hold patients' names, so none waits for ever to be tried again."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.jobs.states import FINAL
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.tables import DataSet, File, Job, now
from radproof.store.trail import Trail


def forget_failed(settings: Settings, database: Database, worker: str) -> int:
    """Remove those that failed `keep_failed_days` ago or earlier, and tell the trail; how many."""
    before = now() - timedelta(days=settings.keep_failed_days)
    asked = (
        select(Job.id, DataSet.id)
        .join(DataSet, DataSet.id == Job.subject_id)
        .where(DataSet.state == "failed", DataSet.file_id.is_not(None))
        .where(Job.kind == "data", Job.state.in_(FINAL), Job.finished <= before)
    )
    with database.reading() as session:
        found = list(session.execute(asked))
    files, count = Files(settings), 0
    for job, data in found:
        with database.writing() as session:
            failed = _still_failed(session, job, data)
            if failed is not None:
                forget_upload(session, files, failed)
                Trail(database).add(session, "data.forget", actor=worker, object=data, project=failed.project_id)
                count += 1
    return count


def forget_upload(session: Session, files: Files, data: DataSet) -> None:
    """The archive and the table beside it; what is shared with another upload stays for that one."""
    for name in (data.file_id, data.told.get("labels")):
        file = session.get(File, name) if name else None
        if file is not None:
            files.forget(session, file)


def _still_failed(session: Session, job: str, data: str) -> DataSet | None:
    """Unless somebody tried it again or removed it meanwhile; nobody does until the transaction ends."""
    lock = {"key_share": True}
    over = session.get(Job, job, with_for_update=lock)
    found = session.get(DataSet, data, with_for_update=lock)
    if over is None or over.state not in FINAL or found is None or found.state != "failed":
        return None
    return found
