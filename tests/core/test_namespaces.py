"""How much of a machine is left where the kernel allows only some of it."""

import os

import pytest

from radproof.core import namespaces

NET, PIDS, MOUNTS, USERS = 0x40000000, 0x20000000, 0x20000, 0x10000000


class Kernel:
    """Allows what `allows` says of the flags, and keeps what was asked."""

    def __init__(self, allows):
        self.allows, self.asked = allows, []

    def unshare(self, flags):
        self.asked.append(flags)
        return 0 if self.allows(flags) else -1


def entered(monkeypatch, allows, *, root=False, without=(), lasts=True):
    kernel = Kernel(allows)
    monkeypatch.setattr(namespaces, "_libc", lambda: kernel)
    monkeypatch.setattr(namespaces, "_stay", lambda user, group: None)
    monkeypatch.setattr(namespaces, "_lasts", lambda libc, flags, user, group: lasts)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    return namespaces.enter(without), kernel.asked


def test_all_of_it_at_once_where_the_kernel_allows(monkeypatch):
    found, asked = entered(monkeypatch, lambda flags: True)
    assert found == {"network", "pids", "mounts", "users"} and len(asked) == 1
    found, asked = entered(monkeypatch, lambda flags: True, root=True)
    assert found == {"network", "pids", "mounts"} and not asked[0] & USERS


def test_less_where_it_allows_less(monkeypatch):
    assert entered(monkeypatch, lambda flags: not flags & PIDS)[0] == {"network", "users"}
    only_network = entered(monkeypatch, lambda flags: flags & ~(NET | USERS) == 0)[0]
    assert only_network == {"network", "users"}


def test_root_without_the_right_does_as_others_do(monkeypatch):
    found, asked = entered(monkeypatch, lambda flags: bool(flags & USERS), root=True)
    assert found == {"network", "pids", "mounts", "users"}
    assert [bool(flags & USERS) for flags in asked] == [False, False, False, True]


def test_a_name_space_that_nobody_can_live_in_is_not_entered(monkeypatch):
    found, asked = entered(monkeypatch, lambda flags: True, lasts=False)
    assert found == set() and asked == []


@pytest.mark.parametrize("root", [False, True])
def test_nothing_where_it_allows_nothing(monkeypatch, root):
    assert entered(monkeypatch, lambda flags: False, root=root)[0] == set()


def test_what_is_not_wanted_is_not_asked_for(monkeypatch):
    found, asked = entered(monkeypatch, lambda flags: True, without=("network",))
    assert found == {"pids", "mounts", "users"} and not asked[0] & NET
    found, asked = entered(monkeypatch, lambda flags: True, without=("network", "pids", "mounts"))
    assert found == set() and asked == []
    assert not entered(monkeypatch, lambda flags: True, root=True, without=("root", "mounts"))[1][0] & MOUNTS
