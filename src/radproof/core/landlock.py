# SPDX-License-Identifier: Apache-2.0
"""Landlock: a Linux process gives up, for good, every file and port that it does not name. Standard library only.

Rights and sizes are those of <linux/landlock.h>; older kernels know fewer of them, and get those they know.
"""

import ctypes
import os
import stat
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same numbers on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BEGAN = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}  # the version that brought each right
_NET, _SCOPE = 0b11, 0b11  # TCP bind and connect; abstract sockets and signals

READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
DEVICE = READ | _WRITE_FILE | _IOCTL_DEV
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
"""No links, devices, sockets or pipes can be made, and nothing that was written can be executed."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Of the kernel's Landlock; 0: none."""
    return max(0, _libc().syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def restrict(rules: Iterable[tuple[str, int]], known: int) -> None:
    """Deny this process and its children everything but `rules` (path, rights), for good, in the terms of `known`.

    Paths that are not there are passed over. Needs no_new_privs. Raises OSError.
    """
    libc = _libc()
    handled = (1 << 13) - 1
    for began, right in _BEGAN.items():
        handled |= right if known >= began else 0
    asked = _Ruleset(handled, _NET if known >= 4 else 0, _SCOPE if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = _called(libc.syscall(_CREATE, ctypes.byref(asked), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    try:
        for path, rights in rules:
            _allow(libc, ruleset, path, rights & handled)
        _called(libc.syscall(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            rights &= _OF_FILES
        rule = _Beneath(rights, folder)
        _called(libc.syscall(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0)))
    finally:
        os.close(folder)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _called(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
