# SPDX-License-Identifier: Apache-2.0
"""Requests that make things, sent twice: the same Idempotency-Key makes one thing and gives the same answer.

A key belongs to one user, method and path, and is kept for 24 hours. What is compared is what the route says it was
asked (`told`); of a multipart upload that is the hashes of its parts, so that gigabytes are not kept to compare. An
answer that shows a secret once must not be given through here: answers are stored.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Viewer
from radproof.api.service import Here, Service
from radproof.core.records import canonical_json
from radproof.store.tables import Idempotency, now

KEPT = timedelta(hours=24)
AT_WORK = timedelta(minutes=10)  # a request that has not ended by then was cut off by a kill: its key is free again
Work = Callable[[Session], BaseModel]


@dataclass(frozen=True)
class Once:
    """One request that may come again."""

    service: Service
    key: str | None  # sha256 of user, method, path and the header; None: no header, every request is a new one

    def made(self, told: Any, work: Work, place: str, status: int = 201) -> Response:
        """Do `work` in one transaction, together with the note of its answer; or give the answer that it gave before.

        `told` is what was asked, as JSON values or a model; `place` is under which what is made is found by its id.
        Jobs that it queued are handed to the engine. Raises Problem 422 where the key came with another
        request, 409 where the first one is still at work; what `work` raises frees the key.
        """
        if self.key is None:
            with self.service.database.writing() as session:
                body = work(session).model_dump_json()
            self.service.jobs.dispatch()
            return _answer(place, status, body)
        asked = _digest(told)
        if not self._reserve(asked):
            return self._again(asked, place)
        try:
            with self.service.database.writing() as session:
                body = work(session).model_dump_json()
                session.execute(update(Idempotency).where(Idempotency.key == self.key).values(status=status, body=body))
        except BaseException:
            with self.service.database.writing() as session:
                session.execute(delete(Idempotency).where(Idempotency.key == self.key, Idempotency.status.is_(None)))
            raise
        self.service.jobs.dispatch()
        return _answer(place, status, body)

    def _reserve(self, asked: str) -> bool:
        try:
            with self.service.database.writing() as session:
                old = Idempotency.created < now() - KEPT
                cut = Idempotency.status.is_(None) & (Idempotency.created < now() - AT_WORK)
                session.execute(delete(Idempotency).where(old | cut))
                session.add(Idempotency(key=self.key, request=asked))
                session.flush()
        except IntegrityError:
            return False
        return True

    def _again(self, asked: str, place: str) -> Response:
        with self.service.database.reading() as session:
            found = session.get(Idempotency, self.key)
        if found is not None and found.request != asked:
            raise Problem(422, "Idempotency-Key: it came before with another request; a new request needs a new key")
        if found is None or found.status is None:
            raise Problem(
                409, "the first request with this Idempotency-Key is still at work", headers={"Retry-After": "1"}
            )
        return _answer(place, found.status, found.body, replayed=True)


def once(
    request: Request,
    here: Here,
    who: Viewer,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=64,
            pattern=r"^[\x21-\x7e]+$",
            description="The same key with the same request makes one thing only, for 24 hours.",
        ),
    ] = None,
) -> Once:
    """As a dependency of a POST."""
    return Once(here, key and _digest([who.user_id, request.method, request.url.path, key]))


Single = Annotated[Once, Depends(once)]


def _digest(told: Any) -> str:
    if isinstance(told, BaseModel):
        told = told.model_dump(mode="json")
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def _answer(place: str, status: int, body: str, *, replayed: bool = False) -> Response:
    headers = {"Location": f"{place}/{json.loads(body)['id']}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(body, status, headers, "application/json")
