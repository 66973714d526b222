# SPDX-License-Identifier: Apache-2.0
"""The load test: `python -m bench.load`. People and programs at a server of this machine, counted and timed.

Each client has an API key of its own, waits a little between requests as a person at a page or a program in a queue
does (half a second on average, drawn from an exponential distribution), and reads (90 %), screens an image (8 %) or
sends a zip of two images (2 %). Reads go over the pages and the API in turn, with their scripts and styles.
"""

import argparse
import io
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

READS, SCREENS = 0.90, 0.08  # the rest are uploads
THINK = 0.5  # seconds between two requests of a client, on average
MOST_CLIENTS, MOST_SECONDS = 200, 600


@dataclass
class Counts:
    """What was answered, by kind of request."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, status: str, seconds: float) -> None:
        with self.lock:
            self.statuses[kind][status] += 1
            if status == "200" or status.startswith("2") or status == "304":
                self.seconds[kind].append(seconds)

    def told(self) -> dict[str, Any]:
        return {
            kind: {
                "statuses": dict(sorted(self.statuses[kind].items())),
                **{f"p{q}": percentile(self.seconds[kind], q) for q in (50, 95, 99)},
                "mean": round(statistics.fmean(self.seconds[kind]), 4) if self.seconds[kind] else None,
            }
            for kind in sorted(self.statuses)
        }


def percentile(values: list[float], q: int) -> float | None:
    """In seconds; the smallest value that q % do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * q // 100) - 1))], 4)


@dataclass(frozen=True)
class Place:
    """A server, and what there is to ask."""

    url: str
    keys: tuple[str, ...]
    model: str
    run: str
    reads: tuple[str, ...]
    image: bytes
    archive: bytes


@contextmanager
def server(example: Path, threads: int, *more: str) -> Iterator[tuple[str, Path]]:
    """One of its own, with a home that is removed; its address and home."""
    with tempfile.TemporaryDirectory(prefix="radproof-load-") as folder:
        home = Path(folder) / "home"
        port = free_port()
        command = [sys.executable, "-m", "radproof", "serve", "--home", str(home), "--port", str(port)]
        environment = {**os.environ, "RADPROOF_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--example", str(example), *more], env=environment, stderr=log, stdout=log
            )
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for(f"{url}/readyz", process, Path(folder) / "log")
                yield url, home
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit("the server is not ready after two minutes")


def prepare(url: str, home: Path, clients: int, example: Path) -> Place:
    """People with keys in the example's project, by the store itself; then what they will ask for."""
    from sqlalchemy import select

    from radproof.store.database import Database
    from radproof.store.keys import make_key
    from radproof.store.people import add_member, add_user
    from radproof.store.settings import read_settings
    from radproof.store.tables import Model, Project, Run

    database = Database(read_settings(home=home).database_url)
    keys: list[str] = []
    with database.writing() as session:
        project = session.execute(select(Project).where(Project.name == "Example")).scalar_one()
        model = session.execute(select(Model).where(Model.project_id == project.id)).scalars().first()
        run = session.execute(select(Run).where(Run.project_id == project.id)).scalars().first()
        assert model is not None
        assert run is not None
        for number in range(clients):
            user = add_user(session, f"load-{number}", "developer")
            add_member(session, user, project)
            keys.append(make_key(session, user.id, "load", 1)[1])
        names = model.id, run.id, run.data_id
    database.close()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {keys[0]}"}, timeout=60) as client:
        reads = tuple(addresses(client, *names))
    picture = next(iter(sorted((example / "data").glob("*/images/*.png")))).read_bytes()
    return Place(url, tuple(keys), names[0], names[1], reads, picture, zipped(picture))


def addresses(client: httpx.Client, model: str, run: str, data: str | None) -> Iterator[str]:
    """What browsers and programs read: pages with their scripts and styles, lists, results, images."""
    pages = ["/", "/models", f"/models/{model}", "/data", f"/data/{data}", "/runs", f"/runs/{run}",
             f"/runs/{run}/images", "/screen", "/assess", "/readers", "/account"]  # fmt: skip
    statics: set[str] = set()
    for page in pages:
        answer = client.get(page)
        if answer.status_code == 200:
            yield page
            statics |= set(re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text))
    yield from sorted(statics)
    api = ["account", "models", f"models/{model}", "data", "runs", f"runs/{run}", f"runs/{run}/result", "plans",
           "status", "parts", f"runs/{run}/images?limit=50"]  # fmt: skip
    for path in api:
        if client.get(f"/api/v1/{path}").status_code == 200:
            yield f"/api/v1/{path}"
    items = client.get(f"/api/v1/runs/{run}/images", params={"limit": 20}).json().get("items", [])
    for item in items:
        if "attacked" in item["kinds"]:
            yield f"/api/v1/runs/{run}/images/{item['id']}/attacked.png"


def zipped(picture: bytes) -> bytes:
    """Two images in two classes; each upload is another one by a comment of its own."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for name in ("Normal/a.png", "Pneumonia/b.png"):
            archive.writestr(zipfile.ZipInfo(name), picture)
    return kept.getvalue()


def client_of(place: Place, number: int, until: float, counts: Counts) -> None:
    """One client until the time is over."""
    draws = random.Random(number)
    headers = {"Authorization": f"Bearer {place.keys[number]}"}
    time.sleep(draws.random() * THINK)
    with httpx.Client(base_url=place.url, headers=headers, timeout=60) as client:
        while time.monotonic() < until:
            chance = draws.random()
            kind = "read" if chance < READS else "screen" if chance < READS + SCREENS else "upload"
            began = time.perf_counter()
            try:
                status = str(ask(client, place, kind, draws).status_code)
            except httpx.HTTPError as error:
                status = type(error).__name__
            counts.add(kind, status, time.perf_counter() - began)
            time.sleep(min(5.0, draws.expovariate(1 / THINK)))


def ask(client: httpx.Client, place: Place, kind: str, draws: random.Random) -> httpx.Response:
    if kind == "read":
        return client.get(draws.choice(place.reads))
    if kind == "screen":
        image = {"image": ("image.png", place.image, "image/png")}
        return client.post("/api/v1/screening", data={"model": place.model}, files=image)
    archive = io.BytesIO(place.archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = str(draws.random()).encode()
    return client.post("/api/v1/data", data={"name": "load"}, files={"file": ("data.zip", archive.getvalue())})


def alone(place: Place, images: int) -> float:
    """Images per second that one client screens, one after the other: the network's own rate, with HTTP around it."""
    with httpx.Client(base_url=place.url, headers={"Authorization": f"Bearer {place.keys[0]}"}, timeout=120) as client:
        ask(client, place, "screen", random.Random(0))  # opens the model
        began = time.perf_counter()
        done = 0
        for _ in range(images):
            done += ask(client, place, "screen", random.Random(0)).status_code == 200
        return done / (time.perf_counter() - began)


def load(place: Place, seconds: float) -> dict[str, Any]:
    """All clients at once, for so long."""
    counts = Counts()
    rate = alone(place, 20)
    began = time.monotonic()
    threads = [
        threading.Thread(target=client_of, args=(place, number, began + seconds, counts), daemon=True)
        for number in range(len(place.keys))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 90)
    took = time.monotonic() - began
    told = counts.told()
    screened = sum(number for status, number in counts.statuses["screen"].items() if status == "200")
    broken = sum(
        number for kind in counts.statuses.values() for status, number in kind.items()
        if status.startswith("5") or not status.isdigit()
    )  # fmt: skip
    return {
        "clients": len(place.keys),
        "seconds": round(took, 1),
        "think": THINK,
        "reads_from": len(place.reads),
        "requests": sum(sum(kind.values()) for kind in counts.statuses.values()),
        "broken": broken,
        "screened_per_second": round(screened / took, 2),
        "screened_alone_per_second": round(rate, 2),
        "kinds": told,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--example", type=Path, default=Path("runs/serve"), help="a finished run, as `make serve` makes it"
    )
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, default=1, help="of the screening process")
    parser.add_argument("--out", type=Path, default=None, help="write the figures here (JSON)")
    told = parser.parse_args()
    if not 1 <= told.clients <= MOST_CLIENTS or not 0 < told.seconds <= MOST_SECONDS:
        parser.error(f"at most {MOST_CLIENTS} clients and {MOST_SECONDS} seconds")
    with server(told.example, told.threads) as (url, home):
        found = load(prepare(url, home, told.clients, told.example), told.seconds)
    text = json.dumps({"cpus": os.cpu_count(), **found}, indent=1)
    print(text)
    if told.out:
        told.out.parent.mkdir(parents=True, exist_ok=True)
        told.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
