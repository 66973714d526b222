# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus. Labels are route templates and words of this program: no name of a person or thing."""

from collections.abc import Iterator
from datetime import datetime
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from radproof.api.http.wanted import SCREENING
from radproof.jobs.kinds import NAMES
from radproof.store.database import Database
from radproof.store.tables import Job, JobState, Worker, now

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
UNKNOWN = "none"  # the route of a request that no template fits
STATES = get_args(JobState)


class Metrics:
    """The figures of one server, in a registry of their own."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("radproof_requests", "Requests.", ("method", "route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "radproof_request_seconds",
            "From the request's head to the answer's first byte.",
            ("method", "route"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.screening = Histogram(
            "radproof_screening_seconds",
            "Of images that were screened, with the time they waited.",
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.screening_now = Gauge(
            "radproof_screening_requests", "Images that are screened or wait for it.", registry=self.registry
        )
        self.received = Counter("radproof_received_bytes", "Bodies of requests.", ("route",), registry=self.registry)
        self.registry.register(_Kept(database))

    def answered(self, method: str, route: str, status: int, seconds: float, received: int) -> None:
        """One request came to its end. `route` is a template."""
        told = route or UNKNOWN
        self.requests.labels(method, told, f"{status // 100}xx").inc()
        self.seconds.labels(method, told).observe(seconds)
        if received:
            self.received.labels(told).inc(received)
        if told in SCREENING and method == "POST" and status < 400:
            self.screening.observe(seconds)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)


class _Kept(Collector):
    """What the database knows, asked when somebody looks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is asked of the database to register."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs, the oldest one that waits, and the workers' last sign."""
        with self._database.reading() as session:
            counted = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)).all()
            oldest = session.execute(select(func.min(Job.created)).where(Job.state == "queued")).scalar()
            signs = list(session.execute(select(Worker.seen)).scalars())
        jobs = GaugeMetricFamily("radproof_jobs", "Jobs by kind and state.", labels=("kind", "state"))
        for kind, state, number in counted:
            if kind in NAMES and state in STATES:
                jobs.add_metric((kind, state), number)
        yield jobs
        yield GaugeMetricFamily("radproof_queue_age_seconds", "How long the oldest job waits.", _since(oldest))
        newest = max(signs, default=None)
        yield GaugeMetricFamily(
            "radproof_worker_sign_seconds",
            "Since a worker's last sign of life; -1: there was none.",
            -1.0 if newest is None else _since(newest),
        )


def _since(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (now() - moment).total_seconds())
