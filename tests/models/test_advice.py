import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from radproof.models.advice import advice


class Calls:
    """Pickles as a call of a function that does nothing here."""

    def __init__(self, module="posix", name="system"):
        self.module, self.name = module, name

    def __reduce__(self):
        return (named(self.module, self.name), ("true",))


def named(module, name):
    def called(*_):
        raise AssertionError("opened")

    called.__module__, called.__qualname__ = module, name
    return called


class Pickler(pickle._Pickler):  # the written-in-Python one, which believes what it is told of names
    def save_global(self, obj, name=None):
        if self.proto >= 4:
            self.save(obj.__module__)
            self.save(obj.__qualname__)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(b"c" + f"{obj.__module__}\n{obj.__qualname__}\n".encode())

    dispatch = {**pickle._Pickler.dispatch, type(lambda: 0): save_global}  # noqa: RUF012


def pickled(thing, protocol=4):
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(thing)
    return stream.getvalue()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_a_pickle_calls_is_named(tmp_path, protocol):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickled([Calls(), Calls("subprocess", "Popen"), Calls()], protocol))
    assert advice(file) == (
        "its pickle calls posix.system, which weights do not need",
        "its pickle calls subprocess.Popen, which weights do not need",
    )


def test_names_that_were_remembered_are_found(tmp_path):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickled(["posix", "other", "letters", Calls(), "posix", Calls("other", "system")]))
    assert {line.split()[3].rstrip(",") for line in advice(file)} == {"posix.system", "other.system"}


def test_a_torch_file_and_what_lies_in_it(tmp_path):
    file = tmp_path / "a.pt"
    torch.save({"state_dict": nn.Linear(2, 2).state_dict()}, file)
    assert advice(file) == ()
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/more.pkl", pickled(Calls("builtins", "eval")))
    assert "builtins.eval" in advice(file)[0]


def test_the_later_pickles_of_an_old_torch_file(tmp_path):
    file = tmp_path / "a.pt"
    torch.save(nn.Linear(2, 2).state_dict(), file, _use_new_zipfile_serialization=False)
    assert advice(file) == ()
    file.write_bytes(pickled(1, 2) + pickled(2, 2) + pickled(Calls(), 2))
    assert "posix.system" in advice(file)[0]


def test_a_numpy_array_of_objects(tmp_path):
    file = tmp_path / "a.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    file.write_bytes(header.getvalue() + pickled([Calls()], 3))
    assert "posix.system" in advice(file)[0]


def test_names_cannot_steer_a_terminal(tmp_path):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickled(Calls("\x1b[2Jos", "system" * 1000)))
    (line,) = advice(file)
    assert line.isprintable() and len(line) < 200


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80\x04", b"\x80\x04\x8c\xff", b"\x80\x05" + b"\xff" * 100, b"I" + b"9" * 9000 + b"\n.",
        b"PK\x03\x04", b"\x93NUMPY",
    ],
)  # fmt: skip
def test_what_is_broken_gives_no_advice(tmp_path, content):
    file = tmp_path / "a.pkl"
    file.write_bytes(content)
    assert advice(file) == ()


def test_a_broken_end_hides_no_beginning(tmp_path):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickled(Calls())[:-1] + b"\xff\xff")
    assert "posix.system" in advice(file)[0]


def test_other_files_need_none(tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(b"\x08\x08\x12\x00" + pickled(Calls()))
    assert advice(file) == ()
