# SPDX-License-Identifier: Apache-2.0
"""What every importer does alike: name images without names, hash their files, and refuse empty classes."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from radproof.core.files import sha256_file
from radproof.core.progress import Progress
from radproof.data.manifest import Sample
from radproof.data.pool import each
from radproof.errors import BadData


def sample_id(path: str) -> str:
    """16 hex digits of the sha256 of a path within its source: stable, and says nothing about a person."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def pseudonym(patient: str, key: bytes = b"") -> str:
    """A patient's name or number as a hash, because a manifest is handed on; "" stays "".

    Without `key` whoever tries all numbers finds the one behind it; with it only who has the key.
    """
    return f"p-{_hashed(patient, key)[:12]}" if patient else ""


def series_pseudonym(series: str, key: bytes) -> str:
    """The same for a series of images."""
    return f"s-{_hashed(series, key)[:12]}" if series else ""


def secret_of(path: Path, purpose: str) -> bytes:
    """A key out of a file's bytes: the same for the same file, and not to be had from its sha256 alone.

    Raises BadData where the file cannot be read.
    """
    mixed = hashlib.sha256(f"radproof {purpose}\0".encode())
    try:
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                mixed.update(block)
    except OSError as error:
        raise BadData(f"cannot read {path.name}: {error.strerror}; check the file and its permissions") from None
    return mixed.digest()


def _hashed(text: str, key: bytes) -> str:
    return (hmac.new(key, text.encode(), "sha256") if key else hashlib.sha256(text.encode())).hexdigest()


def hashed(samples: Sequence[Sample], root: Path, progress: Progress) -> tuple[Sample, ...]:
    """The samples with the sha256 and size of their files."""

    def one(sample: Sample) -> Sample:
        file = root / sample.path
        return replace(sample, sha256=sha256_file(file), size=file.stat().st_size)

    try:
        return tuple(each(one, samples, stage="hash files", progress=progress))
    except OSError as error:
        raise BadData(f"cannot read an image file: {error.strerror}; check the data set's permissions") from None


def check_classes(samples: Sequence[Sample], labels: Sequence[str], *, remedy: str) -> None:
    """Raise BadData naming the classes that no image shows."""
    shown = {label for sample in samples for label in sample.labels}
    empty = [label for label in labels if label not in shown]
    if empty:
        raise BadData(f"no image shows the class {', '.join(empty)}; {remedy}")


def parse_age(text: str) -> int | None:
    """Whole years of '58', '058Y', '011M' (months) or '005D' (days); None where absent or beyond 120 years."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "Y")
    years_per = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52, "D": 1 / 365}
    if unit not in years_per or not (number.isascii() and number.isdigit()) or len(number) > 5:
        return None
    age = int(int(number) * years_per[unit])
    return age if age <= 120 else None
