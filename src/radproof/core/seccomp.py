# SPDX-License-Identifier: Apache-2.0
"""Seccomp: system calls that no network needs are refused, sockets first. Standard library only.

Landlock and name spaces leave gaps that this fills: sockets in the file system (of a container service, a desktop
session) can be connected to from any network name space, and files in memory are in nobody's resident size.
"""

import ctypes
import errno
import os
import sys

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {  # name: its number on x86_64, on aarch64
    "socket": (41, 198),
    "connect": (42, 203),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
}
_ABSENT = {"clone3": (435, 435), "memfd_create": (319, 279), "memfd_secret": (447, 447)}  # callers have another way
_CLONE, _SOCKETPAIR, _SECCOMP = (56, 220), (53, 199), (317, 277)
_NEW_SPACES = 0x7E020000  # of mounts, users, network, …
_LOAD, _EQUAL, _AT_LEAST, _ANY, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data
_SPEC_ALLOW = 4  # no slow-down of the processor

_Step = tuple[int, int, int, int]


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def refuse_calls(*, cards: bool) -> bool:
    """Refuse them from now on, for good; `cards`: files in memory stay, as graphics drivers may need them.

    Needs no_new_privs. False where the machine knows no such thing.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or sys.byteorder != "little" or sys.maxsize < 2**32:
        return False
    steps = _program(machine, cards)
    code = b"".join(_packed(step) for step in steps)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Filter(len(steps), ctypes.addressof(kept))
    call = _SECCOMP[_column(machine)]
    return ctypes.CDLL(None).syscall(call, 1, _SPEC_ALLOW, ctypes.byref(program)) == 0


def _program(machine: str, cards: bool) -> list[_Step]:
    column = _column(machine)
    refused = {numbers[column]: errno.EPERM for numbers in _CALLS.values()}
    refused |= {
        numbers[column]: errno.ENOSYS for name, numbers in _ABSENT.items() if not (cards and name == "memfd_create")
    }
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":  # the same calls under other numbers
        steps += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _REFUSE | errno.EPERM)]
    for number, error in refused.items():
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | error)]
    refusal: list[_Step] = [(_RETURN, 0, 0, _REFUSE | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _FIRST), (_ANY, 0, 1, _NEW_SPACES), *refusal]
    steps += [  # a pair for datagrams could be sent to any name
        (_EQUAL, 0, 5, _SOCKETPAIR[column]),
        (_LOAD, 0, 0, _SECOND),
        (_AND, 0, 0, 0xF),
        (_EQUAL, 0, 1, 2),
        *refusal,
    ]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _column(machine: str) -> int:
    return list(_ARCHITECTURES).index(machine)


def _packed(step: _Step) -> bytes:
    code, yes, no, value = step
    return code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
