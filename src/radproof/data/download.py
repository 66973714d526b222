# SPDX-License-Identifier: Apache-2.0
"""Public data sets from where their makers keep them, checked against the sums that these publish.

What came without a published sum is written down in CHECKSUMS, and later runs hold the files to it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from radproof.core.files import write_text
from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.data.addresses import HOSTS, NIH, NIH_PAGE, NIH_TABLES, Address, medmnist
from radproof.data.medmnist import releases
from radproof.data.transfer import Order, fetch, sums_of
from radproof.data.unpack import unpack
from radproof.errors import BadData, BadInput, BadPlan, UnknownName

SIZES = (28, 64, 128, 224)
SUMS = "CHECKSUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{32}) [ *](\S+)")
_ALGORITHM = {64: "sha256", 32: "md5"}


def get(
    name: str,
    out: Path,
    *,
    only: Sequence[int] | None = None,
    size: int = 28,
    base: str | None = None,
    checksums: Path | None = None,
    tidy: bool = False,
    progress: Progress = SILENT,
) -> list[Path]:
    """Fetch a data set into `out`, or what is missing of it: `nih`, or a two-dimensional MedMNIST set.

    `only` chooses NIH archives (1 to 12), `size` a MedMNIST grid. `base` is the address of a mirror that has all files
    under their own names. `checksums` is a file of sha256sum or md5sum lines that takes the published sums' place.
    `tidy` removes an archive when it is unpacked. Returns what is on disk now: archives become folders.
    Raises UnknownName, BadPlan, BadData for files that are not what they should be, BadInput where nobody answers.
    """
    addresses = _addresses(name, only, size)
    if base is not None and urlsplit(base).scheme not in ("http", "https"):
        raise BadPlan(f"a mirror's address begins with https:// or http://; got {base[:80]!r}")
    given = _read_sums(checksums) if checksums else {}
    out.mkdir(parents=True, exist_ok=True)
    found: list[Path] = []
    for address in addresses:
        if base is None and not address.url:
            if not (out / address.name).is_file():
                progress.note(f"{address.name} has no address for programs: save it from {NIH_PAGE} into {out}")
            continue
        where = address if base is None else replace(address, url=f"{base.rstrip('/')}/{address.name}")
        found.append(_one(where, out, given.get(address.name, ""), base is None, tidy, progress))
    return found


def _addresses(name: str, only: Sequence[int] | None, size: int) -> list[Address]:
    if name == "nih":
        wrong = [number for number in only or () if not 1 <= number <= len(NIH)]
        if wrong:
            raise BadPlan(f"the release has archives 1 to {len(NIH)}; got {', '.join(map(str, wrong))}")
        archives = [NIH[number - 1] for number in sorted(set(only))] if only else list(NIH)
        return [Address(table, "", most=256 * 1024**2) for table in NIH_TABLES] + archives
    known = releases()
    if not known:
        raise BadInput("only `nih` is known without the medmnist package: pip install 'radproof[medmnist]'")
    flat = [flag for flag in known if not flag.endswith("3d")]
    if name not in flat:
        raise UnknownName(f"no data set named {name!r}{nearest(name, ['nih', *flat])}")
    address = medmnist(known[name], name, size)
    if address is None:
        raise BadPlan(f"{name} comes in the sizes {', '.join(map(str, SIZES))}; got {size}")
    if only:
        raise BadPlan("only chooses among NIH's archives; leave it out")
    return [address]


def _one(address: Address, out: Path, given: str, published: bool, tidy: bool, progress: Progress) -> Path:
    file = out / address.name
    folder = out / address.name.removesuffix(".tar.gz")
    packed = folder != file
    if packed and folder.is_dir():
        return folder
    expected = given or address.md5
    received = _read_sums(out / SUMS) if (out / SUMS).is_file() else {}
    if file.is_file():
        _hold_to(file, expected, received.get(file.name, ""))
    else:
        sums = tuple((_ALGORITHM[len(digest)], digest) for digest in {expected, received.get(file.name, "")} if digest)
        hosts = HOSTS if published else ()
        fetch(Order(address.url, file, hosts, sums, address.most), progress=progress)
    if file.name not in received:
        _write_sums(out, {**received, file.name: sums_of(file, ["sha256"])["sha256"]})
    if not packed:
        return file
    unpack(file, folder, progress=progress)
    if tidy:
        file.unlink()
    return folder


def _hold_to(file: Path, *digests: str) -> None:
    wanted = {_ALGORITHM[len(digest)]: digest.lower() for digest in digests if digest}
    found = sums_of(file, list(wanted))
    wrong = [kind for kind, digest in wanted.items() if found[kind] != digest]
    if wrong:
        raise BadData(
            f"{file.name} has the {wrong[0]} {found[wrong[0]]}, expected {wanted[wrong[0]]}; it is damaged or another "
            "file: remove it and run again"
        )


def _read_sums(path: Path) -> Mapping[str, str]:
    """File name -> digest, of sha256sum's or md5sum's lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            f"cannot read {path.name} ({type(error).__name__}); expected lines of sha256sum or md5sum"
        ) from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None and line.strip():
            raise BadData(f"{path.name}, line {number}: expected a sha256 or md5 sum, two blanks and a file name")
        if match:
            found[match[2]] = match[1].lower()
    return found


def _write_sums(out: Path, sums: Mapping[str, str]) -> None:
    write_text(out / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
