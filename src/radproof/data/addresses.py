# SPDX-License-Identifier: Apache-2.0
"""The only place with addresses of public data sets: where their makers keep them, and the sums that they publish.

NIH ChestX-ray14: the twelve archives of the release's own batch_download_zips.py, with the MD5 sums of its FAQ (Q07).
Its tables have no address that a program can fetch; they are one click away on the release's page.
MedMNIST: addresses and MD5 sums come from the `medmnist` package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BOX = "https://nihcc.box.com/shared/static/"
NIH_PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
NIH_TABLES = ("Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt")
HOSTS = ("box.com", "boxcloud.com", "zenodo.org")
"""Makers hand large files to their stores; redirects to hosts other than these are refused."""

_GIB = 1024**3


@dataclass(frozen=True)
class Address:
    """One file of a data set."""

    name: str  # that it gets on disk
    url: str  # "" where only a mirror can give it
    md5: str = ""  # as published
    most: int = 8 * _GIB  # bytes; a longer answer is not the file


NIH: tuple[Address, ...] = tuple(
    Address(f"images_{number:03d}.tar.gz", f"{_BOX}{key}.gz", md5)
    for number, (key, md5) in enumerate(
        (
            ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", "fe8ed0a6961412fddcbb3603c11b3698"),
            ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
            ("f1t00wrtdk94satdfb9olcolqx20z2jp", "2301d03bde4c246388bad3876965d574"),
            ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
            ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", "1861f3cd0ef7734df8104f2b0309023b"),
            ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", "456b53a8b351afd92a35bc41444c58c8"),
            ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", "1075121ea20a137b87f290d6a4a5965e"),
            ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", "b61f34cec3aa69f295fbb593cbd9d443"),
            ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", "442a3caa61ae9b64e61c561294d1e183"),
            ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", "09ec81c4c31e32858ad8cf965c494b74"),
            ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", "499aefc67207a5a97692424cf5dbeed5"),
            ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", "dc9fda1757c2de0032b63347a7d2895c"),
        ),
        start=1,
    )
)


def medmnist(info: Mapping[str, Any], name: str, size: int) -> Address | None:
    """One set's file of one size, as the `medmnist` package tells; None where it has none."""
    suffix = "" if size == 28 else f"_{size}"
    if f"url{suffix}" not in info:
        return None
    return Address(f"{name}{suffix}.npz", info[f"url{suffix}"], info.get(f"MD5{suffix}", ""), 64 * _GIB)
