"""Model files that do harm when they are run: shown to do it outside, then run by their owner's word, in the guard."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import zipfile

import h5py
import numpy as np
import pytest

from radproof.core.guard import Limits, guarded
from radproof.errors import BadModel
from radproof.models.importers.keras_file import open_keras_file

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="name spaces and Landlock are Linux's"),
]
MB = 1_000_000

TRIES = """
import json, os, pathlib, signal, socket, sys
done = []
def attempt(name, act):
    try:
        act()
    except BaseException as error:
        return
    done.append(name)
def wrong():
    raise ValueError
folder = pathlib.Path({folder!r})
attempt("writes a file", lambda: (folder / "planted").write_text("x"))
attempt("changes a file", lambda: (folder / "kept.txt").write_text("changed"))
attempt("changes itself", lambda: (folder / "evil.pt").open("ab").write(b"x"))
attempt("deletes a file", lambda: (folder / "victim.txt").unlink())
attempt("makes a link", lambda: os.symlink(folder / "kept.txt", folder / "model.pt2"))
attempt("reads a file", lambda: pathlib.Path({secret!r}).read_text())
attempt("reads the environment", lambda: os.environ["PACS_PASSWORD"])
attempt("opens the network", lambda: socket.create_connection(("127.0.0.1", {port}), 5).close())
attempt("asks for a name", lambda: socket.getaddrinfo("localhost", 80))
attempt("listens", lambda: socket.create_server(("127.0.0.1", 0)).close())
attempt("sees other processes", lambda: os.kill({pid}, 0))
attempt("prints much", lambda: [print("x" * 999_999) for _ in range({megabytes})] and None)
raise RuntimeError("it did this: " + ", ".join(done))
"""
DID = "RuntimeError: it did this: "
HARM = {
    "writes a file", "changes a file", "changes itself", "deletes a file", "makes a link", "reads a file",
    "reads the environment", "opens the network", "asks for a name", "listens", "sees other processes",
}  # fmt: skip


class Runs:
    """Unpickled, it runs its code."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code, {})


def evil(path, code):
    path.write_bytes(pickle.dumps(Runs(code), protocol=2))
    return path


def opened(path, cap=None, **how):
    """What a plain program does that opens the pickle; `cap`: bytes of address space."""
    code = f"import pickle, resource; cap = {cap}\nif cap: resource.setrlimit(resource.RLIMIT_AS, (cap, cap))\n"
    code += f"pickle.load(open({str(path)!r}, 'rb')); print('came to its end')"
    given = {"capture_output": True, "timeout": 60, "text": True, "check": False} | how
    return subprocess.run([sys.executable, "-c", code], **given)


@pytest.fixture
def listener():
    """A port of this machine, and whether anybody came."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        came = threading.Event()

        def wait():
            try:
                server.accept()[0].close()
                came.set()
            except OSError:
                return

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_converted_file_does_what_it_likes_outside_and_nothing_within(radproof, monkeypatch, tmp_path, listener):
    port, came = listener
    out, secret = tmp_path / "out", tmp_path / "elsewhere" / "secret.txt"
    (tmp_path / "files").mkdir()
    secret.parent.mkdir()
    for path in (secret, tmp_path / "files" / "kept.txt", tmp_path / "files" / "victim.txt"):
        path.write_text("Doe^Jane")
    given = {"folder": str(tmp_path / "files"), "secret": str(secret), "port": port, "pid": os.getpid()}
    path = evil(tmp_path / "files" / "evil.pt", TRIES.format(megabytes=30, **given))
    content = path.read_bytes()
    monkeypatch.setenv("PACS_PASSWORD", "hunter2")

    code, printed, said = radproof("model", "convert", path, "--out", out, "--i-trust-this-file", "-q")
    assert code == 2, said
    assert re.search(rf"evil\.pt cannot be opened \({DID}prints much\)", said)
    assert len(said) < 400 and printed == ""
    assert list(out.iterdir()) == []
    assert sorted(file.name for file in path.parent.iterdir()) == ["evil.pt", "kept.txt", "victim.txt"]
    assert path.read_bytes() == content and (path.parent / "kept.txt").read_text() == "Doe^Jane"
    assert not came.is_set()

    done = opened(path)
    assert len(done.stdout) > 29 * MB
    assert set(done.stderr.strip().rpartition(DID)[2].split(", ")) == {*HARM, "prints much"}
    assert (path.parent / "planted").exists() and came.wait(5)


TAKES = {  # what the file runs, what is seen of it outside, the limits, and the sentence that ends it
    "sleeps": ("import time; time.sleep(3600)", None, {"wall": 4.0}, r"seconds of time, over its limit of 4 s"),
    "allocates": (
        "kept = []\nwhile len(kept) < 300: kept.append(b'x' * 10_000_000)",
        1000 * MB,
        {"memory": 700 * MB},
        r"GB of memory, over its limit of 0\.70 GB",
    ),
    "leaves": ("import os; os._exit(0)", None, {}, r"it ended its process \(exit code 0\) without an answer"),
    "forks": (
        "import os, time\nfor _ in range(200):\n  if os.fork() == 0: time.sleep(1); os._exit(0)\nprint('forked')",
        None,
        {"processes": 60},
        "of processes and threads, over its limit of 60|more processes than the guard allows",
    ),
    "fills the disk": (
        "file = open('filling', 'wb')\nfor _ in range(40): file.write(b'x' * 1_000_000)\nprint('filled')",
        None,
        {"file_size": 5 * MB},
        "File too large|a larger file than the guard allows",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKES)
def test_files_that_take_without_end_are_ended(tmp_path, name):
    code, cap, limits, words = TAKES[name]
    (tmp_path / "in").mkdir()
    path = evil(tmp_path / "in" / "evil.pt", code)
    if name == "sleeps":
        with pytest.raises(subprocess.TimeoutExpired):
            opened(path, timeout=2)
    else:
        done = opened(path, cap, cwd=tmp_path)
        expected = {"allocates": "MemoryError", "forks": "forked", "fills the disk": "filled", "leaves": ""}[name]
        assert expected in done.stdout + done.stderr and "came to its end" not in done.stdout * (name == "leaves")
    (tmp_path / "filling").unlink(missing_ok=True)
    with pytest.raises(BadModel, match=words):
        guarded(
            "radproof.models.convert:task",
            {"file": str(path), "out": str(tmp_path / "out"), "shape": [3, 8, 8]},
            read=[path],
            write=[tmp_path / "out"],
            limits=Limits(**limits),
        )
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in", "out"]


def archive(path, *, weights=b"\x89HDF\r\n\x1a\n", more=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        made.writestr("model.weights.h5", weights)
        for name, content in more:
            made.writestr(name, content)
    return path


def test_an_archive_writes_outside_where_names_are_believed(tmp_path):
    """As unpackers do that join a folder and a name."""
    path = archive(tmp_path / "slip.keras", more=[("../planted", b"x")])
    (tmp_path / "unpacked").mkdir()
    code = (
        "import os, sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1]) as archive:\n"
        "    for name in archive.namelist(): open(os.path.join(sys.argv[2], name), 'wb').write(archive.read(name))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "unpacked")], check=True, timeout=60)
    assert (tmp_path / "planted").read_text() == "x"
    (tmp_path / "planted").unlink()
    with pytest.raises(BadModel, match=r"'\.\./planted', which no Keras image model has"):
        open_keras_file(path)
    assert not (tmp_path / "planted").exists()


def swollen_zip(path):
    archive(path, weights=bytes(200 * 2**20))


def swollen_hdf5(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
        bomb = file.create_dataset("model_weights/bomb", (50, 2**20), "float32", chunks=(1, 2**20), compression="gzip")
        for row in range(50):
            bomb[row] = np.zeros(2**20, "float32")


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (swollen_zip, "import zipfile; zipfile.ZipFile(path).read('model.weights.h5')", "would grow to 209,715,200"),
        (swollen_hdf5, "import h5py; h5py.File(path)['model_weights/bomb'][:]", "is compressed"),
    ],
)
def test_keras_files_swell_outside(tmp_path, make, code, words):
    path = tmp_path / "bomb.keras"
    make(path)
    assert path.stat().st_size < 400_000
    peak = "int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; path = sys.argv[1]\n{code}\nprint({peak})", str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert int(told.stdout) > 200_000  # kilobytes
    with pytest.raises(BadModel, match=words):
        open_keras_file(path)
