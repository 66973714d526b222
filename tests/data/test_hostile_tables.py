"""Tables from strangers, through every reader of them: each complaint has its line, and nothing outside is touched."""

import numpy as np
import pytest

from radproof.data.folder import read_folder
from radproof.data.labelled import read_labelled
from radproof.data.labels import read_labels
from radproof.data.table import MAX_LINE
from radproof.errors import BadData, BadInput, UnknownName


@pytest.fixture
def root(tmp_path, saved):
    for name in ("A/one.png", "B/two.png"):
        saved(tmp_path / "set" / name, np.full((8, 8), 90, np.uint8))
    return tmp_path / "set"


def through_labels(root, raw):
    (root.parent / "t.csv").write_bytes(raw)
    return read_labels(root.parent / "t.csv")


def through_labelled(root, raw):
    (root.parent / "t.csv").write_bytes(raw)
    return read_labelled(root, root.parent / "t.csv")


def through_folder(root, raw):
    (root.parent / "t.csv").write_bytes(raw)
    return read_folder(root, patients=root.parent / "t.csv")


EVERY = pytest.mark.parametrize("read", [through_labels, through_labelled, through_folder])
HEADER = b"path,label,patient\n"
GOOD = b"A/one.png,a,7\nB/two.png,b,8\n"


def refused(read, root, raw, says, error=BadData):
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(error, match=says) as caught:
        read(root, raw)
    assert isinstance(caught.value, BadInput)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 400
    assert {file for file in root.parent.rglob("*")} - set(before) <= {root.parent / "t.csv"}


@EVERY
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_byte_order_marks_and_line_ends_are_no_matter(root, read, mark, ends):
    assert read(root, mark + (HEADER + GOOD).replace(b"\n", ends)) is not None


@EVERY
@pytest.mark.parametrize(
    ("path", "says"),
    [
        (b"../two.png", "line 3: .* not a path inside"),
        (b"B/../../two.png", "line 3: .* not a path inside"),
        (b"B\\..\\..\\two.png", "line 3: .* not a path inside"),
        (b"/etc/passwd", "line 3: .* not a path inside"),
        (b"C:\\two.png", "line 3: .* not a path inside"),
        (b"B/two.png\x00.csv", "line 3: .* not a path inside"),
        (b"B/\x1b[2Jtwo.png", "line 3: .* not a path inside"),
        (b"", "line 3: .* not a path inside"),
        (b".", "line 3: .* not a path inside"),
        (b"A/one.png", "line 3: the image was already given in line 2"),
        (b"A//one.png", "line 3: the image was already given in line 2"),
    ],
)
def test_paths_that_lead_outside_or_stand_twice(root, read, path, says):
    refused(read, root, HEADER + b"A/one.png,a,7\n" + path + b",b,8\n", says)


@pytest.mark.parametrize("read", [through_labels, through_labelled])
def test_names_that_differ_by_capitals_only(root, read):
    refused(
        read,
        root,
        HEADER + GOOD + b"a/ONE.png,b,9\n",
        "line 4: the image was already given in line 2 in other capitals",
    )


@EVERY
@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "lacks the column|has a header but no rows"),
        (HEADER, "has a header but no rows"),
        (b"\xff\xfe" + "path,label,patient\n".encode("utf-16-le"), "not UTF-8 text"),
        (HEADER + b'"A/one.png,a,7\n' * 3, "not a CSV file"),
        (HEADER + b"A/one.png," + b"x" * (MAX_LINE + 9), "has a line of over"),
    ],
)
def test_files_that_are_no_tables(root, read, raw, says):
    refused(read, root, raw, says)


@EVERY
def test_a_line_without_end_is_not_read_to_its_end(root, read):
    """Scaled from 1 GB: 64 MB of one cell, of which the reader takes 64 kB."""
    refused(read, root, HEADER + b"A" * 64_000_000, "has a line of over")


@pytest.mark.parametrize("read", [through_labels, through_labelled])
@pytest.mark.parametrize(
    "label",
    [
        b"=cmd|' /C calc'!A0",
        b"=1+1",
        b"+1",
        b"-2+3",
        b"@SUM(A1)",
        b'"=HYPERLINK(""http://x"",""y"")"',
        b"\x07a",
        b"x" * 101,
    ],
)
def test_formulas_are_no_labels(root, read, label):
    refused(read, root, HEADER + b"A/one.png,a,7\nB/two.png," + label + b",8\n", "line 3: .* is no label")


@pytest.mark.parametrize("column", [b"view", b"sex"])
def test_formulas_are_nowhere_else_either(root, column):
    raw = b"path,label," + column + b"\nA/one.png,a,=1\nB/two.png,b,x\n"
    refused(through_labels, root, raw, "line 2: '=1' is no (view|sex)")
    refused(through_labels, root, b"path,=A1,b\nA/one.png,1,0\n", "header: '=A1' is no name of a class")


def test_formulas_as_patients_become_pseudonyms(root):
    found = through_labels(root, HEADER + b"A/one.png,a,=cmd()\nB/two.png,b,8\n").of("A/one.png")
    assert found.patient.startswith("p-")
    assert found.patient[2:].isalnum()


def test_unknown_labels_are_told_with_their_line(root):
    (root.parent / "t.csv").write_bytes(HEADER + GOOD)
    with pytest.raises(UnknownName, match="line 3: unknown label 'b'"):
        read_labelled(root, root.parent / "t.csv", classes=["a", "c"])


@pytest.mark.parametrize("target", ["../../secret.png", "/etc/hostname", "nowhere.png"])
def test_links_out_of_a_folder_of_classes_are_refused(root, saved, target):
    saved(root.parent / "secret.png", np.zeros((8, 8), np.uint8))
    (root / "A" / "inner.png").symlink_to("one.png")
    assert len(read_folder(root)) == 3
    (root / "B" / "link.png").symlink_to(target)
    with pytest.raises(BadData, match=r"'B/link\.png' is a link that leads out"):
        read_folder(root)


def test_a_class_that_is_a_link_is_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "C").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadData, match="'C' is a link that leads out"):
        read_folder(root)


def test_a_table_that_is_a_folder_or_not_there(root):
    for path in (root, root / "none.csv"):
        with pytest.raises(BadData, match="cannot read"):
            read_labels(path)
