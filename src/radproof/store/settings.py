# SPDX-License-Identifier: Apache-2.0
"""How a server is set up: from the environment (RADPROOF_HOME=…), a TOML file, and sensible defaults."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from radproof.core.hosts import loopback
from radproof.errors import BadInput
from radproof.store.tables import Role

MEGABYTE = 10**6


class Settings(BaseSettings):
    """Everything that an operator may set. Sizes are megabytes, times seconds."""

    model_config = SettingsConfigDict(env_prefix="RADPROOF_", frozen=True, extra="forbid")

    home: Path = Path("radproof-home")  # models, data sets and runs; workers on other machines mount the same folder
    database: str = ""  # an SQLAlchemy URL; "" is SQLite in `home`
    store: str = ""  # an fsspec URL for uploaded files; "" is a folder in `home`
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str = ""  # how browsers reach the server: "https://radproof.hospital.example"
    allowed_hosts: tuple[str, ...] = ()  # besides those of public_url and the loopback
    auth: bool = True  # False: everybody on this machine is the administrator; refused beyond loopback
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed

    session_hours: float = Field(12, gt=0)
    upload_megabytes: int = Field(4096, gt=0)  # of one file
    image_megabytes: int = Field(64, gt=0)  # of one image to screen
    quota_megabytes: int = Field(100_000, gt=0)  # of one project
    keep_failed_days: float = Field(7, ge=0, le=36_500)  # uploads of images whose import failed; 0: not at all
    quota_runs: int = Field(100, gt=0)  # unfinished ones of one project
    reads_per_minute: int = Field(3000, gt=0)  # of one user or key
    writes_per_minute: int = Field(120, gt=0)
    screens_per_minute: int = Field(600, gt=0)
    sign_ins_per_minute: int = Field(10, gt=0)  # of one address; with one name from everywhere, 20 times as many

    worker: bool = True  # run a worker beside the server
    worker_name: str = "local"  # one name per worker, the same after a restart
    screening_models: int = Field(2, gt=0)  # kept open at a time
    screening_queue: int = Field(16, gt=0)  # images that may wait before one is told to come back
    threads: int = Field(1, gt=0)  # of the screening process

    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_roles: Mapping[str, Role] = Field(default_factory=dict[str, Role])  # group of the identity provider -> role
    oidc_groups_claim: str = "groups"

    @cached_property
    def database_url(self) -> str:
        """Of the laboratory's own tables."""
        return self.database or f"sqlite:///{self.home.resolve() / 'radproof.db'}"

    @cached_property
    def jobs_url(self) -> str:
        """Of the engine's tables: the same PostgreSQL database, or a second SQLite file."""
        return self.database or f"sqlite:///{self.home.resolve() / 'jobs.db'}"

    @property
    def loopback(self) -> bool:
        """Whether nobody beyond this machine can connect."""
        return loopback(self.host)

    @property
    def secure(self) -> bool:
        """Whether browsers come by TLS, so that cookies may be kept to it."""
        return self.public_url.startswith("https://")

    def folder(self, kind: str, name: str = "") -> Path:
        """`home`/kind or `home`/kind/name; `name` is one of ids.new_id."""
        return self.home.resolve() / kind / name if name else self.home.resolve() / kind

    def secret(self) -> bytes:
        """32 random bytes, made on the first start and readable by the server's user alone."""
        path = self.home / "secret"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        self.home.mkdir(parents=True, exist_ok=True)
        temporary = self.home / f".secret.{secrets.token_hex(4)}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was quicker
            path.hardlink_to(temporary)
        temporary.unlink()
        return path.read_bytes()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is said on the command line goes before the environment, and that before a file."""
        file = _FILE.get("path")
        toml = (TomlConfigSettingsSource(settings_cls, file),) if file else ()
        return (init_settings, env_settings, *toml)


_FILE: dict[str, Path] = {}


def read_settings(file: Path | None = None, **told: Any) -> Settings:
    """Settings from what is told, the environment and a TOML file, in this order.

    Raises BadInput naming the setting that is wrong, and for a server without sign-in that others could reach.
    """
    if file is not None and not file.is_file():
        raise BadInput(f'no settings file {file}; expected a TOML file with keys such as home = "/srv/radproof"')
    _FILE.clear()
    if file is not None:
        _FILE["path"] = file
    try:
        found = Settings(**{key: value for key, value in told.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise BadInput(f"cannot read {file}: {error}") from None
    finally:
        _FILE.clear()
    if found.oidc_issuer and not by_tls(found.oidc_issuer):
        raise BadInput("setting oidc_issuer: expected an https:// address")
    if not found.auth:
        _check_alone(found)
    return found


def _check_alone(found: Settings) -> None:
    """Raises BadInput where others than the people at this machine could reach a server without sign-in."""
    if not found.loopback:
        raise BadInput(
            f"refusing to listen on {found.host} without sign-in: whoever reaches the port would be the administrator; "
            "leave auth on, or listen on 127.0.0.1"
        )
    public = not loopback(urlsplit(found.public_url).hostname or "") if found.public_url else False
    told = {"public_url": public, "allowed_hosts": found.allowed_hosts, "trusted_proxies": found.trusted_proxies}
    for name, beyond in told.items():
        if beyond:
            raise BadInput(
                f"setting {name}: it lets others than this machine in, and without sign-in they would be the "
                f"administrator; leave auth on, or {name} out"
            )


def by_tls(address: str) -> bool:
    """Whether nobody on the way reads what is said there: https, or this machine itself."""
    told = urlsplit(address)
    return told.scheme == "https" or (told.scheme == "http" and loopback(told.hostname or ""))
