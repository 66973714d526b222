# SPDX-License-Identifier: Apache-2.0
"""Workers with the engine: jobs in order, takeovers, clock jumps, SIGTERM, and nothing that goes out."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from radproof.cli.console import Bars
from radproof.errors import BadInput
from radproof.jobs import doing, engine, kinds, worker
from radproof.jobs.doing import Lease
from radproof.jobs.engine import Released
from radproof.jobs.kinds import Kind
from radproof.jobs.process import Command
from radproof.jobs.silence import Silence
from radproof.jobs.worker import Worker
from radproof.store.tables import Job, now
from radproof.store.tables import Worker as Row

from .test_doing import PROGRAM, dead

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections of the engine's own threads


@pytest.fixture
def miniature(furnished_light, monkeypatch):
    """A laboratory whose commands are tests/jobs/command.py, each in a folder of its own."""
    made = furnished_light
    monkeypatch.setattr(doing, "Command", functools.partial(Command, program=PROGRAM))
    monkeypatch.setattr(doing, "OFTEN", 0.1)
    monkeypatch.setattr(worker, "TICK", 0.1)
    monkeypatch.setattr(engine, "OFTEN", 0.05)

    def prepare(session, job, settings, files):
        folder = settings.home.resolve() / job.subject_id
        folder.mkdir(exist_ok=True)
        return [job.subject_id.split("-")[0], str(folder)]

    kind = Kind(prepare, lambda *_: None)
    monkeypatch.setattr(kinds, "kind_of", lambda name: kind)
    for used in ("doing", "ending", "queue"):
        monkeypatch.setattr(f"radproof.jobs.{used}.kind_of", lambda name: kind)
    return made


def submit(laboratory, subject, **values):
    with laboratory.database.writing() as session:
        name = laboratory.jobs.submit(
            session, "x", subject_id=subject, project_id=laboratory.project, created_by=None, **values
        ).id
    laboratory.jobs.dispatch()
    return name


class Within:
    """A worker in a thread of this process."""

    def __init__(self, laboratory):
        self.worker = Worker(laboratory.settings)
        self.thread = threading.Thread(target=self.worker.run)

    def __enter__(self):
        self.thread.start()
        return self.worker

    def __exit__(self, *_):
        self.worker.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_jobs_are_done_one_at_a_time_and_smaller_numbers_first(miniature):
    names = [submit(miniature, f"well-{n}", priority=priority) for n, priority in enumerate((300, 200, 100))]
    with Within(miniature):
        ended = [miniature.until(name, lambda job: job.state == "done", 60) for name in names]
    assert ended[2].finished <= ended[1].started <= ended[1].finished <= ended[0].started
    assert {job.attempt for job in ended} == {1}


def test_a_worker_for_one_job_does_one_whatever_the_engine_hands_out(furnished_light):
    made, go, seen = Worker(furnished_light.settings), threading.Event(), []

    def command(lease):
        seen.append(f"{lease.job} begins")
        go.wait(30)
        seen.append(f"{lease.job} ends")
        return {}

    made._doing = SimpleNamespace(take=lambda lease: True, command=command, end=lambda lease, told: told)
    made._engine = SimpleNamespace(step=lambda do: do())
    threads = [threading.Thread(target=made.work, args=(job, 1)) for job in ("a", "b")]
    for one in threads:
        one.start()
    while not (len(made._leases) == 2 and seen):
        time.sleep(0.01)
    assert len(seen) == 1
    go.set()
    for one in threads:
        one.join(30)
    first, second = seen[0][0], seen[2][0]
    assert seen == [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"] and first != second
    made.stop.set()
    with made._place(Lease("c", 1)), pytest.raises(Released), made._place(Lease("d", 1)):
        pass


def test_a_stopped_worker_gives_back_and_the_next_one_goes_on(miniature):
    name = submit(miniature, "waits-1")
    with Within(miniature):
        miniature.until(name, lambda job: job.progress.get("note") == "waiting", 60)
    job = miniature.job(name)
    assert (job.state, job.worker) == ("queued", "")
    with miniature.database.reading() as session:
        assert session.execute(sa.select(Row)).all() == []
    (miniature.settings.home / "waits-1" / "go").touch()
    with Within(miniature):
        assert miniature.until(name, lambda job: job.state == "done", 60).attempt == 1


@pytest.mark.slow
def test_what_a_silent_worker_held_is_taken_over_whatever_its_clock_says(miniature, monkeypatch):
    """FIELD §5.1, "clock jump": a sign of life from tomorrow, or from last year, is as good as one of now."""
    monkeypatch.setattr(worker, "Silence", lambda: Silence(lost=0.5))
    with miniature.database.writing() as session:
        session.add(Row(name="silent", seen=now() + timedelta(days=1)))
    name = submit(miniature, "well-1")
    with miniature.database.writing() as session:
        session.execute(sa.update(Job).values(state="running", worker="silent"))
    with Within(miniature):
        job = miniature.until(name, lambda job: job.state == "done", 60)
    assert (job.worker, job.attempt) == ("local", 1)


def test_a_living_worker_is_left_alone_however_its_clock_jumps():
    silence, sign = Silence(lost=15), [1]
    for tick in range(100):
        sign[0] = -sign[0] * 1000  # years to and fro
        assert silence.look({"two"}, {"two": sign[0]}, float(tick)) == set()


def test_silence_is_found_after_a_while_and_not_by_one_who_was_away_itself():
    silence = Silence(lost=15, away=6)
    lost = [silence.look({"two", "never"}, {"two": 7}, float(tick)) for tick in range(20)]
    assert lost[14] == set() and lost[15] == {"two", "never"}
    assert silence.look({"two"}, {"two": 7}, 40.0) == set()  # asleep, or without the database, for 20 seconds


def test_a_workflow_that_is_over_while_its_job_waits_gets_another(miniature):
    """As after a planted row, or an engine's database that was restored from a backup."""
    name = submit(miniature, "well-1")
    waiting = miniature.jobs._waiting
    with waiting._engine.begin() as connection:
        connection.execute(sa.update(waiting._table).values(status="ERROR"))
    with Within(miniature):
        assert miniature.until(name, lambda job: job.state == "done", 60).attempt == 2


def test_two_workers_of_one_name_are_refused(miniature, monkeypatch):
    monkeypatch.setattr(worker, "NAMED", 0.2)
    with Within(miniature) as first:
        miniature.until(submit(miniature, "well-1"), lambda job: job.state == "done", 60)
        with pytest.raises(BadInput, match="another --name"):
            Worker(first.settings).run()


def test_nothing_of_the_engine_goes_out(miniature, monkeypatch):
    connected = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: (connected.append(to), connect(self, to)))
    monkeypatch.setenv("DBOS_CONDUCTOR_KEY", "x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with Within(miniature):
        miniature.until(submit(miniature, "well-1"), lambda job: job.state == "done", 60)
    assert connected == []


@pytest.mark.slow
def test_sigterm_gives_back_and_ends_well_and_torch_is_never_imported(furnished_light):
    """With the real command, a job that fails at once: its model has no files."""
    _, name = furnished_light.run()
    started = furnished_light.worker()
    job = furnished_light.until(name, lambda job: job.state in ("failed", "running"), 60)
    maps = Path(f"/proc/{started.pid}/maps").read_text()
    assert "libtorch" not in maps and "sqlite" in maps
    started.send_signal(signal.SIGTERM)
    assert started.wait(30) == 0
    assert furnished_light.job(job.id).state in ("queued", "failed")


@pytest.mark.slow
def test_a_worker_waits_for_a_database_that_is_away(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "RADPROOF_DATABASE": f"postgresql://nobody@127.0.0.1:{port}/none"}
    command = [sys.executable, "-m", "radproof", "worker", "--home", str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as started:
        assert started.stderr is not None
        assert b"the database is away" in started.stderr.readline()
        started.stdin.close()  # as when its server ends
        assert started.wait(60) == 0


def test_progress_of_a_supervised_command_is_json_lines(monkeypatch, capfd):
    monkeypatch.setenv("RADPROOF_SUPERVISED", "1")
    with Bars() as bars:
        bars.start("a", 2)
        bars.advance("never begun")
        bars.advance("a", 2)
        bars.note("words\x1b")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines == [
        {"stage": "a", "done": 0.0, "total": 2.0},
        {"stage": "a", "done": 2.0, "total": 2.0},
        {"note": "words\x1b"},
    ]


@pytest.mark.slow
def test_errors_of_a_supervised_command_are_a_json_line():
    environment = {**os.environ, "RADPROOF_SUPERVISED": "1"}
    command = [sys.executable, "-m", "radproof", "worker", "--config", "/no/such.toml"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as started:
        assert started.wait(60) == 2
        told = json.loads(started.stderr.read().splitlines()[-1])
    assert told["code"] == 2 and "no settings file" in told["error"]


def test_guarded_processes_end_with_a_supervised_command(tmp_path):
    """A stranger's file at work in a guard does not outlive a worker that was killed."""
    here = Path(__file__).parents[1] / "core"
    script = (
        "import sys; from radproof.cli.supervised import end_with_worker; end_with_worker()\n"
        "from radproof.core.guard import guarded\n"
        "class Told:\n"
        "    def start(self, *given): print('begun', flush=True)\n"
        "    def advance(self, *given): pass\n"
        "    def note(self, *given): print('begun', flush=True)\n"
        f"guarded('misbehaving:sleeps', {{}}, paths=[{str(here)!r}], progress=Told())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as started:
        assert started.stdout.readline() == b"begun\n"
        below = descendants(started.pid)
        assert below
        started.stdin.close()  # what the system does for a worker that was killed
        started.wait(60)
    ends = time.monotonic() + 30
    while not all(map(dead, below)) and time.monotonic() < ends:
        time.sleep(0.02)
    assert all(map(dead, below))


def descendants(root):
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {root}
