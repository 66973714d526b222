"""A table of labels: what its columns mean, which row an image finds, and every complaint with its line."""

import pytest

from radproof.data.inventory import pseudonym
from radproof.data.labels import Claims, read_labels
from radproof.data.manifest import Sample
from radproof.errors import BadData, UnknownName


@pytest.fixture
def table(tmp_path):
    def write(text, **how):
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8", newline="")
        return read_labels(tmp_path / "labels.csv", **how)

    return write


def test_one_class_per_image_with_all_that_is_known(table):
    read = table(
        "\ufeffImage Index,Finding Labels,Patient ID,Split,View Position,Patient Age,Patient Gender\r\n"
        "a.png,Mass,Doe^John,Valid,PA,058Y,M\r\n"
        "b.png,Edema,7,training,AP,,F\r\n"
    )
    assert (read.classes, read.head) == (("Edema", "Mass"), "softmax")
    a, b = read.of("a.png"), read.of("b.png")
    assert (a.labels, a.fold, a.view, a.age, a.sex, a.line) == (("Mass",), "validation", "PA", 58, "M", 2)
    assert a.patient.startswith("p-")
    assert "Doe" not in a.patient
    assert (b.labels, b.fold, b.age, b.line) == (("Edema",), "train", None, 3)


@pytest.mark.parametrize("column", ["path", "FILE", "FileName", "image", "ID", "SOP_Instance_UID", "SOPInstanceUID"])
@pytest.mark.parametrize("labels", ["label", "Class", "FINDING"])
def test_columns_by_any_of_their_names(table, column, labels):
    assert table(f"{labels},{column}\nx,1\ny,2\n").of("2").labels == ("y",)


def test_the_first_key_column_counts(table):
    read = table("id,path,label\n1,a/x.png,A\n2,b/y.png,B\n")
    assert sorted(read.rows) == ["a/x.png", "b/y.png"]


def test_several_labels(table):
    text = "id,finding\n1,Mass|Edema\n2,Edema; Mass ;Edema\n3,No Finding\n4,\n"
    read = table(text, multi_label=True)
    assert (read.classes, read.head) == (("Edema", "Mass"), "sigmoid")
    assert [read.of(key).labels for key in "1234"] == [("Mass", "Edema"), ("Edema", "Mass"), (), ()]
    with pytest.raises(BadData, match=r"line 2: .* holds several labels"):
        table(text)


def test_a_column_per_class(table):
    one = table("id,patient,B,A\n1,p,0,1\n2,p,1.0,0.0\n")
    assert (one.classes, one.head) == (("A", "B"), "softmax")
    assert (one.of("1").labels, one.of("2").labels) == (("A",), ("B",))
    many = table("id,B,A\n1,1,1\n2,0,0\n")
    assert (many.head, many.of("1").labels, many.of("2").labels) == ("sigmoid", ("A", "B"), ())
    assert table("id,B,A\n1,0,1\n2,1,0\n", multi_label=True).head == "sigmoid"
    chosen = table("id,B,A,note\n1,0,1,see\n2,1,0,-1\n", classes=("B", "A"))
    assert (chosen.classes, chosen.of("1").labels) == (("B", "A"), ("A",))


@pytest.mark.parametrize("uncertain", ["-1", "", "-1.0", "2", "nan", "yes"])
def test_uncertain_labels_are_not_guessed(table, uncertain):
    with pytest.raises(BadData, match=r"line 3: column 'A' holds .*expected 0 or 1"):
        table(f"id,A,B\n1,0,1\n2,{uncertain},1\n")


def test_classes_in_the_order_given(table):
    text = "id,label\n1,a\n2,b\n"
    assert table(text, classes=("b", "a", "c")).classes == ("b", "a", "c")
    with pytest.raises(UnknownName, match=r"labels.csv, line 3: unknown label 'b'"):
        table(text, classes=("a", "c"))
    with pytest.raises(UnknownName, match="no column for the class 'C'"):
        table("id,A,B\n1,0,1\n", classes=("C", "A"))


def test_rows_are_found_by_path_then_by_name(table):
    read = table("path,label\nsub/one.png,a\nsub/two.png,b\nother/two.png,c\nthree.jpg,d\n1.2.840.5,e\n")

    def label(*keys):
        found = read.of(*keys)
        return found and found.labels[0]

    assert [label("sub/two.png"), label("other\\two.png"), label("./sub/one.png")] == ["b", "c", "a"]
    assert [label("sub/one"), label("SUB/ONE.dcm"), label("deep/sub/one.png")] == ["a"] * 3
    assert [label("one.png"), label("one")] == [None, None]  # of no folder, or of another
    assert label("two.png") is None  # two rows fit
    assert label("elsewhere/one.png") is None  # another folder's image of the same name
    assert label("any/where/three.png") == "d"  # the row names no folder
    assert [label("1.2.840.5"), label("1.2.840.6"), label("1.2.840.5.dcm")] == ["e", None, "e"]
    assert label("nothing.png", "", "three") == "d"


def test_rows_may_name_the_folder_of_the_data_set_itself(table, tmp_path):
    text = "path,label\nset/images/a/1.png,x\nset/images/b/2.png,y\n"
    read = table(text, root=tmp_path / "set" / "Images")
    for path in ("set/images/a/1.png", "up/set/images/a/1.png", "a/1.png", "A/1.PNG"):
        assert read.of(path).labels == ("x",)
    for path in ("1.png", "other/a/1.png", "else/images/a/1.png", "b/1.png", "images/a/1.png"):
        assert read.of(path) is None
    assert table(text, root=tmp_path / "set").of("images/a/1.png").labels == ("x",)


@pytest.mark.parametrize("root", [None, "hospitalA", "a/hospitalA"])
def test_a_table_of_another_folder_labels_nothing(table, tmp_path, root):
    read = table("path,label\nhospitalB/1.png,x\nhospitalB/2.png,y\n", root=root and tmp_path / root)
    assert read.of("1.png") is None


def test_a_row_is_of_one_file(table):
    claims = Claims(table("id,label\n1,a\n2,b\n3,b\n"))
    assert [claims.of("p/1.png", key).line for key in ("p/1.png#0", "p/1.png", "1")[1:]] == [2, 2]
    assert claims.of("p/9.png", "p/9.png") is None
    assert claims.unused == 2
    with pytest.raises(BadData, match=r"labels.csv, line 2: the row fits two images, 'p/1.png' and 'q/1.png'"):
        claims.of("q/1.png", "q/1.png")


def test_all_rows_name_their_patient_or_none(table):
    table("id,label,patient\n1,a,p\n2,b,q\n").check_patients()
    table("id,label,patient\n1,a,\n2,b,\n").check_patients()
    with pytest.raises(BadData, match=r"labels.csv, line 3: no patient, although"):
        table("id,label,patient\n1,a,p\n2,b,\n").check_patients()


def test_pseudonyms_of_another_table_are_others(table):
    one, same, two = (table(f"id,label,patient\n1,a,17\n2,{last},17\n") for last in "bbc")
    assert one.of("1").patient == one.of("2").patient == same.of("1").patient
    assert two.of("1").patient not in (one.of("1").patient, pseudonym("17"))
    assert one.of("1").patient != pseudonym("17")


def test_what_the_table_leaves_blank_stays(table):
    read = table("id,label,age,sex\n1,a,,\n2,b,30,F\n")
    sample = Sample("0" * 16, "x.png", "p-1", (), view="PA", age=44, sex="M")
    kept, told = read.of("1").onto(sample), read.of("2").onto(sample)
    assert (kept.labels, kept.patient, kept.view, kept.age, kept.sex) == (("a",), "p-1", "PA", 44, "M")
    assert (told.labels, told.age, told.sex) == (("b",), 30, "F")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\n1,a\n", "no column that names the image"),
        ("id,patient\n1,a\n", "has no labels"),
        ("id,label\n1,a\n2,a\n", "at least two classes; labels.csv shows a"),
        ("id,label\n1,a\n2,\n", "line 3: no label"),
        ("id,label,fold\n1,a,train\n2,b,3\n", "line 3: unknown fold '3'"),
        ("id,label,fold\n1,a,train\n2,b,\n", "line 3: no fold, although"),
        ("id,label\n" + "".join(f"{n},free text {n}\n" for n in range(1001)), "1001 different labels"),
    ],
)
def test_tables_that_cannot_be_used(table, text, says):
    with pytest.raises(BadData, match=says):
        table(text)
