# SPDX-License-Identifier: Apache-2.0
"""Sign-in by an identity provider: OpenID Connect, authorization code flow with PKCE. Needs the extra `oidc`.

What binds the answer to this browser (state, nonce, PKCE verifier) is in a signed cookie of ten minutes. Only the
issuer of the settings is ever asked, and redirects are not followed; no address comes from a request.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from importlib.util import find_spec
from typing import Any, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import RANKS
from radproof.api.people.csrf import cookie_name, keyed
from radproof.api.people.signing import begin
from radproof.api.service import Service
from radproof.errors import BadInput
from radproof.store import people
from radproof.store.settings import Settings, by_tls
from radproof.store.tables import Role, User

COOKIE = "radproof_oidc"
SECONDS = 600
PATIENCE = 10.0  # seconds for the provider to answer
LEEWAY = 60  # seconds that clocks may differ
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def on(service: Service) -> bool:
    """Whether an identity provider is set."""
    return bool(service.settings.oidc_issuer)


def start(service: Service, target: str) -> tuple[str, str]:
    """The provider's address to go to, and the cookie that its answer is held against. Raises Problem 404, 503."""
    found = _discovered(service.settings)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code",
        "client_id": service.settings.oidc_client_id,
        "redirect_uri": _back(service),
        "scope": "openid profile email",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    told = json.dumps([state, nonce, verifier, target, int(time.time()) + SECONDS])
    kept = base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")
    place = found["authorization_endpoint"]
    address = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(asked)}"
    return address, f"{kept}.{keyed(service.settings, 'oidc', kept)}"


def finish(service: Service, request: Request) -> tuple[str, str]:
    """A new session's secret and where to go. Raises Problem 401 for anything that is not this browser's own answer."""
    state, nonce, verifier, target = _kept(service.settings, request.cookies.get(_cookie(service.settings), ""))
    told = request.query_params
    if not hmac.compare_digest(told.get("state", "").encode(errors="replace"), state.encode()):
        raise _refused()
    code = told.get("code", "")
    if not code or len(code) > 4000:
        raise _refused()
    found = _discovered(service.settings)
    claims = _claims(service.settings, found, _exchanged(service, found, code, verifier), nonce)
    return _entered(service, claims), target


def _cookie(settings: Settings) -> str:
    return cookie_name(COOKIE, settings)


def _back(service: Service) -> str:
    return f"{people.server_address(service.settings)}/login/oidc/back"


def _kept(settings: Settings, cookie: str) -> tuple[str, str, str, str]:
    kept, _, proof = cookie.partition(".")
    right = hmac.compare_digest(proof.encode(errors="replace"), keyed(settings, "oidc", kept).encode())
    if not kept or not right:
        raise _refused()
    state, nonce, verifier, target, until = json.loads(base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)))
    if until < time.time():
        raise _refused()
    return state, nonce, verifier, target


def _discovered(settings: Settings) -> dict[str, Any]:
    """The provider's own description. Raises Problem 404, 503."""
    if not settings.oidc_issuer:
        raise Problem(404, "no identity provider is set up here; sign in with name and password")
    found = _fetched(f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != settings.oidc_issuer:
        raise Problem(503, "the identity provider calls itself by another name than the setting oidc_issuer")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not by_tls(str(found.get(name, ""))):
            raise Problem(503, f"the identity provider's {name} is no https address")
    return found


def _httpx() -> Any:
    if find_spec("joserfc") is None or find_spec("httpx") is None:
        raise Problem(503, "sign-in by an identity provider needs more: pip install 'radproof[service,oidc]'")
    import httpx

    return httpx


def _fetched(address: str, form: dict[str, str] | None = None, auth: tuple[str, str] | None = None) -> dict[str, Any]:
    """What the provider answers. Raises Problem 503; 401 where it refuses a form."""
    httpx = _httpx()
    try:
        with httpx.Client(timeout=PATIENCE, follow_redirects=False, headers={"Accept": "application/json"}) as client:
            answer = client.get(address) if form is None else client.post(address, data=form, auth=auth)
        if form is not None and answer.is_client_error:
            raise _refused()
        answer.raise_for_status()
        found: Any = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Problem(503, "the identity provider does not answer as expected; try again later")
    return cast("dict[str, Any]", found)


def _exchanged(service: Service, found: dict[str, Any], code: str, verifier: str) -> str:
    """The code for an id_token; the client shows its secret by HTTP Basic (RFC 6749 §2.3.1). Raises Problem 401."""
    settings = service.settings
    secret = settings.oidc_client_secret.get_secret_value()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": _back(service),
        "code_verifier": verifier,
    }
    if not secret:
        form["client_id"] = settings.oidc_client_id
    auth = (quote_plus(settings.oidc_client_id), quote_plus(secret)) if secret else None
    token = _fetched(found["token_endpoint"], form, auth).get("id_token")
    if not isinstance(token, str):
        raise _refused()
    return token


def _claims(settings: Settings, found: dict[str, Any], token: str, nonce: str) -> dict[str, Any]:
    """What a token says, once signature, issuer, audience, times and nonce are right. Raises Problem 401."""
    from joserfc import jwk, jwt
    from joserfc.errors import JoseError

    keys = _fetched(found["jwks_uri"])
    try:
        opened = jwt.decode(token, jwk.KeySet.import_key_set(cast(Any, keys)), algorithms=list(ALGORITHMS))
        jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": settings.oidc_issuer},
            aud={"essential": True, "value": settings.oidc_client_id},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        ).validate(opened.claims)
    except (JoseError, ValueError, KeyError, TypeError):
        raise _refused() from None
    claims = dict(opened.claims)
    if claims.get("azp", settings.oidc_client_id) != settings.oidc_client_id or not claims["sub"]:
        raise _refused()
    return claims


def _entered(service: Service, claims: dict[str, Any]) -> str:
    """A session of the person with this subject, who is made on their first visit. Raises Problem 401."""
    subject = f"{claims['iss']} {claims['sub']}"
    if len(subject) > 255:
        raise _refused()
    role = _role(service.settings, claims)
    with service.database.writing() as session:
        user = session.execute(select(User).where(User.subject == subject)).scalar_one_or_none()
        refused = user is not None and user.disabled
        if user is not None and refused:
            service.trail.add(session, "session.refused", object=user.id)
        elif user is None:
            user = people.add_user(session, _free_name(session, claims, subject), role or "viewer", subject=subject)
            service.trail.add(session, "user.make", actor=user.id, object=user.id, role=user.role)
        elif role is not None and role != user.role:
            _promote(service, session, user, role)
        secret = begin(service, session_of=user, session=session, way="oidc") if not refused else ""
    if refused:
        raise _refused()
    service.callers.forget()
    return secret


def _promote(service: Service, session: Session, user: User, role: Role) -> None:
    """The provider's word goes, except that the last administrator stays one."""
    before = user.role
    try:
        people.set_role(session, user, role)
    except people.Taken:
        return
    service.trail.add(session, "user.role", actor=user.id, object=user.id, before=before, after=role)


def _role(settings: Settings, claims: dict[str, Any]) -> Role | None:
    """The highest that the person's groups give, viewer where they give none; None where groups give no roles here."""
    if not settings.oidc_roles:
        return None
    told: Any = claims.get(settings.oidc_groups_claim, [])
    groups = cast("list[Any]", told) if isinstance(told, list) else [told]
    given: list[Role] = [
        settings.oidc_roles[one] for one in groups if isinstance(one, str) and one in settings.oidc_roles
    ]
    return max(given, key=lambda one: RANKS[one]) if given else "viewer"


def _free_name(session: Session, claims: dict[str, Any], subject: str) -> str:
    """A name nobody has: an existing account is never taken over because the provider uses its name."""
    mark = hashlib.sha256(subject.encode()).hexdigest()[:8]
    for claim in ("preferred_username", "email"):
        try:
            name = people.user_name(str(claims.get(claim, "")))
        except BadInput:
            continue
        return name if people.named(session, name) is None else f"{name[:50]}-{mark}"
    return f"person-{mark}"


def _refused() -> Problem:
    return Problem(401, "the sign-in at the identity provider could not be confirmed; begin again at /login")
