# SPDX-License-Identifier: Apache-2.0
"""Augmented copies give themselves away by their names (`aug_12.png`, `12_aug3.png`), until someone renames them.

So importers that rename files record what a name said in the sample's chain.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from radproof.data.manifest import Sample

STEP: Mapping[str, Any] = {"step": "augmented", "known_from": "file name"}
_WORD = r"(?<![a-z])aug(?:mented|mentation)?(?![a-z])"
_TOKEN = re.compile(_WORD, re.IGNORECASE)
_WITH_GAP = re.compile(rf"[-_ .]*{_WORD}", re.IGNORECASE)
_WITH_COUNTER = re.compile(rf"[-_ .]*{_WORD}[-_ .]*\d+", re.IGNORECASE)
_AUGUST = re.compile(r"\d{1,2}[-_ .]?aug[-_ .]?\d{2,4}(?!\d)", re.IGNORECASE)


def is_augmented(sample: Sample) -> bool:
    """Whether the file's name, or what an importer noted of it, says that the image was augmented."""
    return says_augmented(sample.path) or any(step.get("step") == STEP["step"] for step in sample.chain)


def says_augmented(path: str) -> bool:
    """Whether a path names an augmented copy; dates such as 12-aug-2019 do not."""
    return any(_TOKEN.search(_AUGUST.sub("", part)) for part in PurePosixPath(path).parts)


def originals(path: str) -> tuple[str, ...]:
    """Name stems that the copy's source may have: the name without the word, then also without a counter beside it."""
    stem = PurePosixPath(path).stem
    return tuple(dict.fromkeys(word.sub("", stem).strip("-_ .") for word in (_WITH_GAP, _WITH_COUNTER)))
