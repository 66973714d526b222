"""What comes back from a guarded child: values, progress, errors, deaths, interruptions, the level reached."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radproof.core import guard_process
from radproof.core.guard import Limits, guarded, level
from radproof.errors import BadData, BadImage, BadInput, BadModel, Interrupted, NoGradient, StorageFull

HERE = Path(__file__).parent
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="name spaces and Landlock are Linux's")


def test_arguments_go_in_and_the_value_comes_out(within):
    given = {"a": [1, 2.5, None, True, "ä\n\0"], "b": {"c": "x" * 2_000_000}}
    assert within("echo", given).value == given


def test_progress_is_passed_on_cleaned_and_steps_of_a_moment_are_told_together(within, notes):
    done = within("told", {"steps": 20_000}, progress=notes)
    assert done.value == "done"
    assert notes.told[0] == ("start", "cells", 20_000)
    assert ("note", "half [31m way") in notes.told
    steps = [what[2] for what in notes.told if what[0] == "advance"]
    assert sum(steps) == 20_000.5 and len(steps) < 2_000
    assert notes.told[-1] == ("advance", "cells", 0.5)


def test_a_function_need_not_take_progress(within, notes):
    assert within("echo", {"x": 1}, progress=notes).value == {"x": 1}
    assert notes.told == []


def test_functions_of_radproof_itself_are_called():
    assert guarded("radproof.core.guard_child:nothing", {}).value is None


def test_arguments_that_are_no_json_are_refused_before_anything_starts(within):
    with pytest.raises(TypeError):
        within("echo", {"path": Path("x")})
    with pytest.raises(ValueError, match="JSON"):
        within("echo", {"x": float("nan")})


@pytest.mark.parametrize("kind", [BadInput, BadData, BadImage, NoGradient, StorageFull])
def test_errors_of_radproof_come_back_as_their_classes(within, kind):
    with pytest.raises(kind, match=r"^what went wrong$") as caught:
        within("raises", {"name": kind.__name__})
    assert type(caught.value) is kind


def test_an_error_class_unknown_here_comes_back_as_its_nearest(within):
    with pytest.raises(BadImage, match="cracked"):
        within("raises_own")


def test_messages_are_cut_and_lose_their_control_characters(within):
    with pytest.raises(BadImage) as caught:
        within("raises", {"name": "BadImage", "message": "\x1b]0;title\x07" + "y\u202e" * 9000})
    message = str(caught.value)
    assert len(message) == 2000 and message.isprintable() and message.endswith("…")


@pytest.mark.parametrize("name", ["KeyError", "RuntimeError", "MemoryError", "AssertionError", "SystemExit"])
def test_any_other_error_is_the_files_fault_in_one_line(within, name):
    with pytest.raises(BadModel, match=f"the model file cannot be used.*broke off with {name}") as caught:
        within("breaks", {"name": name, "message": "first\nsecond"})
    assert caught.value.__cause__ is None
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    assert "misbehaving.py, line" in str(caught.value)


@pytest.mark.parametrize("blame", [BadData, BadImage])
def test_errors_about_images_repeat_nothing_of_what_the_file_says(within, blame):
    with pytest.raises(blame, match="the DICOM file cannot be used; it broke off with ValueError") as caught:
        within("breaks", {"name": "ValueError", "message": "Doe^Jane"}, blame=blame, what="the DICOM file")
    assert "Doe" not in str(caught.value)
    with pytest.raises(BadModel, match=r"Doe\^Jane"):
        within("breaks", {"name": "ValueError", "message": "Doe^Jane"})


@pytest.mark.parametrize("what", ["set", "nan", "bytes", "object"])
def test_an_answer_that_is_no_strict_json_is_refused(within, what):
    with pytest.raises(BadModel, match=r"TypeError|ValueError"):
        within("no_json", {"what": what})


def test_an_answer_nested_without_end_is_refused(within):
    with pytest.raises(BadModel, match="nested too deeply"):
        within("nested")


@pytest.mark.parametrize("code", [0, 7])
def test_leaving_without_an_answer_is_told(within, plainly, code):
    assert plainly("leaves", code=code) is None
    with pytest.raises(BadModel, match=rf"stopped: it ended its process \(exit code {code}\) without an answer"):
        within("leaves", {"code": code})


def test_a_crash_is_told(within, plainly):
    assert plainly("crashes") is None
    with pytest.raises(BadModel, match=r"crashed \(SIGSEGV\)"):
        within("crashes")


def test_a_module_that_is_not_there_is_told(within):
    with pytest.raises(BadModel, match="a package that it needs is missing"):
        guarded("no_such_module_at_all:task", {})


@LINUX
def test_the_child_starts_with_nothing_but_what_it_needs(within, needs):
    needs("Landlock")
    found = within("state").value
    assert found["core"] == [1, 1]
    assert found["stdin"] == ""
    assert found["folder"] == found["home"] and not Path(found["home"]).exists()
    assert found["flags"] == [1, 1]
    assert "" not in found["path"] and os.getcwd() not in found["path"]
    assert found["modules"] == []
    assert int(found["capable"].split()[1], 16) in (0, 2)


@LINUX
def test_what_is_left_off_is_not_claimed(within, reached):
    assert reached[:3] == ("own process", "resource limits", "memory, time and processes watched")
    everything = ("network", "mounts", "pids", "landlock", "seccomp")
    assert within("echo", without=everything).level == reached[:3]
    assert within("echo", without=("linux",)).level == reached[:2]
    for word, name in {
        "network": "no network",
        "mounts": "read-only mounts",
        "pids": "own process numbers",
        "landlock": "read-only files",
        "seccomp": "few system calls",
    }.items():
        told = [words for words in within("echo", without=(word, "seccomp")).level if words.startswith(name)]
        assert told == []


@LINUX
def test_landlock_stands_in_for_a_name_space_of_the_network(needs):
    needs("Landlock ABI")
    assert "no TCP (Landlock)" in level(without=("network", "seccomp"))


@LINUX
def test_the_strict_guard_refuses_what_it_cannot_shut_off(within, reached):
    with pytest.raises(BadInput, match="the network and other files cannot be shut off") as caught:
        within("echo", strict=True, without=("network", "landlock", "seccomp"))
    assert type(caught.value) is BadInput
    with pytest.raises(BadInput, match="asked for, and the network cannot"):
        within("echo", strict=True, without=("network", "seccomp"))
    with pytest.raises(BadInput, match="asked for, and other files cannot"):
        within("echo", strict=True, without=("landlock",))


def test_the_strict_guard_refuses_before_the_strangers_code_runs(within, tmp_path):
    with pytest.raises(BadInput, match="strict"):
        within(
            "writes", {"path": str(tmp_path / "out" / "ran")}, write=[tmp_path / "out"], strict=True, without=("linux",)
        )
    assert list((tmp_path / "out").iterdir()) == []


@LINUX
def test_the_strict_guard_runs_where_all_is_reached(within, needs):
    needs("no network", "Landlock")
    assert within("echo", {"x": 1}, strict=True).value == {"x": 1}


class Interrupting:
    """Ctrl-C as soon as the child tells something."""

    def start(self, stage, total): ...

    def advance(self, stage, amount=1.0): ...

    def note(self, message):
        raise KeyboardInterrupt


def test_ctrl_c_lets_the_child_finish(within, tmp_path):
    with pytest.raises(Interrupted, match="finished batches are kept"):
        within("until_interrupted", {"path": str(tmp_path)}, write=[tmp_path], progress=Interrupting())
    assert (tmp_path / "kept").read_text() == "finished"


def test_a_child_that_ignores_ctrl_c_is_ended(within, monkeypatch):
    monkeypatch.setattr(guard_process, "_GRACE", 0.2)
    with pytest.raises(Interrupted, match="stopped by the user"):
        within("never_interrupted", progress=Interrupting())


def test_a_parents_error_ends_the_child(within, living):
    class Broken(Interrupting):
        def note(self, message):
            self.home = message
            raise ZeroDivisionError

    broken = Broken()
    with pytest.raises(ZeroDivisionError):
        within("sleeps", progress=broken)
    assert living(broken.home) == [] and not Path(broken.home).exists()


@LINUX
@pytest.mark.parametrize("without", [(), ("network", "mounts", "pids", "landlock", "seccomp")])
def test_the_child_dies_with_its_parent(living, tmp_path, without):
    code = (
        "import sys; from radproof.core.guard import guarded\n"
        "class Told:\n"
        "    def note(self, message): print(message, flush=True)\n"
        f"guarded('misbehaving:sleeps', {{}}, paths=[{str(HERE)!r}], progress=Told(), without={without!r})\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        home = parent.stdout.readline().strip()
        before = living(f"HOME={home}")
        parent.send_signal(signal.SIGKILL)
    assert len(before) == 2
    for _ in range(500):
        if not living(f"HOME={home}"):
            break
        time.sleep(0.01)
    assert living(f"HOME={home}") == []


def test_limits_are_told_in_a_sentence(within):
    with pytest.raises(BadModel, match=r"stopped: it took 0\.\d seconds of time, over its limit of 0.3 seconds; raise"):
        within("sleeps", limits=Limits(wall=0.3))
    with pytest.raises(
        BadData, match=r"the set was stopped: it took 0\.\d seconds of processor time, over its limit of 0.4"
    ):
        within("spins", limits=Limits(cpu=0.4), blame=BadData, what="the set")


@LINUX
@pytest.mark.parametrize("without", [(), ("mounts",), ("pids",), ("mounts", "landlock"), ("root",)])
def test_no_mount_of_the_child_is_seen_outside(without):
    def mounts():
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    before = mounts()
    guarded("radproof.core.guard_child:nothing", {}, without=without)
    assert mounts() == before
