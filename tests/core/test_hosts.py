# SPDX-License-Identifier: Apache-2.0
"""Which names and addresses are this machine's own."""

import pytest

from radproof.core.hosts import loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
def test_another(host: str) -> None:
    assert not loopback(host)
