# SPDX-License-Identifier: Apache-2.0
"""The engine's database holds strict JSON, and a planted pickle is refused wherever it lies."""

import base64
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from radproof.jobs.strict import NAME, Kept, Refused, StrictJson
from radproof.jobs.waiting import VERSION, Waiting

EXECUTOR = "victim"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "executed"))


def payload(mark: Path) -> str:
    return base64.b64encode(pickle.dumps(Payload(mark))).decode()


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "ü", [1, [2]], {"a": {"b": [None]}}])
def test_json_comes_back(value):
    assert StrictJson().deserialize(StrictJson().serialize(value)) == value


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {"a": [float("-inf")]}, {1: 2}, (1,), {1, 2}, b"x", Path("x"), object()]
)
def test_nothing_else_is_kept(value):
    with pytest.raises((TypeError, ValueError)):
        StrictJson().serialize(value)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "", "{", "gASVDAAAAAAAAAB9lC4=", "[" * 100_000])
def test_nothing_else_is_read(text):
    with pytest.raises(Refused):
        StrictJson().deserialize(text)


def test_errors_are_kept_as_name_and_message():
    kept = StrictJson().serialize(ValueError("wrong"))
    assert kept == '{"!error":{"name":"ValueError","message":"wrong"}}'
    back = StrictJson().deserialize(kept)
    assert isinstance(back, Kept) and str(back) == "ValueError: wrong"


def test_arguments_of_a_workflow_are_a_list():
    assert StrictJson().deserialize(StrictJson().serialize({"args": ("a", 1), "kwargs": {}})) == {
        "args": ["a", 1],
        "kwargs": {},
    }


# A worker in miniature: an engine that has one workflow with one step, and a client that asks for everything.
VICTIM = """
import sys, json, logging, time
url, shut, names = sys.argv[1], sys.argv[2] == "shut", sys.argv[3:]
from dbos import DBOS, DBOSClient
given = {}
if shut:
    from radproof.jobs.strict import StrictJson, shut as close
    close()
    given = {"serializer": StrictJson()}
DBOS(config={"name": "radproof", "system_database_url": url, "application_version": "VERSION",
             "executor_id": "EXECUTOR", "enable_otlp": False, "log_level": "CRITICAL", **given})
@DBOS.workflow(name="work")
def work(*args):
    return DBOS.run_step({"name": "command"}, lambda: "done")
DBOS.launch()
DBOS.register_queue("work", polling_interval_sec=0.1)
client = DBOSClient(system_database_url=url, **given)
bare = DBOSClient(system_database_url=url)  # its default serialiser is theirs
def states():
    return {one.workflow_id: one.status for one in client.list_workflows(load_input=False, load_output=False)}
def over(name):
    return states()[name] in ("SUCCESS", "ERROR")
ends = time.monotonic() + 20
while "good" not in states() or states()["good"] not in ("SUCCESS", "ERROR"):
    assert time.monotonic() < ends, states()
    time.sleep(0.05)
ends -= 0 if shut else 17  # as it comes, the engine leaves some where they are
while any(state in ("ENQUEUED", "PENDING") for state in states().values()) and time.monotonic() < ends:
    time.sleep(0.05)
for one in (client, bare):
    for ask in (lambda: one.list_workflows(), *(
        ask for name in names for ask in (
            lambda name=name: one.list_workflow_steps(name), lambda name=name: one.retrieve_workflow(name).get_status(),
            lambda name=name: over(name) and one.retrieve_workflow(name).get_result(),
            lambda name=name: one.get_event(name, "key", timeout_seconds=0),
        ))):
        try:
            ask()
        except BaseException as error:
            assert not isinstance(error, AssertionError)
print(json.dumps(states()))
import os
sys.stdout.flush()
os._exit(0)
""".replace("VERSION", VERSION).replace("EXECUTOR", EXECUTOR)
PLACES = ("inputs", "output", "error", "step", "step-error", "event")
MARKS = ("py_pickle", None, NAME)


def plant(database: Path, place: str, mark: str | None, text: str) -> str:
    """One workflow with a pickle in one place."""
    name = f"{place}-{mark or 'null'}"
    waits = place in ("inputs", "step", "step-error")
    with sqlite3.connect(database) as connection:

        def insert(table: str, **values: object) -> None:
            marks = ", ".join("?" * len(values))
            connection.execute(f"insert into {table} ({', '.join(values)}) values ({marks})", tuple(values.values()))

        good = '{"args":[],"kwargs":{}}' if mark == NAME else base64.b64encode(pickle.dumps({"args": (), "kwargs": {}}))
        good = good if isinstance(good, str) else good.decode()
        kept = {"inputs": text if place == "inputs" else good}
        state = "ENQUEUED" if waits else "ERROR" if place == "error" else "SUCCESS"
        common = {"workflow_uuid": name, "serialization": mark}
        insert(
            "workflow_status", **common, status=state, name="work", queue_name="work", created_at=1, updated_at=1,
            application_version=VERSION, priority=0, executor_id="x", recovery_attempts=0,
            application_name="radproof",
        )  # fmt: skip
        insert("workflow_input", workflow_uuid=name, **kept)
        if not waits:
            insert(
                "workflow_output", workflow_uuid=name, output=None if place == "error" else text,
                error=text if place == "error" else None,
            )  # fmt: skip
        if place.startswith("step"):
            key = "error" if place == "step-error" else "output"
            insert("operation_outputs", **common, function_id=1, function_name="command", **{key: text})
        if place == "event":
            insert("workflow_events", **common, key="key", value=text)
    return name


def victim(tmp_path: Path, how: str) -> tuple[dict[str, str], list[str]]:
    """States of all workflows, and the places whose pickle was executed."""
    database = tmp_path / "jobs.db"
    waiting = Waiting(f"sqlite:///{database}")
    waiting.close()
    marks = tmp_path / "marks"
    marks.mkdir()
    names = [
        plant(database, place, mark, payload(marks / f"{place}-{mark or 'null'}")) for place in PLACES for mark in MARKS
    ]
    plain = '{"args":[],"kwargs":{}}' if how == "shut" else base64.b64encode(pickle.dumps({"args": (), "kwargs": {}}))
    plant_good(database, plain if isinstance(plain, str) else plain.decode(), NAME if how == "shut" else None)
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, f"sqlite:///{database}", how, *names], capture_output=True, text=True,
        timeout=120, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return __import__("json").loads(done.stdout), sorted(path.name for path in marks.iterdir())


def plant_good(database: Path, inputs: str, mark: str | None) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(
            "insert into workflow_status (workflow_uuid, status, name, queue_name, created_at, updated_at, "
            "application_version, priority, recovery_attempts, application_name, serialization) "
            "values ('good', 'ENQUEUED', 'work', 'work', 9, 9, ?, 1000, 0, 'radproof', ?)",
            (VERSION, mark),
        )
        connection.execute("insert into workflow_input (workflow_uuid, inputs) values ('good', ?)", (inputs,))


@pytest.mark.slow
def test_a_planted_pickle_is_executed_by_the_engine_as_it_comes(tmp_path):
    """Else the next test would prove nothing."""
    _, executed = victim(tmp_path, "as it comes")
    assert {f"{place}-py_pickle" for place in PLACES} | {"inputs-null", "step-null"} <= set(executed)


def test_a_planted_pickle_is_refused_wherever_it_lies_and_the_worker_goes_on(tmp_path):
    states, executed = victim(tmp_path, "shut")
    assert executed == []
    assert states["good"] == "SUCCESS"
    assert {states[f"inputs-{mark or 'null'}"] for mark in MARKS} == {"ERROR"}
    assert {states[f"step-{mark or 'null'}"] for mark in MARKS} == {"ERROR"}
