# SPDX-License-Identifier: Apache-2.0
"""A Linux process leaves the machine's network, process numbers and mounts for its own. Standard library only."""

import ctypes
import os
from collections.abc import Collection, Sequence
from typing import Any

_MOUNTS, _HOST, _IPC, _USERS, _PIDS, _NET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NAMES = {_NET: "network", _PIDS: "pids", _MOUNTS: "mounts"}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 1 << 18
_MOUNT_SETATTR, _HERE, _RECURSIVE = 442, -100, 0x8000
_PDEATHSIG, _NO_NEW_PRIVS, _SUBREAPER = 1, 38, 36
_DAC_OVERRIDE = 1 << 1
_CAPABILITY_VERSION = 0x20080522


class _Change(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "users"))


def enter(without: Collection[str] = ()) -> set[str]:
    """Leave as much as the kernel allows: of "network", "pids" (for children only), "mounts", "users".

    Root leaves without a name space of users, and so may go on writing into folders of others; anyone else needs one.
    `without`: names to leave alone; "root" lets root do as others do.
    """
    libc = _libc()
    for private in (False, True):
        if not private and (os.geteuid() != 0 or "root" in without):
            continue
        for wanted in (_NET | _PIDS | _MOUNTS | _HOST | _IPC, _NET | _HOST | _IPC, _NET):
            flags = wanted | (_USERS if private else 0)
            for flag, name in _NAMES.items():
                flags &= ~(flag if name in without else 0)
            if not flags & (_NET | _PIDS | _MOUNTS):
                continue
            user, group = os.geteuid(), os.getegid()
            if private and not _lasts(libc, flags, user, group):
                continue
            if libc.unshare(flags) == 0:
                if private:
                    _stay(user, group)
                return {name for flag, name in _NAMES.items() if flags & flag} | ({"users"} if private else set())
    return set()


def _lasts(libc: Any, flags: int, user: int, group: int) -> bool:
    """Whether a process is still itself after leaving; tried in one that is thrown away."""
    tried = os.fork()
    if tried == 0:
        try:
            if libc.unshare(flags) == 0:
                _stay(user, group)
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(tried, 0)[1] == 0


def _stay(user: int, group: int) -> None:
    """Who was before, inside the name space of users."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
            stream.write(text)


def read_only_mounts(write: Sequence[str]) -> bool:
    """Every mount of this name space is read-only from now on, but for the folders of `write`."""
    libc = _libc()
    try:
        _called(libc.mount(None, b"/", None, _REC | _PRIVATE, None))
        for path in write:
            place = os.fsencode(path)
            _called(libc.mount(place, place, None, _BIND | _REC, None))
        _set_mounts(libc, "/", _Change(set=_RDONLY), _RECURSIVE)
        for path in write:
            _set_mounts(libc, path, _Change(clear=_RDONLY), 0)
    except OSError:
        return False
    return True


def own_proc() -> bool:
    """Show in /proc only the processes of this name space; its first process calls this."""
    flags = _RDONLY | _NOSUID | _NODEV | _NOEXEC
    return _libc().mount(b"proc", b"/proc", b"proc", flags, None) == 0


def own_shared_memory() -> bool:
    """A small /dev/shm of its own, for locks between processes."""
    return _libc().mount(b"tmpfs", b"/dev/shm", b"tmpfs", _NOSUID | _NODEV | _NOEXEC, b"size=64m") == 0


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` here when the parent ends."""
    _called(_libc().prctl(_PDEATHSIG, signal, 0, 0, 0))


def gather_orphans() -> None:
    """Become the parent of grandchildren that lose theirs."""
    _called(_libc().prctl(_SUBREAPER, 1, 0, 0, 0))


def no_new_privileges() -> None:
    """Programs that would run as someone else no longer do."""
    _called(_libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up what makes root root, but for the right to use files of others, which mounts and Landlock limit."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()
    libc = _libc()
    _called(libc.capget(header, held))
    kept = held[1] & _DAC_OVERRIDE  # (effective, permitted, inheritable), twice
    _called(libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)))


def _set_mounts(libc: ctypes.CDLL, path: str, change: _Change, flags: int) -> None:
    size = ctypes.c_size_t(ctypes.sizeof(change))
    _called(libc.syscall(_MOUNT_SETATTR, _HERE, os.fsencode(path), flags, ctypes.byref(change), size))


def _libc() -> Any:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return libc


def _called(answer: int) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
