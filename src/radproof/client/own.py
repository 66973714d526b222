# SPDX-License-Identifier: Apache-2.0
"""One's own account at a server, and what an administrator may read there.

A key makes no other keys and changes no people or projects: whoever finds one must not make lasting ones of it. That
is done in a browser.
"""

from collections.abc import Iterator
from typing import Any

from radproof.client.asking import API, Asking, named
from radproof.client.records import Browser, Event, Invitation, Key, Person, Project, TrailCheck


class Own(Asking):
    """Account and administration."""

    def account(self) -> dict[str, Any]:
        """Whose key it is, and their projects."""
        return self._server.call("GET", f"{API}/account")

    def keys(self) -> list[Key]:
        """Your API keys without their secrets, newest first."""
        return [Key.model_validate(one) for one in self._server.call("GET", f"{API}/account/keys")["items"]]

    def revoke_key(self, id: str) -> None:
        """From now on the key opens nothing; it may be the one that asks."""
        self._remove(f"account/keys/{named(id)}")

    def browsers(self) -> list[Browser]:
        """Where you are signed in, newest first."""
        return [Browser.model_validate(one) for one in self._server.call("GET", f"{API}/account/sessions")["items"]]

    def sign_out(self, id: str | None = None) -> None:
        """End your session in one browser, or in all."""
        self._remove(f"account/sessions/{named(id)}" if id else "account/sessions")

    # For administrators

    def people(self) -> Iterator[Person]:
        """Everybody, by name."""
        return self._all("admin/people", Person)

    def person(self, id: str) -> Person:
        """One person. Raises NotFound."""
        return Person.model_validate(self._server.call("GET", f"{API}/admin/people/{named(id)}"))

    def invitations(self) -> Iterator[Invitation]:
        """Links that were not used yet, newest first, without their secrets."""
        return self._all("admin/people/invitations", Invitation)

    def projects(self) -> Iterator[Project]:
        """All projects and their members, by name; your own are in `account`."""
        return self._all("admin/projects", Project)

    def trail(self) -> Iterator[Event]:
        """What was done, newest first."""
        return self._all("admin/trail", Event)

    def check_trail(self) -> TrailCheck:
        """Whether every event follows the one before it."""
        return TrailCheck.model_validate(self._server.call("GET", f"{API}/admin/trail/check"))

    def settings(self) -> dict[str, Any]:
        """How the server is set up; of secrets, only whether they are set."""
        return self._server.call("GET", f"{API}/admin/settings")
