# SPDX-License-Identifier: Apache-2.0
"""Uploaded files by their hash, in a folder or in an fsspec store."""

from radproof.store.settings import Settings


class Files:
    """Where they are."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
