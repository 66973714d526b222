# SPDX-License-Identifier: Apache-2.0
"""Imports that failed, tried again on the upload that is kept for it, with other words beside it where wanted."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.http.wanted import CARD
from radproof.api.people.access import Caller, held
from radproof.api.service import Service
from radproof.api.shelf.holdings import job_of, tell, word
from radproof.api.shelf.room import check_room, keep_file
from radproof.store.incoming import Staged
from radproof.store.tables import DataSet, File, Model

T = TypeVar("T", Model, DataSet)
_WORDS: dict[type[Any], tuple[str, ...]] = {
    Model: ("architecture",),
    DataSet: ("classes", "multi_label", "label_tag", "strict"),
}
_FILES: dict[type[Any], str] = {Model: "card", DataSet: "labels"}


def make_retry(
    session: Session,
    service: Service,
    who: Caller,
    kind: type[T],
    id: str,
    told: Mapping[str, Any],
    file: Staged | None = None,
) -> T:
    """Queue a failed import again.

    `told` replaces what was said (an empty value takes it back), `file` the model's card or the images' table; what
    they leave out stays. Raises Problem 404; 409 for an import that did not fail, or whose upload is gone; TooLarge,
    for a project that is over its quota too.
    """
    found = held(session, kind, id, who)
    upload = session.get(File, found.file_id) if found.file_id else None
    job = job_of(session, found.id)
    if found.state != "failed" or job is None or job.kind != word(kind):
        raise Problem(409, f"this import did not fail: its state is {found.state}; there is nothing to try again")
    if upload is None or not service.files.has(upload.sha256):
        raise Problem(409, "the upload is no longer there; upload it again")
    check_room(session, service, found.project_id, file.size if file else 0)
    service.jobs.retry(session, job)
    said = {**found.told, **{key: value for key, value in told.items() if key in _WORDS[kind]}}
    if file is not None:
        said[_FILES[kind]] = _instead(session, service, who, found, file, said.get(_FILES[kind]))
    before, found.told = found.told, {key: value for key, value in said.items() if value}
    found.state, found.error = "importing", ""
    session.flush()
    changed = sorted(key for key in {*before, *found.told} if before.get(key) != found.told.get(key))
    more = {"changed": changed} if changed else {}  # which words, not what they say: that may name somebody
    more |= {"sha256": file.sha256, "bytes": file.size} if file else {}
    tell(session, service, who, f"{word(kind)}.retry", found, attempt=job.attempt, **more)
    return found


def can_retry(found: Model | DataSet) -> bool:
    """Whether its page offers it; uploads of imports that failed under earlier versions were not kept."""
    return found.state == "failed" and found.file_id is not None


@contextmanager
def staged_card(service: Service, who: Caller, card: Mapping[str, Any] | None) -> Generator[Staged | None]:
    """A card that came as JSON, as a file that waits for its place. Raises TooLarge."""
    if card is None:
        yield None
        return
    with service.files.incoming(most=CARD, project=who.project_id or "") as one:
        one.write(_as_text(card))
        yield one.finish()


def _as_text(card: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(card), allow_nan=False).encode()
    except ValueError:
        raise Problem(422, "card: NaN and infinities are no JSON; expected numbers") from None


def _instead(
    session: Session, service: Service, who: Caller, found: Model | DataSet, file: Staged, before: str | None
) -> str:
    made = keep_file(session, service, who, found.project_id, file)
    old = session.get(File, before) if before else None
    if old is not None:
        service.files.forget(session, old)
    return made.id
