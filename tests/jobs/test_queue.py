# SPDX-License-Identifier: Apache-2.0
"""The queue: every way between states, FIELD §5.1's races (double submit, cancel while finishing), and dispatch."""

import itertools
import threading

import pytest
import sqlalchemy as sa

from radproof.errors import BadInput
from radproof.jobs.ending import end, release
from radproof.jobs.kinds import Outcome
from radproof.jobs.queue import Jobs
from radproof.jobs.states import MOVES, Conflict, move
from radproof.store.tables import UNFINISHED, Event, Job, Run

STATES = (*UNFINISHED, "cancelled", "done", "failed")


def put(laboratory, name, **values):
    with laboratory.database.writing() as session:
        session.execute(sa.update(Job).where(Job.id == name).values(**values))


def ask(laboratory, verb, name, *given):
    with laboratory.database.writing() as session:
        getattr(laboratory.jobs, verb)(session, session.get_one(Job, name), *given)
    laboratory.jobs.dispatch()
    return laboratory.job(name)


def test_each_verb_leads_where_the_table_says_and_nowhere_else(furnished_light):
    _, name = furnished_light.run()
    for verb, state in itertools.product(MOVES, STATES):
        put(furnished_light, name, state=state)
        with furnished_light.database.writing() as session:
            job = session.get(Job, name)
            if state in MOVES[verb]:
                assert move(session, job, verb) == MOVES[verb][state] == job.state
            else:
                with pytest.raises(Conflict) as found:
                    move(session, job, verb)
                assert found.value.http_status == 409 and isinstance(found.value, BadInput)


def test_a_job_waits_in_the_engine_once_however_often_it_is_dispatched(furnished_light):
    _, name = furnished_light.run()
    for _ in range(3):
        furnished_light.jobs.dispatch()
        other = Jobs(furnished_light.settings, furnished_light.database)
        other.dispatch()
        other.close()
    placed = furnished_light.jobs._waiting.placed([f"{name}.1", f"{name}.2"])
    assert {key: one.status for key, one in placed.items()} == {f"{name}.1": "ENQUEUED"}


def test_what_was_not_dispatched_before_a_crash_is_by_the_next_one(furnished_light):
    with furnished_light.database.writing() as session:
        name = furnished_light.jobs.submit(
            session, "assess", subject_id="run_x", project_id=furnished_light.project, created_by=None
        ).id
    _, other = furnished_light.run()
    assert set(furnished_light.jobs._waiting.placed([f"{name}.1", f"{other}.1"])) == {f"{name}.1", f"{other}.1"}


def test_a_missing_engine_does_not_fail_a_request(furnished_light, caplog, monkeypatch):
    monkeypatch.setattr(furnished_light.jobs._waiting, "put", lambda queued: 1 / 0)
    _, name = furnished_light.run()
    assert furnished_light.job(name).state == "queued"
    assert "not to be reached" in caplog.text


def test_cancelled_before_it_was_begun_and_tried_again(furnished_light):
    run, name = furnished_light.run()
    assert ask(furnished_light, "cancel", name).state == "cancelled"
    with pytest.raises(Conflict, match="it is cancelled"):
        ask(furnished_light, "cancel", name)
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == "cancelled"
    again = ask(furnished_light, "retry", name)
    assert (again.state, again.attempt, again.finished) == ("queued", 2, None)
    assert f"{name}.2" in furnished_light.jobs._waiting.placed([f"{name}.2"])
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == "queued" and session.get(Run, run).finished is None


def test_paused_and_resumed_while_it_waits(furnished_light):
    run, name = furnished_light.run()
    assert ask(furnished_light, "pause", name).state == "paused"
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == "paused"
    assert ask(furnished_light, "resume", name).attempt == 2


def test_priorities_reach_the_engine_and_have_bounds(furnished_light):
    _, name = furnished_light.run()
    assert ask(furnished_light, "prioritise", name, 7).priority == 7
    assert furnished_light.jobs._waiting.placed([f"{name}.1"])[f"{name}.1"].priority == 7
    with pytest.raises(BadInput, match="1 \\(first\\) to 1000"):
        ask(furnished_light, "prioritise", name, 0)
    put(furnished_light, name, state="done")
    with pytest.raises(Conflict):
        ask(furnished_light, "prioritise", name, 7)


@pytest.mark.parametrize("first", ["cancel", "finish"])
def test_cancel_while_finishing_has_one_winner(furnished_light, first):
    run, name = furnished_light.run()
    put(furnished_light, name, state="running", worker="one")
    failing = Outcome(2, error="no")
    if first == "cancel":
        assert ask(furnished_light, "cancel", name).state == "cancelling"
        with pytest.raises(Conflict, match="already"):
            ask(furnished_light, "cancel", name)
    told = end(furnished_light.database, furnished_light.settings, "one", name, 1, failing, stopped=False)
    assert told == ("cancelled" if first == "cancel" else "failed")
    with pytest.raises(Conflict):
        ask(furnished_light, "cancel", name)
    assert end(furnished_light.database, furnished_light.settings, "one", name, 1, failing, stopped=False) == told
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == told
        assert len(session.execute(sa.select(Event)).all()) == 1  # it ended once


def test_two_workers_taking_the_same_lease_one_gets_it(furnished_light):
    _, name = furnished_light.run()
    got, gate = [], threading.Barrier(6)

    def take(worker):
        gate.wait()
        with furnished_light.database.writing() as session:
            try:
                move(session, session.get(Job, name), "take", attempt=1, worker=worker)
                got.append(worker)
            except Conflict:
                pass

    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert got == [furnished_light.job(name).worker]


@pytest.mark.parametrize(
    ("state", "after"), [("running", "queued"), ("pausing", "paused"), ("cancelling", "cancelled")]
)
def test_what_a_lost_worker_held_waits_again_or_ends_as_was_asked(furnished_light, state, after):
    run, name = furnished_light.run()
    put(furnished_light, name, state=state, worker="one")
    with pytest.raises(Conflict):
        release(furnished_light.database, furnished_light.settings, "two", name, 1)
    assert release(furnished_light.database, furnished_light.settings, "one", name, 1) == after
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == after


def test_an_outcome_that_cannot_be_taken_in_is_a_failure_that_says_so(furnished_light):
    run, name = furnished_light.run()
    put(furnished_light, name, state="running", worker="one")
    assert (
        end(furnished_light.database, furnished_light.settings, "one", name, 1, Outcome(0), stopped=False) == "failed"
    )
    assert "without a result" in furnished_light.job(name).error
    with furnished_light.database.reading() as session:
        assert session.get(Run, run).state == "failed"
