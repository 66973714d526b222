"""Downloads from a server on this machine that cuts, lies, sends on and never ends."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from radproof.data import addresses, download, transfer
from radproof.data.download import get
from radproof.data.transfer import Order, fetch
from radproof.data.unpack import unpack
from radproof.errors import BadData, BadInput, BadPlan, StorageFull, UnknownName

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server:
    """Serves `files` by path; `answers` are functions that take a request's handler before the files are looked at."""

    def __init__(self):
        self.files, self.answers, self.seen = {}, [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.seen.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
                if outer.answers:
                    outer.answers.pop(0)(self)
                    return
                content = outer.files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                whole(self, content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


def whole(handler, content, cut=None, kind="application/gzip", tag='"one"'):
    """A proper answer, with ranges; `cut` ends the connection after so many bytes of the body."""
    span = handler.headers.get("Range")
    fresh = handler.headers.get("If-Range") in (None, tag)
    start = int(span.removeprefix("bytes=").rstrip("-")) if span and fresh else 0
    if start >= len(content) > 0:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("ETag", tag)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:][:cut])
    if cut is not None:
        handler.close_connection = True


def cut_after(count, content=CONTENT):
    return lambda handler: whole(handler, content, count)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def order(server, tmp_path):
    server.files["x.bin"] = CONTENT
    sums = (("sha256", hashlib.sha256(CONTENT).hexdigest()),)
    return lambda **how: Order(
        **{"url": f"{server.url}/x.bin", "file": tmp_path / "x.bin", "hosts": (), "sums": sums, **how}
    )


def quick(order, **how):
    return fetch(order, pause=0, timeout=5, **how)


class Watched:
    """Progress that adds up."""

    def __init__(self):
        self.totals, self.done, self.notes = {}, {}, []

    def start(self, stage, total):
        self.totals[stage] = total

    def advance(self, stage, amount=1.0):
        self.done[stage] = self.done.get(stage, 0) + amount

    def note(self, message):
        self.notes.append(message)


def test_a_file_comes_whole_and_leaves_nothing_else(order, tmp_path):
    watched = Watched()
    assert quick(order(), progress=watched).read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]
    assert watched.totals == watched.done == {"fetch x.bin": 300_000}


def test_cut_connections_are_gone_on_from(order, server):
    server.answers = [cut_after(70_000), cut_after(0), cut_after(100_000), lambda handler: handler.send_error(503)]
    assert quick(order()).read_bytes() == CONTENT
    assert [span for _, span, _ in server.seen] == [None, *["bytes=70000-"] * 2, *["bytes=170000-"] * 2]
    assert server.seen[-1][2] == '"one"'


def test_what_a_killed_run_left_is_gone_on_from(order, server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(CONTENT[:123_456])
    assert quick(order()).read_bytes() == CONTENT
    assert server.seen == [("/x.bin", "bytes=123456-", None)]
    (tmp_path / "x.bin").rename(tmp_path / "x.bin.part")  # killed between the last byte and the renaming
    assert quick(order()).read_bytes() == CONTENT
    assert len(server.seen) == 2


@pytest.mark.slow
def test_a_run_that_is_killed_keeps_what_has_come(order, server, tmp_path):
    def stall(handler):
        whole(handler, CONTENT, 200_000)
        threading.Event().wait(30)

    server.answers = [stall]
    code = (
        "import sys; from pathlib import Path; from radproof.data.transfer import Order, fetch; "
        "fetch(Order(sys.argv[1], Path(sys.argv[2]), ()))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, order().url, str(order().file)])
    part = tmp_path / "x.bin.part"
    while child.poll() is None and not (part.is_file() and part.stat().st_size == 200_000):
        time.sleep(0.05)
    child.kill()  # SIGKILL
    assert child.wait() == -9
    assert quick(order()).read_bytes() == CONTENT
    assert server.seen[-1][1:] == ("bytes=200000-", '"one"')


def test_a_file_that_changed_meanwhile_is_begun_anew(order, server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(b"older" * 20)
    (tmp_path / "x.bin.part.tag").write_text('"zero"')
    assert quick(order()).read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(order, server, tmp_path):
    def plain(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.answers = [cut_after(1000), plain]
    assert quick(order()).read_bytes() == CONTENT


def test_wrong_bytes_are_removed(order, server, tmp_path):
    server.files["x.bin"] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(BadData, match=r"x\.bin came with the sha256 .* expected"):
        quick(order())
    assert not list(tmp_path.iterdir())


def test_nobody_answers(tmp_path):
    for url in ("http://127.0.0.1:9/x.bin", "http://nowhere.invalid/x.bin"):
        with pytest.raises(BadInput, match=r"cannot fetch x\.bin: .* does not answer .*check the network"):
            quick(Order(url, tmp_path / "x.bin", ()))
    assert not list(tmp_path.iterdir())


def test_a_server_that_always_cuts_is_left(order, server, tmp_path):
    server.answers = [cut_after(50_000), *[cut_after(0)] * 20]
    with pytest.raises(BadInput, match=r"the connection was cut; .*kept for the next run"):
        quick(order())
    assert (tmp_path / "x.bin.part").read_bytes() == CONTENT[:50_000]


def redirect(to, code=302):
    def answer(handler):
        handler.send_response(code)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize(
    "to",
    [
        "http://evil.example/x",
        "https://127.0.0.1/x",
        "http://127.0.0.1:1/x",
        "http://notknown.org/",
        "ftp://known.org/x",
    ],
)
def test_redirects_to_strangers_are_refused(order, server, tmp_path, to):
    server.answers = [redirect(to)]
    with pytest.raises(BadData, match="no home of this data set"):
        quick(order(hosts=("known.org",)))
    assert not list(tmp_path.glob("x.bin"))


@pytest.mark.parametrize("to", ["file:///etc/passwd", "data:,x"])
def test_redirects_to_files_are_refused(order, server, to):
    server.answers = [redirect(to)]
    with pytest.raises(BadInput):
        quick(order())


def test_redirects_at_home_keep_the_range_and_end_somewhere(order, server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(CONTENT[:1000])
    server.files["y.bin"] = CONTENT
    server.answers = [redirect(f"{server.url}/y.bin")]
    assert quick(order()).read_bytes() == CONTENT
    assert server.seen[1] == ("/y.bin", "bytes=1000-", None)
    (tmp_path / "x.bin").unlink()
    server.answers = [redirect(f"{server.url}/x.bin")] * 100
    with pytest.raises(BadInput):
        quick(order())


def headed(status, body=b"", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (headed(200, Content_Length=str(10**15)), BadData, "announced with 1,000,000,000,000,000 bytes"),
        (
            headed(200, b"<html>", Content_Type="text/html; charset=utf-8", Content_Length="6"),
            BadInput,
            "a web page came",
        ),
        (headed(200, b"x", Content_Encoding="gzip", Content_Length="1"), BadData, "packs"),
        (headed(404, Content_Length="0"), BadInput, "answers 404"),
        (headed(403, Content_Length="0"), BadInput, "answers 403"),
        (headed(206, b"x" * 10, Content_Range="bytes 5-14/300000", Content_Length="10"), BadData, "another part"),
        (headed(206, b"x" * 10, Content_Range="nonsense", Content_Length="10"), BadData, "another part"),
        (headed(200, b"x" * 2_000_000), BadData, "longer than 1,000,000 bytes"),  # no length told
        (headed(200, b"x" * 10), BadData, "sha256"),  # ended early, and no length to tell
        (headed(206, b"x" * 500, Content_Range="bytes 0-499/100", Content_Length="500"), BadData, "longer than 100"),
    ],
)
def test_answers_that_lie(order, server, tmp_path, answer, error, says):
    server.answers = [answer]
    with pytest.raises(error, match=says):
        quick(order(most=1_000_000))
    assert not (tmp_path / "x.bin").exists()


def test_a_body_that_never_ends_is_cut_off(order, server, tmp_path):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(65_536))
        except OSError:
            handler.close_connection = True

    server.answers = [endless]
    with pytest.raises(BadData, match="longer than 3,000,000 bytes"):
        quick(order(most=3_000_000))
    assert not list(tmp_path.glob("x.bin*"))


def test_a_full_disk_is_told_before_and_during(order, monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "RESERVE", 10**18)
    with pytest.raises(StorageFull, match="make room first"):
        quick(order())
    assert not (tmp_path / "x.bin").exists()


def packed(files, special=()):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return stream.getvalue()


def film(number):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def nih(server, tmp_path):
    for name in addresses.NIH_TABLES:
        server.files[name] = name.encode()
    for number in (1, 2):
        images = [(f"images/0000000{number}_00{n}.png", film(n)) for n in range(3)]
        server.files[f"images_00{number}.tar.gz"] = packed(images)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in server.files.items()]
    (tmp_path / "sums").write_text("".join(lines))
    return {"base": server.url, "checksums": tmp_path / "sums", "only": [2, 1]}


def test_nih_from_a_mirror(nih, server, tmp_path):
    found = get("nih", tmp_path / "out", **nih)
    assert [path.name for path in found] == [*addresses.NIH_TABLES, "images_001", "images_002"]
    assert (tmp_path / "out" / "images_002" / "00000002_001.png").read_bytes() == film(1)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6
    asked = len(server.seen)
    assert get("nih", tmp_path / "out", **nih) == found
    assert len(server.seen) == asked  # nothing is fetched twice
    assert len((tmp_path / "out" / "CHECKSUMS").read_text().splitlines()) == 5


def test_tidy_and_published_sums(nih, server, tmp_path):
    get("nih", tmp_path / "out", tidy=True, **nih)
    assert not list((tmp_path / "out").glob("*.tar.gz"))
    with pytest.raises(
        BadData, match=r"images_001\.tar\.gz came with the md5 .* expected fe8ed0a6961412fddcbb3603c11b3698"
    ):
        get("nih", tmp_path / "other", base=server.url, only=[1])  # without sums of one's own the published ones count
    assert not list((tmp_path / "other").glob("images*"))


def test_what_was_received_is_held_to_later(nih, server, tmp_path):
    get("nih", tmp_path / "out", **nih)
    table = tmp_path / "out" / addresses.NIH_TABLES[0]
    table.write_text("changed")
    nih = nih | {"checksums": None}
    with pytest.raises(BadData, match=r"Data_Entry_2017_v2020\.csv has the sha256 .* remove it and run again"):
        get("nih", tmp_path / "out", **nih)
    table.unlink()
    server.files[table.name] = b"another"
    with pytest.raises(BadData, match="came with the sha256"):
        get("nih", tmp_path / "out", **nih)


def test_tables_without_an_address_are_told(tmp_path, monkeypatch):
    watched = Watched()
    monkeypatch.setattr(download, "fetch", lambda order, progress: order.file.write_bytes(b""))
    monkeypatch.setattr(download, "unpack", lambda file, folder, progress: folder.mkdir())
    get("nih", tmp_path / "out", only=[1], progress=watched)
    assert len(watched.notes) == 3
    assert all(addresses.NIH_PAGE in note for note in watched.notes)


def test_addresses_are_twelve_and_different():
    assert len({address.url for address in addresses.NIH}) == len({address.md5 for address in addresses.NIH}) == 12
    assert all(len(address.md5) == 32 and address.url.startswith("https://nihcc.box.com/") for address in addresses.NIH)


def test_medmnist_by_its_package(server, tmp_path):
    server.files["breastmnist.npz"] = b"some arrays"
    with pytest.raises(
        BadData, match=r"breastmnist\.npz came with the md5 .* expected 750601b1f35ba3300ea97c75c52ff8f6"
    ):
        get("breastmnist", tmp_path, base=server.url)
    (tmp_path / "sums").write_text(f"{hashlib.md5(b'some arrays').hexdigest()} *breastmnist.npz\n")
    found = get("breastmnist", tmp_path, base=server.url, checksums=tmp_path / "sums")
    assert [path.read_bytes() for path in found] == [b"some arrays"]
    assert addresses.medmnist(download.releases()["breastmnist"], "breastmnist", 128).name == "breastmnist_128.npz"


def test_what_cannot_be_asked_for(tmp_path, monkeypatch):
    (tmp_path / "bad").write_text("not a sum\n")
    for name, how, error, says in (
        ("nhi", {}, UnknownName, "did you mean 'nih'"),
        ("organmnist3d", {}, UnknownName, "no data set named"),
        ("nih", {"only": [13]}, BadPlan, "archives 1 to 12; got 13"),
        ("breastmnist", {"only": [1]}, BadPlan, "leave it out"),
        ("breastmnist", {"size": 32}, BadPlan, "28, 64, 128, 224; got 32"),
        ("nih", {"base": "file:///etc"}, BadPlan, "begins with https"),
        ("nih", {"checksums": tmp_path / "bad"}, BadData, "line 1: expected a sha256"),
        ("nih", {"checksums": tmp_path / "none"}, BadData, "cannot read none"),
    ):
        with pytest.raises(error, match=says):
            get(name, tmp_path / "out", **how)
    monkeypatch.setattr("radproof.data.medmnist.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"pip install 'radproof\[medmnist\]'"):
        get("breastmnist", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (packed([("../x.png", b"x")]), "not a path inside"),
        (packed([("/tmp/x.png", b"x")]), "not a path inside"),
        (packed([("images/x.sh", b"x")]), "no image of this data set"),
        (packed([("images/a/b/x.png", b"x")]), "no image of this data set"),
        (packed([("images/.x.png", b"x")]), "no image of this data set"),
        (packed([("images/x.png", b"x"), ("x.png", b"y")]), "there twice"),
        (packed([], [link("x.png", "/etc/passwd")]), "link"),
        (packed([], [link("images", "/tmp")]), "link"),
        (packed([], [link("x.png", "/etc/passwd", tarfile.LNKTYPE)]), "link"),
        (packed([("x.png", bytes(70 * 1024**2))]), "more than the limit"),
        (packed([(f"{n}.png", bytes(1024**2)) for n in range(5)]), "unpacks to more than 4,000,000"),
        (packed([]), "holds no PNG"),
        (packed([("x.png", b"x" * 5000)])[:-40], "damaged"),
        (b"no archive", "damaged"),
        (gzip.compress(packed([("x.png", b"x")])), "damaged|holds no PNG"),  # an archive in an archive
    ],
    ids=lambda told: told if isinstance(told, str) else "",
)
def test_archives_that_mean_harm(tmp_path, content, says):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar.gz").write_bytes(content)
    with pytest.raises(BadData, match=says):
        unpack(tmp_path / "in" / "a.tar.gz", tmp_path / "in" / "a", max_total=4_000_000)
    assert [file.name for file in tmp_path.rglob("*")] == ["in", "a.tar.gz"]


def test_headers_of_a_thousandfold_size(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 30 * 1024**2
    bomb = gzip.compress(info.tobuf() + bytes(30 * 1024**2))
    assert len(bomb) < 50_000
    (tmp_path / "a.tar.gz").write_bytes(bomb)
    with pytest.raises(BadData, match="announces 31,457,280 bytes of names"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
