# SPDX-License-Identifier: Apache-2.0
"""Passwords as argon2id hashes; whether a name is known shows neither in an answer nor in how long it takes."""

import secrets
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore
from typing import ClassVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from radproof.errors import BadInput, RadproofError

SHORTEST, LONGEST = 12, 256  # characters
FEWEST = 5  # different ones
AT_ONCE = 2  # each hash takes 64 MiB and a core for a moment
_PATIENCE = 5  # seconds that one waits for its turn
_COMMON = frozenset(
    {
        "administrator", "password1234", "password12345", "password123456", "passwordpassword", "1234567890ab",
        "123456789012", "1234567890123", "0123456789ab", "qwertyuiop12", "qwertyuiop123", "qwertyuiop[]",
        "qwerty123456", "1q2w3e4r5t6y", "1qaz2wsx3edc", "iloveyou1234", "letmein12345", "letmeinletmein",
        "welcome12345", "changeme1234", "changemechangeme", "admin1234567", "abcdefghijkl", "radproof1234",
        "radproofradproof", "correcthorsebatterystaple", "correct horse battery staple",
    }
)  # fmt: skip


class Busy(RadproofError):
    """Too many sign in at the same moment."""

    http_status: ClassVar[int] = 503


def check_password(password: str, name: str = "") -> str:
    """The password as it is hashed. Raises BadInput that says what it should be, and never repeats it."""
    told = _plain(password)
    if not SHORTEST <= len(told) <= LONGEST:
        raise BadInput(f"password: expected {SHORTEST} to {LONGEST} characters; several words make a good one")
    if name and told.casefold().strip() == name.casefold():
        raise BadInput("password: it is the name itself; choose another")
    if told.casefold() in _COMMON or len(set(told)) < FEWEST:
        raise BadInput("password: it is among those that are tried first; choose another")
    return told


def hashed(password: str) -> str:
    """argon2id with the library's present parameters. Raises Busy."""
    with _turn():
        return _hasher().hash(_plain(password))


def verified(stored: str | None, password: str) -> bool:
    """Whether it is the password of this hash. Without a hash as much work is done, for nothing. Raises Busy."""
    dummy = _dummy()
    if len(password) > LONGEST:
        password = ""
    with _turn():
        try:
            return _hasher().verify(stored or dummy, _plain(password)) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def stale(stored: str) -> bool:
    """Whether a hash was made with other parameters than the library's present ones."""
    return _hasher().check_needs_rehash(stored)


def _plain(password: str) -> str:
    """One spelling of each character; keyboards differ in how they compose accents."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise BadInput("password: it holds something that is no character") from None
    return unicodedata.normalize("NFKC", password)


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _dummy() -> str:
    return _hasher().hash(secrets.token_hex(16))


@cache
def _turns() -> BoundedSemaphore:
    return BoundedSemaphore(AT_ONCE)


@contextmanager
def _turn() -> Generator[None]:
    if not _turns().acquire(timeout=_PATIENCE):
        raise Busy("too many people sign in at this moment; try again in a few seconds")
    try:
        yield
    finally:
        _turns().release()
