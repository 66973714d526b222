# SPDX-License-Identifier: Apache-2.0
"""The values of elements, without trusting that they are what their VR says."""

import re
from typing import TYPE_CHECKING, Any

from radproof.data.dicom.quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def values_of(dataset: "Dataset", keyword: str) -> list[Any]:
    """All values of an element of `dataset`, [] where it is absent, empty or not what its VR says."""
    with quiet():
        try:
            value = dataset.get(keyword)
        except Exception:  # a value that is not what its VR says raises nearly anything
            return []
    if value is None or (isinstance(value, str) and not value.strip("\x00 ")):
        return []
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
    return list(value) if several and type(value).__name__ != "PersonName" else [value]


def numbers_of(dataset: "Dataset", keyword: str) -> list[float]:
    """The finite numbers of an element; [] where one of its values is none."""
    try:
        numbers = [float(value) for value in values_of(dataset, keyword)]
    except (TypeError, ValueError, OverflowError):
        return []
    return numbers if all(abs(number) < 1e30 for number in numbers) else []


def items_of(dataset: "Dataset", keyword: str) -> list["Dataset"]:
    """The items of a sequence; [] where there is none."""
    from pydicom.dataset import Dataset

    return [item for item in values_of(dataset, keyword) if isinstance(item, Dataset)]


def registered_name(uid: str) -> str:
    """The name that the standard gives a UID; "" for those made by devices, which point to persons."""
    from pydicom.uid import UID

    if not re.fullmatch(r"1\.2\.840\.10008(\.\d{1,5}){1,10}", uid):
        return ""
    name = UID(uid).name
    return "" if name == uid else name
