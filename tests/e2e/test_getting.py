"""data get from the command line: a mirror on this machine, and nobody there."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from radproof.data.medmnist import read_medmnist

pytestmark = pytest.mark.e2e


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "mirror").mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for fold in ("train", "val", "test"):
        arrays[f"{fold}_images"] = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
        arrays[f"{fold}_labels"] = np.arange(4, dtype=np.uint8)[:, None] % 2
    np.savez_compressed(tmp_path / "mirror" / "breastmnist.npz", **arrays)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "mirror")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_set_is_fetched_checked_and_read(radproof, mirror, tmp_path):
    content = (tmp_path / "mirror" / "breastmnist.npz").read_bytes()
    (tmp_path / "sums").write_text(f"{hashlib.sha256(content).hexdigest()}  breastmnist.npz\n")
    out = tmp_path / "data"
    code, printed, _ = radproof(
        "data", "get", "breastmnist", "--out", out, "--base", mirror, "--checksums", tmp_path / "sums", "--quiet"
    )
    assert (code, printed) == (0, f"{out / 'breastmnist.npz'}\n")
    manifest = read_medmnist(out / "breastmnist.npz", tmp_path / "images")
    assert manifest.labels == ("malignant", "normal, benign")


def test_what_goes_wrong_is_one_sentence(radproof, mirror, tmp_path):
    for arguments, says in (
        (("breastmnist", "--base", mirror), "came with the md5"),
        (("nih", "--base", mirror), "answers 404"),
        (("breastmnist", "--base", "http://127.0.0.1:9"), "does not answer"),
        (("nih", "--only", "one"), "--only takes numbers"),
        (("nih", "--only", "0"), "archives 1 to 12"),
        (("imagenet",), "no data set named 'imagenet'"),
    ):
        code, printed, told = radproof("data", "get", *arguments, "--out", tmp_path / "data", "--quiet")
        assert (code, printed) == (2, "")
        assert says in told.replace("\n", " ")
        assert "Traceback" not in told
    assert not list((tmp_path / "data").glob("*"))
