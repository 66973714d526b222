# SPDX-License-Identifier: Apache-2.0
"""What the image and the compose file say is true of the command line and of the settings. Nothing is built here."""

import re
import shlex
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from sqlalchemy import make_url
from typer.main import get_command

from radproof.cli import app
from radproof.store.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
GPU: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yaml").read_text(encoding="utf-8"))
OURS = ("server", "worker-1", "worker-2")


def check_command(words: list[str]) -> None:
    """A command line that radproof takes."""
    assert words[0] == "radproof"
    root = get_command(app)
    assert isinstance(root, click.Group) or hasattr(root, "commands")
    command = root.commands[words[1]]  # pyright: ignore
    known = {name for one in command.params for name in one.opts}
    assert {word.split("=")[0] for word in words[2:] if word.startswith("-")} <= known


def default(text: str) -> str:
    """With variables that are not set."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


def test_the_image_starts_a_command_that_there_is() -> None:
    found = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.M)
    assert len(found) == 1
    check_command(yaml.safe_load(found[0]))


@pytest.mark.parametrize("name", OURS)
def test_services_start_commands_that_there_are(name: str) -> None:
    check_command(COMPOSE["services"][name]["command"])


@pytest.mark.parametrize("name", OURS)
def test_settings_of_services_are_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = COMPOSE["services"][name]["environment"]
    assert {key.removeprefix("RADPROOF_").lower() for key in told if key.startswith("RADPROOF_")} <= set(
        Settings.model_fields
    )
    for key, value in told.items():
        if value is not None:  # else it is taken from where compose runs
            monkeypatch.setenv(key, default(str(value)))
    for key, value in re.findall(r"(RADPROOF_\w+)=(\S+)", DOCKERFILE):
        monkeypatch.setenv(key, value)
    found = read_settings()
    assert found.auth and found.host == "0.0.0.0" and found.allowed_hosts == ("server",)
    assert make_url(found.database).host == "postgres" and make_url(found.database).password is None


def test_the_image_runs_as_nobody_in_particular_and_asks_for_its_health() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, flags=re.M)
    assert "/healthz" in DOCKERFILE and "VOLUME /srv/radproof" in DOCKERFILE
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "pip install" not in last  # nothing is fetched into the image that runs but the system's own packages


def test_the_image_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    found = re.search(r'"\.\[([a-z,]+)\]"', DOCKERFILE)
    assert (
        found
        and set(found[1].split(",")) <= set(extras)
        and {"service", "client", "oidc", "pdf"} <= set(found[1].split(","))
    )


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.M):
        for name in shlex.split(line)[:-1]:
            assert name.removeprefix("./") in kept and (ROOT / name).exists()


def test_no_secret_and_no_address_of_a_registry_stands_in_them() -> None:
    for text in (DOCKERFILE, (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")):
        assert not re.search(r"https?://(?!127\.0\.0\.1|radproof\.example)", text)
    assert "POSTGRES_PASSWORD" not in COMPOSE["services"]["postgres"]["environment"]
    assert COMPOSE["secrets"]["postgres_password"] == {"file": "./secrets/postgres_password"}


@pytest.mark.parametrize("name", [*OURS, "postgres"])
def test_services_can_do_little(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["mem_limit"]
    assert "no-new-privileges:true" in service["security_opt"]
    if name in OURS:
        assert service["user"] == "10001:10001"


def test_only_the_server_is_reached_and_from_this_machine_alone() -> None:
    ports = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert ports.pop("server") == ["127.0.0.1:8000:8000"] and not any(ports.values())
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_the_server_believes_what_passes_its_published_port_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    told = COMPOSE["services"]["server"]["environment"]
    (network,) = COMPOSE["networks"]["outside"]["ipam"]["config"]
    monkeypatch.setenv("RADPROOF_TRUSTED_PROXIES", default(told["RADPROOF_TRUSTED_PROXIES"]))
    (trusted,) = read_settings().trusted_proxies
    assert trusted == default(network["gateway"])
    assert ip_address(trusted) in ip_network(default(network["subnet"])).hosts()
    others = [name for name, one in COMPOSE["services"].items() if "outside" in one["networks"]]
    assert others == ["server"]
    assert all("RADPROOF_TRUSTED_PROXIES" not in COMPOSE["services"][name]["environment"] for name in OURS[1:])


def test_the_identity_provider_is_the_server_s_alone() -> None:
    wanted = {f"RADPROOF_{name.upper()}" for name in Settings.model_fields if name.startswith("oidc_")}
    told = {name: set(COMPOSE["services"][name]["environment"]) & wanted for name in OURS}
    assert told == {"server": wanted, "worker-1": set(), "worker-2": set()}
    assert all(COMPOSE["services"]["server"]["environment"][name] is None for name in wanted)  # no secret in the file


def test_workers_have_names_of_their_own() -> None:
    names = [COMPOSE["services"][name]["environment"]["RADPROOF_WORKER_NAME"] for name in OURS[1:]]
    assert names == ["worker-1", "worker-2"]


def test_the_gpu_is_every_worker_s_and_nobody_else_s() -> None:
    assert set(GPU["services"]) == {
        name for name, one in COMPOSE["services"].items() if "worker" in one.get("command", [])
    }
    for one in GPU["services"].values():
        (device,) = one["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"] and [default(name) for name in device["device_ids"]] == ["0"]


@pytest.mark.parametrize("name", [*OURS, "postgres"])
def test_logs_do_not_fill_the_disk(name: str) -> None:
    assert set(COMPOSE["services"][name]["logging"]["options"]) == {"max-size", "max-file"}


def test_what_the_image_is_built_with_can_be_given_to_compose() -> None:
    told = set(COMPOSE["services"]["server"]["build"]["args"])
    assert {"TORCH", "TORCH_INDEX"} == told <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, flags=re.M))


UNITS = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "howto" / "serve.md").read_text(encoding="utf-8"), flags=re.S)


def test_the_unit_starts_commands_and_options_that_there_are() -> None:
    lines = [line for unit in UNITS for line in re.findall(r"^ExecStart=\S*/(radproof .*)$", unit, flags=re.M)]
    assert len(lines) == 2
    for line in lines:
        check_command(shlex.split(line))


@pytest.mark.parametrize(
    "kept_from", ["RestrictNamespaces", "MemoryDenyWriteExecute", "ProtectProc", "ProtectKernelTunables"]
)
def test_the_unit_leaves_the_guard_what_it_needs(kept_from: str) -> None:
    assert UNITS and all(f"{kept_from}=" not in unit for unit in UNITS)


def told_default(name: str) -> str:
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    text = getattr(default, "get_secret_value", lambda: default)()
    if text == "":
        return "empty"
    if isinstance(text, bool):
        return str(text).lower()
    return {(): "[]"}.get(text, str(text)) if isinstance(text, tuple) else str(text)


def test_every_setting_and_its_default_are_documented() -> None:
    page = (ROOT / "docs" / "howto" / "serve.md").read_text(encoding="utf-8")
    table = page[page.index("## Settings") : page.index("## PostgreSQL")]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line[:3] == "| `"
    ]
    assert {row[0]: row[1] for row in rows} == {name: told_default(name) for name in Settings.model_fields}
