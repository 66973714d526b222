"""The manifest round-trips, wherever its folder goes, and says what is wrong with a file that is none."""

import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.data.manifest import Manifest, Sample
from radproof.errors import BadData, UnknownName

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
samples = st.builds(
    Sample,
    id=texts,
    path=texts.filter(lambda path: ".." not in path),
    patient=texts,
    labels=st.tuples(st.sampled_from(["Normal", "Pneumonia"])),
    fold=st.sampled_from(["", "train", "validation", "test"]),
    view=texts,
    age=st.none() | st.integers(0, 120),
    sex=texts,
    sha256=texts,
    size=st.integers(0, 2**40),
    chain=st.lists(st.dictionaries(texts, st.integers() | texts, max_size=2), max_size=2).map(tuple),
    top=st.sampled_from([0, 1, 40, 3000, 65535]),
    held=st.booleans(),
)


@given(st.lists(samples, max_size=4))
def test_round_trip(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("m")
    manifest = Manifest(
        folder, ("Normal", "Pneumonia"), tuple(made), "softmax", {"kind": "folder", "left_out": {"a": 1}}
    )
    manifest.write(folder / "manifest.parquet")
    assert Manifest.read(folder) == manifest


def test_a_manifest_moves_with_its_folder(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    Manifest(here, ("A",), (Sample("1", "x.png", "p", ("A",)),)).write(here / "manifest.parquet")
    shutil.move(here, tmp_path / "there")
    assert Manifest.read(tmp_path / "there").root == tmp_path / "there"


def test_targets_of_both_heads(tmp_path):
    rows = (Sample("1", "a", "p", ("B",)), Sample("2", "b", "q", ("A",)))
    assert Manifest(tmp_path, ("A", "B"), rows).targets().tolist() == [1, 0]
    many = (Sample("1", "a", "p", ("A", "B")), Sample("2", "b", "q", ()))
    assert Manifest(tmp_path, ("A", "B"), many, "sigmoid").targets().tolist() == [[1, 1], [0, 0]]


def test_the_fingerprint_sees_content_and_not_order(tmp_path):
    a, b = Sample("1", "a", "p", ("A",), sha256="aa"), Sample("2", "b", "q", ("A",), sha256="bb")
    first = Manifest(tmp_path, ("A",), (a, b))
    assert first.fingerprint() == first.only((b, a)).fingerprint()
    assert first.fingerprint() != first.only((a,)).fingerprint()


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(BadData, match="radproof data import"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"")
    with pytest.raises(BadData, match="is not a radproof manifest"):
        Manifest.read(tmp_path)


def test_empty_and_unknown_folds_are_named(tmp_path):
    manifest = Manifest(tmp_path, ("A",), (Sample("1", "a", "p", ("A",), fold="train"),))
    with pytest.raises(BadData, match=r"test fold .* holds no image"):
        manifest.fold("test")
    with pytest.raises(UnknownName, match="known: train"):
        manifest.fold("tset")


def test_manifests_of_before_have_no_grids_and_are_read(tmp_path):
    made = Manifest(tmp_path, ("A",), (Sample("1", "x.png", "p", ("A",)),))
    file = made.write(tmp_path / "manifest.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["top", "held"]), file)
    assert Manifest.read(file) == made


def test_a_top_that_no_file_holds_is_no_manifest(tmp_path):
    for top in (-1, 65536):
        made = Manifest(tmp_path, ("A",), (Sample("1", "x.png", "p", ("A",), top=top),))
        with pytest.raises(BadData, match="not a radproof manifest"):
            Manifest.read(made.write(tmp_path / "manifest.parquet"))


def test_the_fingerprint_sees_grids_and_is_as_before_where_none_is_told(tmp_path):
    first = Sample("1", "a", "p", ("B", "A"), "train", sha256="aa")
    prints = [
        Manifest(
            tmp_path, ("A", "B"), (replace(first, **grid), Sample("2", "b", "q", ("A",), sha256="bb"))
        ).fingerprint()
        for grid in ({}, {"top": 3000}, {"top": 3001}, {"held": True}, {"top": 3000, "held": True})
    ]
    assert len(set(prints)) == 5
    told = '{"head":"softmax","labels":["A","B"],"rows":[["aa","B","A","train"],["bb","A",""]]}'
    assert prints[0] == sha256(told.encode()).hexdigest()


@pytest.mark.parametrize("path", ["../a.png", "a/../../b.png", "a/..", "..\\a.png"])
def test_images_outside_the_root_are_refused(tmp_path, path):
    made = Manifest(tmp_path, ("A",), (Sample("1", path, "p", ("A",)),)).write(tmp_path / "manifest.parquet")
    with pytest.raises(BadData, match="an image outside its folder"):
        Manifest.read(made)


def test_a_small_file_of_endless_rows_is_refused_before_it_is_unpacked(tmp_path):
    file = Manifest(tmp_path, ("A",), (Sample("1", "x.png", "p", ("A",)),)).write(tmp_path / "manifest.parquet")
    row = pq.read_table(file)
    many = row.take(np.zeros(2_400_000, np.int64)).select([*(name for name in row.column_names)])
    pq.write_table(many, file, compression="zstd")
    assert file.stat().st_size < 200_000
    with pytest.raises(BadData, match=r"announces 31,200,000 values"):
        Manifest.read(file)


@pytest.mark.parametrize("chain", ["[" * 100_000, "[" + "1," * 600_000 + "1]"])
def test_chains_without_end_are_refused(tmp_path, chain):
    file = Manifest(tmp_path, ("A",), (Sample("1", "x.png", "p", ("A",)),)).write(tmp_path / "manifest.parquet")
    table = pq.read_table(file)
    at = table.column_names.index("chain")
    pq.write_table(table.set_column(at, "chain", [[chain]]), file)
    with pytest.raises(BadData, match="is not a radproof manifest"):
        Manifest.read(file)
