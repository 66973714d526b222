"""WebDataset shards: samples by key, labels in three forms, and tar archives that mean harm."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from radproof.data.images import read_image
from radproof.data.inventory import pseudonym
from radproof.data.shards import members, shard_paths
from radproof.data.webdataset import read_webdataset
from radproof.errors import BadData, BadImage, UnknownName


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (9, 7), dtype=np.uint8)


def png(number, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels(number)).save(stream, kind)
    return stream.getvalue()


def tar(path, files, special=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            content = content if isinstance(content, bytes) else str(content).encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return path


def pair(number, label, suffix="cls", image="png"):
    return [(f"a/{number:03d}.{image}", png(number)), (f"a/{number:03d}.{suffix}", label)]


def test_a_folder_of_shards_with_folds_and_patients(tmp_path):
    for shard, (fold, start) in enumerate((("train", 0), ("val", 4), ("test", 8))):
        told = [
            {"label": "cd"[n % 2], "patient": f"Doe^{n}", "age": 50 + shard, "sex": "F", "view": "PA"} for n in range(2)
        ]
        files = [part for n in range(2) for part in pair(start + n, json.dumps(told[n]), "json")]
        tar(tmp_path / "in" / f"{fold}-000.tar", files)
    manifest = read_webdataset(tmp_path / "in", tmp_path / "out")
    assert (manifest.labels, manifest.head) == (("c", "d"), "softmax")
    assert manifest.source["patients"] == "table"
    found = {(sample.fold, sample.labels[0]): sample for sample in manifest.samples}
    assert len(found) == 6
    for fold, start in (("train", 0), ("validation", 4), ("test", 8)):
        for n in range(2):
            sample = found[fold, "cd"[n]]
            assert (read_image(manifest.root / sample.path).pixels[:, :, 0] == pixels(start + n)).all()
            assert (sample.patient, sample.sex, sample.view) == (pseudonym(f"Doe^{n}"), "F", "PA")
    assert found["test", "c"].age == 52


@pytest.mark.parametrize("suffix", ["cls", "txt", "json"])
def test_labels_by_number_and_by_name(tmp_path, suffix):
    shard = tar(tmp_path / "x.tar", [part for n in range(12) for part in pair(n, n % 11, suffix)])
    assert read_webdataset(shard, tmp_path / "a").labels == tuple(str(n) for n in range(11))
    names = [f"kind {chr(97 + n)}" for n in range(11)]
    named = read_webdataset(shard, tmp_path / "b", classes=names)
    assert named.labels == tuple(names)
    assert named.targets().tolist() == [n % 11 for n in range(12)]


def test_several_findings(tmp_path):
    told = [["x", "y"], [], ["y"], "x"]
    shard = tar(tmp_path / "x.tar", [part for n, one in enumerate(told) for part in pair(n, json.dumps(one), "json")])
    manifest = read_webdataset(shard, tmp_path / "out", multi_label=True)
    assert manifest.head == "sigmoid"
    assert manifest.targets().tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
    with pytest.raises(BadData, match="2 labels; expected one"):
        read_webdataset(shard, tmp_path / "other")


def test_what_is_left_out_and_all_kinds_of_image(tmp_path):
    files = [*pair(0, "a"), *pair(1, "b", image="seg.jpeg"), *pair(2, "b", image="TIFF")]
    files += [("a/003.png", png(3)), ("a/004.cls", "a"), ("__index__.json", "{}")]
    manifest = read_webdataset(tar(tmp_path / "x.tar", files), tmp_path / "out")
    assert manifest.counts() == {"a": 1, "b": 2}
    assert manifest.source["left_out"] == {"without an image": 1, "without a label": 1}
    assert manifest.source["patients"] == "unknown"


def test_patterns_of_shards(tmp_path):
    for n in range(3):
        tar(tmp_path / f"s-{n:02d}.tar", pair(n, n % 2))
    found = shard_paths(tmp_path / "s-{00..02}.tar")
    assert [path.name for path in found] == ["s-00.tar", "s-01.tar", "s-02.tar"]
    assert len(read_webdataset(tmp_path / "s-{00..02}.tar", tmp_path / "out")) == 3
    for pattern, says in (
        ("s-{00..03}.tar", r"1 of 4 shards are missing, the first is s-03\.tar"),
        ("s-{2..0}.tar", "counts -1 shards"),
        ("s-{0..99999999}.tar", "counts 100000000 shards"),
        ("gone.tar", "missing"),
        ("empty", r"no \.tar file"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(BadData, match=says):
            shard_paths(tmp_path / pattern)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([*pair(0, "a"), *pair(0, "b")], "is there twice"),
        ([*pair(0, "a"), ("a/000.jpg", png(1))], "has 2 images"),
        ([*pair(0, "=cmd()"), *pair(1, "b")], "is no label"),
        (pair(0, b"\xff\xfe"), "not readable UTF-8"),
        (pair(0, "{", "json"), "not readable JSON"),
        (pair(0, "[" * 60_000, "json"), "not readable JSON"),
        (pair(0, "{}", "json"), "no label"),
        (pair(0, '{"label": {"a": 1}}', "json"), "name or number; got dict"),
        (pair(0, '{"label": NaN}', "json"), "name or number; got float"),
        (pair(0, "x" * 2000), "holds 2,000 bytes"),
        (pair(0, "a"), "at least two classes"),
        ([("a/0.txt", "a")], "no image that could be taken"),
    ],
)
def test_samples_without_sense(tmp_path, files, says):
    with pytest.raises(BadData, match=says):
        read_webdataset(tar(tmp_path / "x.tar", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_classes_and_damaged_images(tmp_path):
    shard = tar(tmp_path / "x.tar", [*pair(0, "aa"), *pair(1, "b"), ("a/001.png", b"")][:4])
    with pytest.raises(UnknownName, match="unknown label 'aa'; did you mean 'aaa'"):
        read_webdataset(shard, tmp_path / "out", classes=["aaa", "b"])
    shard = tar(tmp_path / "y.tar", [*pair(0, "a"), ("a/1.png", b"no image"), ("a/1.cls", "b")])
    with pytest.raises(BadImage, match=r"y\.tar/a/1\.png: the content is none of"):
        read_webdataset(shard, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("a/000.cls", tarfile.SYMTYPE, "member 3 is a link"),
        ("a/9.png", tarfile.LNKTYPE, "member 3 is a link"),
        ("a/9.png", tarfile.CHRTYPE, "a device"),
        ("a/9.png", tarfile.FIFOTYPE, "a device"),
        ("../9.png", tarfile.REGTYPE, "not a path inside"),
        ("/etc/9.png", tarfile.REGTYPE, "not a path inside"),
        ("a\\..\\..\\9.png", tarfile.REGTYPE, "not a path inside"),
        ("C:/9.png", tarfile.REGTYPE, "not a path inside"),
        ("a/\x1b[31m.png", tarfile.REGTYPE, "not a path inside"),
    ],
)
def test_links_devices_and_names_that_lead_outside(tmp_path, name, kind, says):
    shard = tar(tmp_path / "in" / "x.tar", pair(0, "a"), [special(name, kind, "/etc/passwd")])
    with pytest.raises(BadData, match=says):
        read_webdataset(shard, tmp_path / "in" / "out")
    assert [file.name for file in tmp_path.rglob("*")] == ["in", "x.tar"]


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header("x.png", 10**12), "more than the limit"),
        (header("x.png", 100_000) + bytes(512), "ends too early|damaged"),
        (header("x.png", 10**9, tarfile.XHDTYPE) + bytes(1024), "announces 1,000,000,\\d+ bytes of names"),
        (header("x.png", 10**9, tarfile.GNUTYPE_LONGNAME) + bytes(1024), "announces .* bytes of names"),
        (header("x.png", -(10**9)) + bytes(1024), "earlier place|damaged|negative"),
        (header("a.png", 512) + bytes(512) + header("x.png", -1536) + bytes(1024), "earlier place|damaged|negative"),
        (b"\x1f\x8b" + bytes(2000), "not an uncompressed tar"),
        (b"\xff" * 4096, "not an uncompressed tar"),
        (b"", "not an uncompressed tar"),
    ],
)
def test_lying_headers(tmp_path, content, says):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(BadData, match=says):
        members(tmp_path / "x.tar")


def test_sparse_files_are_refused(tmp_path):
    info = tarfile.TarInfo("x.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**15)}
    body = b"1\n0\n1\n".ljust(512, b"\0")
    info.size = len(body)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(body))
    with pytest.raises(BadData, match=r"sparse|limit"):
        members(tmp_path / "x.tar")


def test_every_cut_of_a_shard_is_refused_or_whole(tmp_path):
    whole = tar(tmp_path / "x.tar", [*pair(0, "a"), *pair(1, "b")]).read_bytes()
    expected = members(tmp_path / "x.tar")
    end = expected[-1].start + expected[-1].size
    for cut in range(0, len(whole), 301):
        (tmp_path / "x.tar").write_bytes(whole[:cut])
        try:
            found = members(tmp_path / "x.tar")
        except BadData:
            continue
        assert found == expected[: len(found)]
        assert cut >= end or cut % 512 == 0 or len(found) == sum(m.start + m.size <= cut for m in expected)
