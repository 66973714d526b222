# SPDX-License-Identifier: Apache-2.0
"""Strangers' zip archives: every trick of FIELD 5.1 is refused, and nothing is left of what is refused."""

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from radproof.data import zipped
from radproof.data.zipped import Limits, is_zip, unpack_zip
from radproof.errors import BadData, StorageFull

Make = Callable[..., Path]


@pytest.fixture
def packed(tmp_path: Path) -> Make:
    """An archive of these entries: (name or ZipInfo, bytes)."""

    def make(*entries: tuple[str | zipfile.ZipInfo, bytes], pack: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w", pack) as archive:
            for name, data in entries:
                archive.writestr(name, data)
        return path

    return make


def refused(archive: Path, words: str, limits: Limits | None = None) -> str:
    """Why; nothing is left."""
    folder = archive.parent / "out"
    with pytest.raises(BadData, match=words) as error:
        unpack_zip(archive, folder, limits=limits)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    return str(error.value)


def test_plain_files_come_out_and_hidden_ones_do_not(packed: Make, tmp_path: Path) -> None:
    archive = packed(
        ("a/1.png", b"one"), ("b/", b""), ("b/2.png", b"two"), ("__MACOSX/a/._1.png", b"x"), (".DS_Store", b"x")
    )
    done = unpack_zip(archive, tmp_path / "out")
    assert (done.files, done.size, done.left_out) == (2, 6, {"hidden files": 2})
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert found == ["a", "a/1.png", "b", "b/2.png"]
    assert stat.S_IMODE((tmp_path / "out/a/1.png").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "C:/evil",
        "C:evil",
        "a\\..\\evil",
        "\\\\host\\evil",
        "a//b",
        "./a",
        "a/./b",
    ],
)
def test_traversal_in_names_is_refused(packed: Make, name: str) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    said = refused(packed((info, b"x")), "entry 1 has a name")
    assert "evil" not in said and "host" not in said


def test_a_name_with_nul_is_refused(packed: Make) -> None:
    archive = packed(("good.png_evil", b"x"))
    archive.write_bytes(archive.read_bytes().replace(b"good.png_evil", b"good.png\0evil"))
    refused(archive, "entry 1 has a name")


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a\x1b[31m"])
def test_names_with_control_characters_are_refused(packed: Make, name: str) -> None:
    refused(packed((name, b"x")), "no plain path")


def test_links_and_devices_are_refused(packed: Make) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        refused(packed((info, b"/etc/passwd")), "link or a device")


def test_names_that_meet_are_refused(packed: Make) -> None:
    refused(packed(("A.png", b"x"), ("a.png", b"y")), "capitals aside")
    refused(packed(("caf\u00e9.png", b"x"), ("cafe\u0301.png", b"y")), "capitals aside")
    refused(packed(("A/1.png", b"x"), ("a/2.png", b"y")), "spelt in two ways")
    refused(packed(("a", b"x"), ("a/1.png", b"y")), "of a file and of a folder")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_one_name_twice_is_refused(packed: Make) -> None:
    refused(packed(("a.png", b"x"), ("a.png", b"y")), "name of another one")


def test_encrypted_entries_are_refused(packed: Make) -> None:
    archive = packed(("a.png", b"x"))
    held = bytearray(archive.read_bytes())
    held[held.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(held))
    refused(archive, "encrypted")


def test_archives_within_are_refused_and_packed_volumes_are_not(packed: Make, tmp_path: Path) -> None:
    inner = packed(("a.png", b"x")).read_bytes()
    for name, data in (("b.zip", inner), ("b.png", inner), ("b.tgz", b"\x1f\x8b..."), ("b.rar", b"Rar!...")):
        refused(packed((name, data)), "entry 1 is an archive itself")
    assert unpack_zip(packed(("v.nii.gz", b"\x1f\x8b..")), tmp_path / "out").files == 1


def test_programs_are_left_out(packed: Make, tmp_path: Path) -> None:
    done = unpack_zip(packed(("viewer.exe", b"MZ..."), ("a.png", b"x")), tmp_path / "out")
    assert done.left_out == {"programs": 1} and not (tmp_path / "out/viewer.exe").exists()


def test_a_bomb_by_its_ratio_is_refused(packed: Make) -> None:
    archive = packed(("a", b"\0" * 1_000_000))
    refused(archive, "times its size", Limits(free=1000))


def test_a_bomb_of_overlapping_entries_is_refused(packed: Make) -> None:
    """Many entries of the table point at the same bytes."""
    archive = packed(("a", b"\0" * 10_000), ("b", b"\0" * 10_000))
    held = bytearray(archive.read_bytes())
    second = held.rfind(b"PK\x01\x02")
    held[second + 42 : second + 46] = struct.pack("<I", 0)  # where the second begins
    archive.write_bytes(bytes(held))
    refused(archive, "overlaps")


def test_caps_on_entries_sizes_and_names(packed: Make) -> None:
    archive = packed(("a", b"12345"), ("b", b"12345"))
    refused(archive, "lists 2 entries", Limits(entries=1))
    refused(archive, "unpacks to 5 bytes", Limits(entry=4))
    refused(archive, "unpacks to 10 bytes", Limits(total=9))
    refused(packed(("a" * 256, b"")), "longer or deeper")
    refused(packed(("/".join("a" * 30), b"")), "longer or deeper")


def test_a_zip64_size_that_lies_is_refused(packed: Make) -> None:
    """The table says that an entry is as large as four bytes can tell, and more in a field that is not there."""
    archive = packed(("a", b"12345"))
    held = bytearray(archive.read_bytes())
    table = held.find(b"PK\x01\x02")
    held[table + 20 : table + 28] = b"\xff" * 8
    archive.write_bytes(bytes(held))
    refused(archive, "damaged|more bytes than it holds|bytes; ")


def test_a_size_that_lies_does_not_come_out(packed: Make) -> None:
    archive = packed(("a", b"12345" * 100))
    held = bytearray(archive.read_bytes())
    table = held.find(b"PK\x01\x02")
    held[table + 24 : table + 28] = struct.pack("<I", 10)
    archive.write_bytes(bytes(held))
    refused(archive, "damaged")


@pytest.mark.parametrize("keep", [0, 10, 30, 60])
def test_half_an_archive_is_refused(packed: Make, keep: int) -> None:
    archive = packed(("a", b"12345"))
    archive.write_bytes(archive.read_bytes()[:keep])
    refused(archive, "damaged")


def test_an_empty_archive_is_refused(packed: Make) -> None:
    refused(packed(), "holds no file")
    refused(packed((".hidden", b"x")), "holds no file")


def test_a_full_disk_leaves_nothing(packed: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(("a", b"12345"))

    class Usage:
        free = 1000

    monkeypatch.setattr(zipped.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StorageFull, match="nothing of the archive was kept"):
        unpack_zip(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_what_is_a_zip_is_told_by_its_bytes(packed: Make, tmp_path: Path) -> None:
    archive = packed(("a", b"x"))
    assert is_zip(archive) and is_zip(archive.rename(tmp_path / "blob"))
    (tmp_path / "a.zip").write_bytes(b"<svg/>")
    assert not is_zip(tmp_path / "a.zip") and not is_zip(tmp_path)
