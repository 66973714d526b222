# SPDX-License-Identifier: Apache-2.0
"""What a guarded process gives up before it meets a stranger's file, and in which order. Standard library only."""

import glob
import os
import resource
import signal
import site
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from radproof.core import landlock, namespaces, seccomp

_RUN = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/nix/store", "/gnu/store")
_READ = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/sys")
_PROC = ("self", "cpuinfo", "meminfo", "stat", "version", "filesystems", "sys/vm", "sys/kernel/osrelease")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_CARDS = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")
_CARDS_READ = ("/proc/driver/nvidia", "/proc/devices", "/etc/nvidia", "/etc/OpenCL", "/run/nvidia-persistenced")


def unshare(job: dict[str, Any], parent: int) -> set[str]:
    """First process: leave the machine's name spaces. Returns what was left."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write("1000")  # where the machine runs out of memory, this goes first
    reached = namespaces.enter(job["without"])
    if "mounts" in reached and not namespaces.read_only_mounts(job["write"]):
        reached.discard("mounts")
    os.chdir(job["home"])  # once more, as the mount that it was on may be read-only now
    namespaces.gather_orphans()
    namespaces.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return reached


def shut(job: dict[str, Any], reached: set[str]) -> tuple[str, ...]:
    """Second process: everything else, in the order in which each still can be done. Returns the level, in words."""
    level = ["own process"]
    linux = sys.platform == "linux" and "linux" not in job["without"]
    if linux:
        namespaces.die_with_parent(signal.SIGKILL)
    own_proc = {"pids", "mounts"} <= reached and namespaces.own_proc()  # mounted elsewhere, it would be everyone's
    in_memory = any(path.startswith("/dev/shm") for path in (*job["read"], *job["write"], *job["paths"]))
    shared = "mounts" in reached and not in_memory and namespaces.own_shared_memory()
    _limit(job["limits"], own_users="users" in reached)
    level.append("resource limits")
    if not linux:
        return tuple(level)
    level.append("memory, time and processes watched")
    with suppress(OSError):
        namespaces.drop_capabilities()
    namespaces.no_new_privileges()
    known = 0 if "landlock" in job["without"] else landlock.version()
    if known:
        landlock.restrict(_rules(job, own_proc, shared), known)
        level.append(f"read-only files (Landlock ABI {known})")
    calls = "seccomp" not in job["without"] and seccomp.refuse_calls(cards=bool(_cards()))
    if "network" in reached:
        level.append("no network")
    elif calls:
        level.append("no network sockets (seccomp)")
    elif known >= 4:
        level.append("no TCP (Landlock)")
    if "mounts" in reached:
        level.append("read-only mounts")
    if "pids" in reached:
        level.append("own process numbers")
    elif known >= 6:
        level.append("no signals to other processes (Landlock)")
    if calls:
        level.append("few system calls (seccomp)")
    return tuple(level)


def missing(level: Sequence[str]) -> list[str]:
    """What a level leaves open of the two things that count most."""
    needed = (("the network", "no network"), ("other files", "read-only files"))
    return [words for words, start in needed if not any(reached.startswith(start) for reached in level)]


def _limit(limits: dict[str, Any], own_users: bool) -> None:
    """Resource limits; the kernel counts a user's processes in all, so theirs helps only where the user is new."""
    wanted = {"CORE": 1, "FSIZE": limits["file_size"], "NOFILE": limits["files"]}  # 1 stops core collectors too, 0 not
    if limits["cpu"] is not None:
        wanted["CPU"] = int(limits["cpu"]) + 2  # the parent looks first
    if own_users:
        wanted["NPROC"] = limits["processes"]
    for name, most in wanted.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def _rules(job: dict[str, Any], own_proc: bool, shared: bool) -> Generator[tuple[str, int]]:
    cards = _cards()
    libraries = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if os.path.isabs(path)]
    for path in (*_RUN, sys.prefix, sys.base_prefix, sys.exec_prefix, *libraries):
        yield path, landlock.RUN
    for path in (*sys.path, *job["paths"], *site.getsitepackages()):
        if os.path.isabs(path):
            yield path, landlock.RUN
    for path in (*_READ, *(_CARDS_READ if cards else ()), *job["read"]):
        yield path, landlock.READ
    for name in ("",) if own_proc else _PROC:
        yield f"/proc/{name}", landlock.READ
    for path in (*_DEVICES, *cards):
        yield path, landlock.DEVICE
    for path in (*job["write"], *(["/dev/shm"] if shared else [])):
        yield path, landlock.WRITE


def _cards() -> list[str]:
    return [path for pattern in _CARDS for path in glob.glob(pattern)]
