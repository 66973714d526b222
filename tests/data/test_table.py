"""CSV files from spreadsheets and strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.data.table import inner_path, read_table
from radproof.errors import BadData


def table(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_rows_by_column_with_their_lines(tmp_path):
    rows = read_table(table(tmp_path, '\ufeffa, b ,\n1,"x, y",9\n\n  ,\n2\n'), ("a", "b"))
    assert [(row.line, row["a"], row["b"], row["c"]) for row in rows] == [(2, "1", "x, y", ""), (5, "2", "", "")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,c\n1,2\n", "lacks the column b; found a, c"),
        ("", "lacks the column a, b; found nothing"),
        ("a,b\n", "no rows"),
        (b"a,b\n\xff\xfe,1\n", "UTF-8"),
        ("a,b\n" + "x" * 70_000 + ",1\n", "65536 characters"),
        ('a,b\n"1"x,2\n', "not a CSV file"),
    ],
)
def test_damaged_tables_are_refused_by_name(tmp_path, content, says):
    with pytest.raises(BadData, match=says) as caught:
        read_table(table(tmp_path, content), ("a", "b"))
    assert "t.csv" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(BadData, match=r"cannot read t\.csv"):
        read_table(tmp_path / "t.csv", ())


@pytest.mark.parametrize(
    "text", ["../x.png", "a/../../x.png", "/etc/passwd", "C:\\x.png", "..\\x.png", "a\0b.png", "", "\\\\host\\x", "."]
)
def test_paths_out_of_the_folder_are_refused(text):
    with pytest.raises(BadData, match="line 3"):
        inner_path(text, where="t.csv, line 3")


@given(st.lists(st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True), min_size=1, max_size=4))
def test_plain_relative_paths_pass(parts):
    assert inner_path("\\".join(parts), where="") == inner_path("./" + "/".join(parts), where="") == "/".join(parts)
