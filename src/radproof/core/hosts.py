# SPDX-License-Identifier: Apache-2.0
"""Names and addresses of machines."""

from ipaddress import ip_address


def loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own; `[::1]` too."""
    try:
        return host == "localhost" or ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
