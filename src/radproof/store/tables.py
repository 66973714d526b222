# SPDX-License-Identifier: Apache-2.0
"""The tables. Whatever belongs to a project says so in `project_id`, and is found by its members alone."""

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, Integer, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Role = Literal["viewer", "clinician", "developer", "admin"]
JobState = Literal["queued", "running", "pausing", "paused", "cancelling", "cancelled", "done", "failed"]
UNFINISHED = ("queued", "running", "pausing", "paused", "cancelling")


def now() -> datetime:
    """The time of the server, in UTC."""
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A time in UTC, with its zone: SQLite keeps none, PostgreSQL answers in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """With its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, list[Any]: JSON, str: String(255)}  # noqa: RUF012


class User(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)  # what they sign in with, in lower case
    password: Mapped[str | None] = mapped_column(default=None)  # argon2id; None: by OIDC alone
    role: Mapped[str] = mapped_column(default="viewer")  # Role
    subject: Mapped[str | None] = mapped_column(unique=True, default=None)  # "issuer subject" of OIDC
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(default=now)


class Project(Base):
    """A team's shelf; other projects cannot see it."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created: Mapped[datetime] = mapped_column(default=now)


class Membership(Base):
    """Who belongs to which project."""

    __tablename__ = "memberships"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)


class Session(Base):
    """A browser that signed in; its secret is kept as a hash."""

    __tablename__ = "sessions"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id", ondelete="SET NULL"), default=None)
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime]


class ApiKey(Base):
    """A program's way in; its secret is kept as a hash."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime | None] = mapped_column(default=None)
    used: Mapped[datetime | None] = mapped_column(default=None)
    revoked: Mapped[bool] = mapped_column(default=False)


class Invitation(Base):
    """A link that works once: the first administrator's, a new user's, or for a new password."""

    __tablename__ = "invitations"
    id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(default="viewer")
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), default=None)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), default=None)
    created_by: Mapped[str | None] = mapped_column(  # None: at the server's own machine
        ForeignKey("users.id", ondelete="CASCADE"), index=True, default=None
    )
    created: Mapped[datetime] = mapped_column(default=now)
    expires: Mapped[datetime]
    used: Mapped[datetime | None] = mapped_column(default=None)


class Owned:
    """Columns of what belongs to a project."""

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime] = mapped_column(default=now, index=True)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), default=None)


class File(Owned, Base):
    """An uploaded file, by its hash; what it was called elsewhere is not kept."""

    __tablename__ = "files"
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    suffix: Mapped[str] = mapped_column(String(16), default="")  # ".zip": from a fixed list


class Job(Owned, Base):
    """Work that is done by a worker: one durable workflow."""

    __tablename__ = "jobs"
    kind: Mapped[str]  # one of jobs.kinds.NAMES
    subject_id: Mapped[str] = mapped_column(index=True)  # the run, model, data set or guard that it makes
    state: Mapped[str] = mapped_column(default="queued", index=True)  # JobState
    priority: Mapped[int] = mapped_column(default=100)  # smaller ones go first
    attempt: Mapped[int] = mapped_column(default=1)  # one more with each retry and each resume
    worker: Mapped[str] = mapped_column(default="")  # who holds it
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)  # stage, done, total, share, left (s), note
    error: Mapped[str] = mapped_column(Text, default="")  # one sentence for the user
    code: Mapped[int | None] = mapped_column(default=None)  # the command's exit code
    started: Mapped[datetime | None] = mapped_column(default=None)
    finished: Mapped[datetime | None] = mapped_column(default=None)
    changed: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Model(Owned, Base):
    """A network: home/models/ID is radproof's own folder or a stranger's file with its card."""

    __tablename__ = "models"
    name: Mapped[str]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id", ondelete="SET NULL"), default=None)
    path: Mapped[str] = mapped_column(default="")  # within home, as `--model` takes it: "models/mdl_…/model.onnx"
    state: Mapped[str] = mapped_column(default="importing")  # importing, unchecked, ready, failed
    error: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)  # the card, fingerprint, checks, seconds per gradient
    told: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what the uploader said: architecture, labels, …
    fingerprint: Mapped[str] = mapped_column(String(64), default="")


class DataSet(Owned, Base):
    """Images with labels: home/data/ID is a manifest with its images."""

    __tablename__ = "data_sets"
    name: Mapped[str]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id", ondelete="SET NULL"), default=None)
    path: Mapped[str] = mapped_column(default="")  # within home
    state: Mapped[str] = mapped_column(default="importing")
    error: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)  # labels, counts per fold, grids, audit
    told: Mapped[dict[str, Any]] = mapped_column(default=dict)


class SavedPlan(Owned, Base):
    """A plan that may be run again; `model` and `data` in it are names of this database, never paths."""

    __tablename__ = "plans"
    name: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(default=dict)
    digest: Mapped[str] = mapped_column(String(64))


class Run(Owned, Base):
    """An assessment: home/runs/ID is its folder."""

    __tablename__ = "runs"
    name: Mapped[str]
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), index=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    data_id: Mapped[str | None] = mapped_column(ForeignKey("data_sets.id"), index=True, default=None)  # None: phantoms
    state: Mapped[str] = mapped_column(default="queued", index=True)  # that of its job
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict)  # verdict, score vector, accuracy, doubts, gates
    finished: Mapped[datetime | None] = mapped_column(default=None)


class GuardFile(Owned, Base):
    """What watches a model in use: home/guards/ID.safetensors, of `radproof guard`."""

    __tablename__ = "guards"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    data_id: Mapped[str | None] = mapped_column(ForeignKey("data_sets.id", ondelete="SET NULL"), default=None)
    state: Mapped[str] = mapped_column(default="teaching")  # teaching, ready, failed
    error: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)  # its card
    told: Mapped[dict[str, Any]] = mapped_column(default=dict)  # detector, rate, other_data


class ReaderTest(Owned, Base):
    """A blinded two-alternative forced choice between originals and adversarial images of a run."""

    __tablename__ = "reader_tests"
    name: Mapped[str]
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    choice: Mapped[dict[str, Any]] = mapped_column(default=dict)  # attack, budget, trials, fooling, catch
    trials: Mapped[list[Any]] = mapped_column(default=list)  # {image, sample, catch}; sides are drawn per reader
    seed: Mapped[int] = mapped_column(BigInteger)


class ReaderAnswer(Base):
    """One reader's answer to one trial."""

    __tablename__ = "reader_answers"
    test_id: Mapped[str] = mapped_column(ForeignKey("reader_tests.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    answer: Mapped[str] = mapped_column(String(8))  # "left" or "right": which one was taken for the altered one
    correct: Mapped[bool]
    seconds: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)


class Idempotency(Base):
    """Answers to requests that carried an Idempotency-Key, given again when they come again."""

    __tablename__ = "idempotency"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of user, method, path and the key
    request: Mapped[str] = mapped_column(String(64))  # sha256 of what was asked
    status: Mapped[int | None] = mapped_column(default=None)  # None: still at work
    body: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(default=now, index=True)


class Worker(Base):
    """A worker's sign of life: what it holds is taken over by others once it is silent."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(primary_key=True)
    started: Mapped[datetime] = mapped_column(default=now)
    seen: Mapped[datetime] = mapped_column(default=now)


class Event(Base):
    """The audit trail: who did what to what. Rows are neither changed nor removed; each holds the last one's hash."""

    __tablename__ = "events"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str]  # a user's or worker's name of the database; "" is a stranger
    action: Mapped[str]  # "model.upload", "session.refused", …
    object: Mapped[str] = mapped_column(default="")  # a name of ids
    project_id: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)  # never a patient's, file's or image's name
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


Index("ix_jobs_waiting", Job.state, Job.priority, Job.created)
Index("ix_events_object", Event.object, Event.number)
