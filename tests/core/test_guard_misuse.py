"""What a stranger's code tries: each does its damage in a plain process, and none in a guarded one."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from radproof.core.guard import Limits
from radproof.errors import BadInput, BadModel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="name spaces and Landlock are Linux's")

NO_SPACES = ("network", "mounts", "pids")
NOTHING = (*NO_SPACES, "landlock", "seccomp")


@pytest.fixture
def outside(tmp_path):
    """A file of the user's that was not given."""
    path = tmp_path / "outside" / "secret.txt"
    path.parent.mkdir()
    path.write_text("Doe^Jane")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("without", [(), NO_SPACES, ("landlock",)])
@pytest.mark.parametrize("way", ["writes", "changes_rights", "deletes"])
def test_files_outside_stay_as_they_are(within, plainly, needs, outside, way, without):
    needs("Landlock", "read-only mounts")
    if way == "changes_rights" and without == NO_SPACES:
        pytest.skip("Landlock alone knows nothing of rights")
    with pytest.raises(BadModel, match="cannot be used"):
        within(way, {"path": str(outside)}, read=[outside], without=without)
    assert outside.read_text() == "Doe^Jane" and outside.stat().st_mode & 0o777 == 0o600
    assert plainly(way, path=str(outside))
    assert not outside.exists() or outside.read_text() != "Doe^Jane" or outside.stat().st_mode & 0o777 == 0o777


def test_no_file_is_made_outside(within, plainly, needs, tmp_path):
    needs("Landlock")
    with pytest.raises(BadModel, match="outside what it was given"):
        within("writes", {"path": str(tmp_path / "new")}, read=[tmp_path])
    assert list(tmp_path.iterdir()) == []
    assert plainly("writes", path=str(tmp_path / "new"))


def test_folders_given_to_write_are_written_and_made(within, tmp_path):
    out = tmp_path / "runs" / "one"
    assert within("writes", {"path": str(out / "made")}, write=[out]).value
    assert (out / "made").read_text() == "planted"
    assert within("deletes", {"path": str(out / "made")}, write=[out, out.parent]).value
    assert within("moves", {"path": str(out), "target": str(out)}, write=[out.parent]).value
    assert list(out.iterdir()) == []


def test_no_links_are_left_for_the_parent_to_follow(within, plainly, needs, outside, tmp_path):
    needs("Landlock")
    out = tmp_path / "out"
    for way in ("links", "hard_links"):
        with pytest.raises(BadModel):
            within(way, {"path": str(out / "result.json"), "target": str(outside)}, write=[out])
        assert list(out.iterdir()) == []
        assert plainly(way, path=str(out / "result.json"), target=str(outside))
        (out / "result.json").unlink()


def test_only_files_that_were_given_are_read(within, plainly, needs, outside):
    needs("Landlock")
    assert plainly("reads", path=str(outside)) == "Doe^Jane"
    with pytest.raises(BadModel, match="outside what it was given"):
        within("reads", {"path": str(outside)})
    with pytest.raises(BadModel, match="outside what it was given"):
        within("reads", {"path": str(outside)}, without=NO_SPACES)
    assert within("reads", {"path": str(outside)}, read=[outside]).value == "Doe^Jane"
    assert within("reads", {"path": str(outside)}, read=[outside.parent]).value == "Doe^Jane"


def test_links_inside_what_was_given_lead_nowhere(within, plainly, needs, outside, tmp_path):
    needs("Landlock")
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").symlink_to(outside)
    (given / "folder").symlink_to(outside.parent)
    for path in ("file", "folder/secret.txt", "../outside/secret.txt"):
        assert plainly("reads", path=str(given / path)) == "Doe^Jane"
        with pytest.raises(BadModel, match="outside what it was given"):
            within("reads", {"path": str(given / path)}, read=[given])
    assert (
        within("reads", {"path": str(given / "file")}, read=[given / "file"]).value == "Doe^Jane"
    )  # the caller's word


@pytest.mark.parametrize("without", [(), NO_SPACES])
def test_secrets_of_the_environment_are_not_there(within, plainly, needs, monkeypatch, without):
    needs("Landlock")
    monkeypatch.setenv("PACS_PASSWORD", "hunter2")
    assert plainly("environment")["PACS_PASSWORD"] == "hunter2"
    assert "hunter2" not in str(within("environment", without=without).value)
    path = f"/proc/{os.getpid()}/cmdline"
    assert plainly("reads", path=path)
    with pytest.raises(BadModel):
        within("reads", {"path": path}, without=without)


class Listener:
    """Sockets of the test that count what arrives."""

    def __init__(self, family, address):
        kind = socket.SOCK_DGRAM if family in ("udp", "pair") else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET if family in ("tcp", "udp") else socket.AF_UNIX, kind)
        self.socket.bind(address)
        self.heard = threading.Event()
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        self.stream = kind == socket.SOCK_STREAM
        self.thread = threading.Thread(target=self._hear, daemon=True)
        self.thread.start()

    def _hear(self):
        try:
            if self.stream:
                with self.socket.accept()[0] as stream:
                    stream.recv(16)
            else:
                self.socket.recv(16)
            self.heard.set()
        except OSError:
            return

    def close(self):
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.mark.parametrize("without", [(), NO_SPACES, ("seccomp",)])
@pytest.mark.parametrize("family", ["tcp", "udp", "unix", "abstract", "pair"])
def test_nothing_can_be_sent(within, plainly, needs, tmp_path, family, without):
    needs("no network", "few system calls", "Landlock")
    if without == ("seccomp",) and family in ("unix", "pair"):
        pytest.skip("sockets in the file system are seccomp's")
    address = {"tcp": ("127.0.0.1", 0), "udp": ("127.0.0.1", 0), "abstract": f"\0radproof-{os.getpid()}"}.get(
        family, str(tmp_path / "socket")
    )
    listener = Listener(family, address)
    bound = listener.socket.getsockname()
    bound = list(bound) if isinstance(bound, tuple) else bound.decode() if isinstance(bound, bytes) else bound
    way, given = "connects", {"family": "unix" if family == "abstract" else family, "address": bound}
    if family == "pair":
        way, given = "sends_from_a_pair", {"address": bound}
    try:
        with pytest.raises(BadModel, match="cannot be used"):
            within(way, given, read=[tmp_path], write=[tmp_path], without=without)
        assert not listener.heard.is_set()
        assert plainly(way, **given)
        assert listener.heard.wait(5)
    finally:
        listener.close()
        listener.thread.join(5)


def test_no_name_is_asked_for_and_no_port_is_opened(within, plainly, needs):
    needs("no network", "few system calls")
    assert plainly("listens") > 0
    for way, given in (("listens", {}), ("asks_for_a_name", {"name": "localhost"})):
        with pytest.raises(BadModel, match="cannot be used"):
            within(way, given)


@pytest.mark.parametrize("without", [(), NO_SPACES])
def test_no_other_process_can_be_ended(within, plainly, needs, without):
    needs("own process numbers", "Landlock ABI 7")
    with subprocess.Popen(["sleep", "60"]) as victim:
        with pytest.raises(BadModel, match="cannot be used"):
            within("kills", {"pid": victim.pid}, without=without)
        assert victim.poll() is None
        assert plainly("kills", pid=victim.pid)
        assert victim.wait() == -9


def test_its_parent_can_not_be_ended_either(within, needs):
    needs("own process numbers", "Landlock ABI 7")
    for without in (("pids",), NO_SPACES, NOTHING):
        try:
            ended = within("kills_its_parent", without=without).value
        except BadModel:
            ended = False
        assert not ended or without == NOTHING  # where nothing is reached, only the process that waits is lost


def test_system_calls_that_no_network_needs_are_refused(within, needs):
    needs("few system calls")
    names = [
        "socket",
        "connect",
        "ptrace",
        "mount",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "io_uring_setup",
        "userfaultfd",
    ]
    found = within("calls", {"names": [*names, "memfd_create", "clone3"]}, without=(*NO_SPACES, "landlock")).value
    assert {found[name] for name in names} == {1}
    assert found["clone3"] == 38
    assert found["memfd_create"] == 38 or Path("/dev/nvidiactl").exists()


@pytest.mark.parametrize("without", [(), NOTHING])
@pytest.mark.parametrize("away", [False, True])
def test_a_fork_bomb_is_ended_with_all_its_children(within, plainly, living, notes, without, away):
    assert plainly("forks", count=40, away=away, seconds=0.5)
    with pytest.raises(BadModel, match="of processes and threads, over its limit of 30"):
        within("forks", {"count": 100, "away": away}, limits=Limits(processes=30), without=without, progress=notes)
    assert living(f"HOME={notes.notes[0]}") == []


@pytest.mark.parametrize("without", [(), NOTHING])
def test_processes_left_behind_end_with_the_answer(within, living, notes, without):
    assert within("forks", {"count": 3, "away": True, "seconds": 59}, without=without, progress=notes).value
    assert living(f"HOME={notes.notes[0]}") == []


def test_threads_count(within, plainly):
    assert plainly("threads", count=60)
    with pytest.raises(BadModel, match="of processes and threads"):
        within("threads", {"count": 60}, limits=Limits(processes=30))


def test_memory_is_limited(within, plainly, notes):
    assert plainly("allocates", megabytes=600)
    with pytest.raises(BadModel, match=r"it took 0\.\d+ GB of memory, over its limit of 0.15 GB"):
        within("allocates", {"megabytes": 3000}, limits=Limits(memory=150_000_000), progress=notes)
    assert 100 <= int(notes.notes[-1]) < 2000


def test_memory_of_several_processes_is_added_up(within, plainly):
    limits = Limits(memory=150_000_000)
    with pytest.raises(BadModel, match="of memory, over its limit"):
        within("allocates_together", {"count": 4, "megabytes": 60}, limits=limits)
    assert within("shares_memory", {"count": 3, "megabytes": 90}, limits=limits).value  # shared pages count once


def test_large_files_are_refused(within, plainly, tmp_path):
    assert plainly("fills", megabytes=3)
    with pytest.raises(BadModel, match="it wrote a larger file than the guard allows"):
        within("fills", {"megabytes": 3, "folder": str(tmp_path)}, limits=Limits(file_size=1_000_000), write=[tmp_path])
    assert (tmp_path / "filling-0").stat().st_size <= 1_000_000


def test_the_temporary_folder_has_a_limit_and_goes(within, notes):
    with pytest.raises(BadModel, match=r"it took 0\.\d+ GB of disk, over its limit of 0.01 GB"):
        within("fills", {"megabytes": 4, "files": 10}, limits=Limits(disk=10_000_000))


def test_a_disk_that_runs_full_ends_it(within, tmp_path, monkeypatch):
    from radproof.core import guard_process

    left = iter([100_000_000, *[100_000] * 10_000])
    monkeypatch.setattr(guard_process, "room_left", lambda folder: next(left))
    with pytest.raises(BadModel, match="is nearly full"):
        within("sleeps", limits=Limits(wall=20))


def test_open_files_are_limited(within, plainly):
    assert plainly("opens", count=300) == 300
    with pytest.raises(BadModel, match="it opened more files than the guard allows"):
        within("opens", {"count": 300}, limits=Limits(files=100))


def test_what_is_left_behind_goes(within, notes):
    assert within("leaves_a_mess", {"deep": 1050}, progress=notes).value
    assert not Path(notes.notes[0]).exists()


def test_prints_are_drained_and_cut(within):
    done = within("prints", {"megabytes": 20}, limits=Limits(output=5000))
    assert done.value == "printed"
    assert 4000 < len(done.printed) <= 5000 and set(done.printed) == {"x", " "}


def test_prints_are_not_taken_for_answers(within):
    done = within("pretends")
    assert done.value == "true"
    assert "faked" in done.printed and "everything" not in done.level


@pytest.mark.parametrize(
    "line",
    [
        '{"level": ["everything"]}',
        '{"value": NaN}',
        '{"value": 1e999}',
        '{"start": ["stage", -1]}',
        '{"advance": ["stage", true]}',
        '{"error": ["os", 1]}',
        "[" * 100_000,
        "no json",
        "[]",
    ],
)
def test_words_out_of_turn_are_refused(within, line):
    with pytest.raises(BadModel, match="it answered"):
        within("speaks_out_of_turn", {"lines": [line]})


def test_an_answer_without_end_is_refused(within):
    with pytest.raises(BadModel, match="it answered with more than 16 MB"):
        within("floods", {"megabytes": 40})


def test_files_kept_in_memory_can_be_given_too(within, monkeypatch, needs):
    needs("Landlock")
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        assert within("writes", {"path": "made"}).value
        Path(folder, "given").write_text("given")
        assert within("reads", {"path": f"{folder}/given"}, read=[f"{folder}/given"]).value == "given"
        assert [path.name for path in Path(folder).iterdir()] == ["given"]


@pytest.mark.parametrize("name", ["Interrupted", "GateFailed"])
def test_a_file_ends_no_command_as_a_user_or_a_gate_would(within, name):
    with pytest.raises(BadModel, match="cannot be used: what went wrong"):
        within("raises", {"name": name})


def test_links_that_were_left_are_not_read_through(within, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(BadModel, match=r"it left .*/etc, a link|outside what it was given|keeps from it"):
        within("links", {"path": str(out / "etc"), "target": "/etc"}, write=[out])
    with pytest.raises(BadModel, match=r"it left .*/etc, a link"):
        within("links", {"path": str(out / "etc"), "target": "/etc"}, write=[out], without=("landlock",))
    assert (out / "etc").is_symlink()
    with pytest.raises(BadInput, match="etc is a link, and a guarded process is to write there"):
        within("echo", {"x": 1}, write=[out])
    (out / "etc").unlink()
    assert within("echo", {"x": 1}, write=[out]).value == {"x": 1}


@pytest.mark.parametrize("amount", [-1, 10**400, 1e308, True])
def test_progress_counts_up_and_by_numbers(within, notes, amount):
    with pytest.raises(BadModel, match="out of turn"):
        within("tells", {"stage": "s0", "amount": amount}, progress=notes)


def test_progress_of_a_stage_that_was_not_announced_is_passed_by(within, notes):
    assert within("tells", {"stage": "other", "amount": 1}, progress=notes).value == "told"
    assert notes.told == [("start", "s0", 1.0)]


def test_stages_have_an_end(within, notes):
    assert within("tells", {"stage": "s0", "amount": 1, "times": 1000}, progress=notes).value == "told"
    with pytest.raises(BadModel, match="more than 1000 stages"):
        within("tells", {"stage": "s0", "amount": 1, "times": 1001}, progress=notes)


def test_strictness_is_asked_for_in_the_environment(within, monkeypatch):
    monkeypatch.setenv("RADPROOF_GUARD", "strict")
    with pytest.raises(BadInput, match="strict guard was asked for"):
        within("echo", {"x": 1}, without=("landlock",))
    monkeypatch.setenv("RADPROOF_GUARD", "lax")
    with pytest.raises(BadInput, match="RADPROOF_GUARD is strict or not set; got 'lax'"):
        within("echo", {"x": 1})
