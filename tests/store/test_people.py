# SPDX-License-Identifier: Apache-2.0
"""People, passwords, keys and links, as the database keeps them."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tests.store.fresh import migrated

from radproof.errors import BadInput
from radproof.store import passwords, people
from radproof.store.database import Database
from radproof.store.invitations import found_invitation, invite, use_invitation
from radproof.store.keys import found_key, make_key, note_use, revoke_key, used_lately
from radproof.store.sessions import digest, found_session, start_session
from radproof.store.tables import ApiKey, Invitation, Session, User, now

GOOD = "a lung is not a cloud"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with migrated(tmp_path) as made:
        yield made


def _user(database: Database, name: str = "ada", role: people.Role = "developer") -> User:
    with database.writing() as session:
        return people.add_user(session, name, role, password="not a hash")


@pytest.mark.parametrize(
    "told",
    ["short", "x" * 257, "ada.lovelace1", "ADA.Lovelace1", "password1234", "PasswordPassword", "aaaaaaaaaaaaaaaa"],
)
def test_a_weak_password_is_refused_and_not_repeated(told: str) -> None:
    with pytest.raises(BadInput) as error:
        passwords.check_password(told, "ada.lovelace1")
    assert told not in str(error.value)


def test_a_password_opens_by_its_hash_alone_however_it_was_typed() -> None:
    stored = passwords.hashed("Gef\u00e4\u00dfe im Thorax")
    assert stored.startswith("$argon2id$") and "Thorax" not in stored
    assert passwords.verified(stored, "Gefa\u0308\u00dfe im Thorax")
    assert not passwords.verified(stored, "Gefasse im Thorax")
    assert not passwords.verified("no hash at all", "whatever it is")


def test_an_unknown_name_costs_one_hash_too(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str, password: str) -> bool:
        done.append(hash)
        return real(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    assert not passwords.verified(None, GOOD)
    assert len(done) == 1 and done[0].startswith("$argon2id$")


def test_a_hash_of_other_parameters_is_stale() -> None:
    assert passwords.stale(PasswordHasher(time_cost=1, memory_cost=64).hash("x"))
    assert not passwords.stale(passwords.hashed(GOOD))


def test_a_session_is_kept_as_a_hash_and_ends(database: Database) -> None:
    user = _user(database)
    with database.writing() as session:
        secret, _ = start_session(session, session.merge(user), 1)
        kept = session.get(Session, digest(secret))
        assert kept is not None and secret not in str(vars(kept))
        assert found_session(session, secret) is not None
        kept.expires = now() - timedelta(seconds=1)
        session.flush()
        assert found_session(session, secret) is None


def test_a_session_of_somebody_disabled_opens_nothing(database: Database) -> None:
    _user(database, "root", "admin")
    user = _user(database)
    with database.writing() as session:
        user = session.merge(user)
        secret, _ = start_session(session, user, 1)
        user.disabled = True
        session.flush()
        assert found_session(session, secret) is None


def test_a_key_is_shown_once_expires_and_is_revoked(database: Database) -> None:
    user = _user(database)
    with database.writing() as session:
        key, secret = make_key(session, user.id, "pipeline", 30)
        assert secret.startswith("rp_") and len(secret) == 46 and secret not in str(vars(key))
        assert found_key(session, secret) is not None
        assert not revoke_key(session, key.id, "usr_other")
        key.expires = now() - timedelta(seconds=1)
        session.flush()
        assert found_key(session, secret) is None
        key.expires = None
        session.flush()
        assert found_key(session, secret) is not None
        assert revoke_key(session, key.id, user.id)
        assert found_key(session, secret) is None


def test_the_use_of_a_key_is_noted_once_a_minute(database: Database) -> None:
    user = _user(database)
    with database.writing() as session:
        key, _ = make_key(session, user.id, "pipeline", None)
        note_use(session, key.id)
        session.refresh(key)
        first = key.used
        assert first is not None and used_lately(key)
        note_use(session, key.id)
        session.refresh(key)
        assert key.used == first
        key.used = now() - timedelta(seconds=61)
        session.flush()
        note_use(session, key.id)
        session.refresh(key)
        assert not used_lately(ApiKey(used=None)) and used_lately(key)


def test_race_a_link_is_used_once_by_two_at_the_same_moment(database: Database) -> None:
    with database.writing() as session:
        _, secret = invite(session, "viewer")
    barrier, won = threading.Barrier(4), []

    def use() -> None:
        with database.reading() as session:
            found = found_invitation(session, secret)
        assert found is not None
        barrier.wait()
        with database.writing() as session:
            if use_invitation(session, found):
                won.append(1)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert won == [1]


def test_a_link_ends_after_48_hours_and_by_a_newer_one(database: Database) -> None:
    user = _user(database)
    with database.writing() as session:
        first, old = invite(session, "viewer", user_id=user.id)
        assert timedelta(hours=47) < first.expires - now() <= timedelta(hours=48)
        _, new = invite(session, "viewer", user_id=user.id)
        assert found_invitation(session, old) is None
        found = found_invitation(session, new)
        assert found is not None and new not in str(vars(found))
        session.get_one(Invitation, found.id).expires = now() - timedelta(seconds=1)
        session.flush()
        assert found_invitation(session, new) is None


def test_a_link_opens_nothing_once_its_maker_may_make_none(database: Database) -> None:
    _user(database, "root", "admin")
    maker = _user(database, "second", "admin")
    with database.writing() as session:
        _, secret = invite(session, "viewer", created_by=maker.id)
        assert found_invitation(session, secret) is not None
        kept = session.get_one(User, maker.id)
        for change in ({"role": "viewer"}, {"disabled": True}):  # by whatever way, such as another process
            before = {name: getattr(kept, name) for name in change}
            for name, value in change.items():
                setattr(kept, name, value)
            session.flush()
            assert found_invitation(session, secret) is None
            for name, value in before.items():
                setattr(kept, name, value)
            session.flush()
        assert found_invitation(session, secret) is not None


def test_the_last_administrator_who_can_sign_in_stays(database: Database) -> None:
    root = _user(database, "root", "admin")
    with database.writing() as session:
        people.local_user(session)  # an administrator who cannot sign in does not count
        root = session.merge(root)
        for step in (lambda: people.set_role(session, root, "viewer"), lambda: people.disable(session, root)):
            with pytest.raises(people.Taken):
                step()
        people.add_user(session, "second", "admin", password="not a hash")
        people.set_role(session, root, "viewer")
        assert [one.name for one in people.administrators(session)] == ["second"]


@pytest.mark.parametrize(
    "told", ["a", "../etc", "ada lovelace", "a\x00b", "<b>ada</b>", "local", "-ada", "x" * 65, "ädä"]
)
def test_traversal_and_markup_are_no_names(told: str) -> None:
    with pytest.raises(BadInput):
        people.user_name(told)
    assert people.user_name(" Ada.L@Example.org ") == "ada.l@example.org"


@pytest.mark.parametrize("told", ["", "  ", "a\nb", "x" * 81, "a\u202eb", "a\x00"])
def test_a_title_is_one_plain_line(told: str) -> None:
    with pytest.raises(BadInput):
        people.title(told)
