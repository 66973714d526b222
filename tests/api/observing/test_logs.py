# SPDX-License-Identifier: Apache-2.0
"""Nothing that came from outside is written to the log: no name, file, header, query, key or message."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from radproof.api.observing import logs
from radproof.store.ids import new_id

PATIENT = "DOE^JANE"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The log of this process, and everything as it was afterwards."""
    root, hook, raising = logging.getLogger(), threading.excepthook, logging.raiseExceptions
    before, level = list(root.handlers), root.level
    out = io.StringIO()
    logs.configure(out, routes={"/api/v1/models/{model_id}"})
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    threading.excepthook, logging.raiseExceptions = hook, raising
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_listed_keys_of_their_kind_pass(written: io.StringIO) -> None:
    user = new_id("usr")
    logs.logger().info(
        "request", request="0123456789abcdef", method="GET", route="/api/v1/models/{model_id}", status=200,
        seconds=0.01, user=user,
    )  # fmt: skip
    found = lines(written)[0]
    assert found["time"]
    del found["time"]
    assert found == {
        "event": "request", "level": "info", "request": "0123456789abcdef", "method": "GET",
        "route": "/api/v1/models/{model_id}", "status": 200, "seconds": 0.01, "user": user,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("filename", PATIENT), ("event", PATIENT), ("route", f"/models/{PATIENT}"), ("user", PATIENT),
        ("project", PATIENT), ("action", PATIENT), ("error", PATIENT), ("place", PATIENT), ("method", PATIENT),
        ("status", PATIENT), ("seconds", PATIENT), ("request", PATIENT), ("state", PATIENT), ("library", PATIENT),
        ("action", [PATIENT]), ("status", {"a": PATIENT}), ("level", PATIENT), ("time", PATIENT), ("exc_info", PATIENT),
    ],
)  # fmt: skip
def test_any_other_key_or_kind_of_value_is_dropped(key: str, value: object) -> None:
    kept = logs.Deny(["/"])(None, "info", {"event": "request", key: value})
    assert PATIENT not in json.dumps(kept)


def test_privacy_phi_in_exception_messages_and_tracebacks_is_not_written(written: io.StringIO) -> None:
    def read(name: str) -> None:
        raise ValueError(f"cannot read {name}")

    try:
        read(PATIENT)
    except ValueError:
        logs.logger().error("request.failed", exc_info=True)
    found = lines(written)[0]
    assert found["error"] == "ValueError"
    assert "test_logs.py:" in str(found["place"])
    assert PATIENT not in written.getvalue()


@pytest.mark.parametrize("name", ["uvicorn.error", "dbos", "sqlalchemy.engine", "py.warnings", "anything.else"])
def test_privacy_phi_in_messages_of_libraries_is_not_written(written: io.StringIO, name: str) -> None:
    try:
        raise RuntimeError(PATIENT)
    except RuntimeError:
        logging.getLogger(name).exception("failed on %s: " + PATIENT, PATIENT, extra={"patient": PATIENT})
    found = lines(written)[0]
    assert found["event"] == "library" and found["error"] == "RuntimeError" and "test_logs.py:" in str(found["place"])
    assert PATIENT not in written.getvalue()


def test_privacy_phi_of_a_dicom_data_set_is_not_written(written: io.StringIO) -> None:
    from pydicom.dataset import Dataset

    found = Dataset()
    found.PatientName = PATIENT
    logging.getLogger("pydicom").error("%r", found)
    logs.logger().error("request.failed", action=found, error=repr(found))
    assert len(lines(written)) == 2 and "JANE" not in written.getvalue()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_leaves_one_line(written: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError(PATIENT)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert lines(written)[0]["event"] == "thread.failed" and PATIENT not in written.getvalue()


def test_a_terminal_gets_lines_for_people_and_no_more_of_them(written: io.StringIO) -> None:
    logs.configure(written, terminal=True)
    try:
        raise ValueError(PATIENT)
    except ValueError:
        logs.logger().error("request.failed", filename=PATIENT, exc_info=True)
    assert "request.failed" in written.getvalue() and PATIENT not in written.getvalue()


def test_our_own_messages_are_written_where_they_stand_in_the_code(written: io.StringIO) -> None:
    log, job = logging.getLogger("radproof.jobs.worker"), new_id("job")
    log.info("%s ended: %s, attempt %d, %s (%s)", job, "done", 2, PATIENT, "OperationalError")
    assert lines(written)[0]["says"] == f"{job} ended: done, attempt 2, … (OperationalError)"


def test_privacy_phi_put_into_our_own_messages_is_not_written(written: io.StringIO) -> None:
    log = logging.getLogger("radproof.jobs.worker")
    log.warning(f"cannot read {PATIENT}")
    log.warning("cannot read " + PATIENT)
    log.warning("cannot read %s", PATIENT)
    logs.logger().info("request", says=PATIENT)
    assert PATIENT not in written.getvalue() and len(lines(written)) == 4
    assert "says" not in lines(written)[0] and lines(written)[2]["says"] == "cannot read …"
