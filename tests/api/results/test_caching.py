# SPDX-License-Identifier: Apache-2.0
"""What the server keeps in memory, all of it together."""

import sys
from importlib import import_module
from pkgutil import walk_packages

import radproof.api
from radproof.api.results.caching import MEBIBYTE, BoundedCache


def test_all_that_is_kept_lately_together_is_no_more_than_the_documented_half_gigabyte() -> None:
    for module in walk_packages(radproof.api.__path__, "radproof.api."):
        import_module(module.name)
    ours = [vars(module) for name, module in sys.modules.items() if name.startswith("radproof.api.")]
    kept = {id(one): one for names in ours for one in names.values() if isinstance(one, BoundedCache)}
    assert len(kept) >= 10
    assert sum(one.most_bytes for one in kept.values()) <= 520 * MEBIBYTE
