"""Tables of a few kB that stand for gigabytes are refused by what they announce; others are read as they are."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radproof.core import tables
from radproof.core.tables import read_table
from radproof.errors import BadData


def write(path, **columns):
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=300)
    return path


def test_a_table_is_read_as_it_is(tmp_path):
    given = {"a": ["x", None, "y"] * 300, "b": [["p", "q"], [], None] * 300, "c": [1, 2, None] * 300}
    file = write(tmp_path / "t.parquet", **given)
    assert read_table(file, cells=10_000).equals(pq.read_table(file))
    assert read_table(file, ["c", "a"], cells=10_000).equals(pq.read_table(file, columns=["c", "a"]))


def test_too_many_rows_and_values(tmp_path, monkeypatch):
    file = write(tmp_path / "t.parquet", a=[0] * 1000, b=[0] * 1000)
    assert len(read_table(file, cells=2000)) == 1000
    with pytest.raises(BadData, match=r"announces 2,000 values, more than the limit of 1,999"):
        read_table(file, cells=1999)
    assert len(read_table(file, ["a"], cells=1000)) == 1000
    monkeypatch.setattr(tables, "ROWS", 999)
    with pytest.raises(BadData, match="1,000 rows"):
        read_table(file, cells=2000)


def test_values_in_lists_count(tmp_path):
    file = write(tmp_path / "t.parquet", a=[[0] * 5000])
    assert file.stat().st_size < 2000
    with pytest.raises(BadData, match="5,000 values"):
        read_table(file, cells=4999)


@pytest.mark.parametrize("nested", [False, True])
def test_one_long_text_named_often_is_counted_as_often(tmp_path, monkeypatch, nested):
    text = "x" * 100_000
    file = write(tmp_path / "t.parquet", a=[[text]] * 300 if nested else [text] * 300)
    assert file.stat().st_size < 3000
    monkeypatch.setattr(tables, "BYTES", 29_000_000)
    assert pq.ParquetFile(file).metadata.row_group(0).total_byte_size < 1_000_000  # what it says of itself
    with pytest.raises(BadData, match=r"announces 30,\d{3},\d{3} bytes"):
        read_table(file, cells=1000)
    monkeypatch.setattr(tables, "BYTES", 31_000_000)
    assert len(read_table(file, cells=1000)) == 300


def test_bytes_that_a_file_announces(tmp_path, monkeypatch):
    pq.write_table(pa.table({"a": ["x" * 100_000]}), tmp_path / "t.parquet", use_dictionary=False, compression="zstd")
    monkeypatch.setattr(tables, "BYTES", 90_000)
    with pytest.raises(BadData, match="bytes"):
        read_table(tmp_path / "t.parquet", cells=10)
