# SPDX-License-Identifier: Apache-2.0
"""How much memory a guarded process may hold: a container's limit counts, and what the environment says first."""

import pytest

from radproof.core.guard_memory import guard_memory, there

GIGABYTE = 2**30


@pytest.fixture
def place(tmp_path):
    """place(own, {file: text}): a system with these groups."""

    def made(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return there(tmp_path / "cgroup", tmp_path / "own")

    return made


def test_a_limit_of_a_group_or_of_one_above_it_counts(place):
    groups = {"memory.max": "max\n", "a/memory.max": "4096000\n", "a/b/memory.max": "8192000\n"}
    assert place("0::/a/b\n", groups) == 4096000


def test_a_container_sees_its_own_group_as_the_first(place):
    assert place("0::/../../elsewhere\n", {"memory.max": "4096000"}) == 4096000


def test_groups_of_the_first_version_count(place):
    files = {"memory/docker/x/memory.limit_in_bytes": "4096000\n", "memory/memory.limit_in_bytes": str(2**63 - 4096)}
    assert place("9:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n", files) == 4096000


def test_without_a_limit_it_is_the_machines(place, tmp_path):
    whole = there(tmp_path / "none", tmp_path / "none")
    assert place("0::/a\n", {"a/memory.max": "max\n", "memory.max": "nonsense"}) == whole > 0


def test_the_environment_goes_first(monkeypatch):
    monkeypatch.delenv("RADPROOF_GUARD_MEMORY", raising=False)
    assert 0 < guard_memory(1000) <= 1000 < guard_memory()
    monkeypatch.setenv("RADPROOF_GUARD_MEMORY", "2")
    assert guard_memory(1000) == guard_memory() == 2 * GIGABYTE
