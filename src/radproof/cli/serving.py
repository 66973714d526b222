# SPDX-License-Identifier: Apache-2.0
"""The commands of a server: serve starts one, admin looks after its people and its backup."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radproof.cli.console import print_json, print_lines, print_table
from radproof.errors import BadInput, GateFailed

if TYPE_CHECKING:
    from radproof.api.service import Service
    from radproof.store.backup import Copied
    from radproof.store.settings import Settings

Home = Annotated[Path | None, typer.Option(help="Folder of the server's models, data and runs; radproof-home.")]
Config = Annotated[Path | None, typer.Option(help="A settings file (TOML); docs/howto/serve.md has all settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]

admin = typer.Typer(no_args_is_help=True, help="Look after a server: its people, its audit trail, its backup.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve", epilog="How to run a server is told in docs/howto/serve.md.")(serve)
    app.add_typer(admin, name="admin")


def serve(
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8000. 0 takes a free one.")] = None,
    config: Config = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Jobs are done by `radproof worker` elsewhere.")
    ] = False,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Everybody on this machine is the administrator; refused beyond it.")
    ] = False,
    example: Annotated[Path | None, typer.Option(help="A finished run's folder, to show in a project Example.")] = None,
) -> None:
    """Start the laboratory as a service: web pages, the API, and a worker beside it.

    The first start prints a link by which the first administrator signs up. Ctrl-C ends it; jobs go on at the next
    start where they were.
    """
    _require_service()
    from radproof.api.serving.server import serve as run

    settings = _settings(home, config, host=host, port=port, worker=False if no_worker else None,
                         auth=False if no_auth else None)  # fmt: skip
    run(settings, example=example, say=lambda text: typer.echo(text, err=True))


@admin.command("link")
def link(
    name: Annotated[str | None, typer.Argument(help="Whose new password; left out, the first administrator.")] = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a link that works once: for the first administrator, or for somebody's new password."""
    from radproof.store.people import first_admin_link, server_address

    with _opened(home, config) as (service, settings):
        made = first_admin_link(service) if name is None else _new_password(service, server_address(settings), name)
    if made is None:
        raise BadInput("there is an administrator already; name the person who needs a new password")
    print_lines([made])


@admin.command("users")
def users(home: Home = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the people of a server."""
    from sqlalchemy import select

    from radproof.store.tables import Membership, Project, User

    with _opened(home, config) as (service, _), service.database.reading() as session:
        people = list(session.execute(select(User).order_by(User.name)).scalars())
        pairs = session.execute(
            select(Membership.user_id, Project.name).join(Project, Project.id == Membership.project_id)
        ).all()
    rows = [
        {
            "name": one.name,
            "role": one.role,
            "state": "disabled" if one.disabled else "active",
            "projects": ", ".join(sorted(project for user, project in pairs if user == one.id)),
            "since": one.created.date().isoformat(),
        }
        for one in people
    ]
    print_json(rows) if as_json else print_table("People", rows)


@admin.command("trail")
def trail(home: Home = None, config: Config = None) -> None:
    """Check that no event of the audit trail is missing or altered; exit code 1 where one is."""
    with _opened(home, config) as (service, _):
        number = service.trail.broken()
    if number is not None:
        raise GateFailed(f"the audit trail is broken at event {number}: it was altered, or one before it is missing")
    print_lines(["The audit trail is whole."])


@admin.command("backup")
def backup(
    out: Annotated[Path, typer.Argument(help="A new folder for the backup.")],
    files: Annotated[bool, typer.Option(help="Copy models, data sets, runs and uploads too.")] = True,
    home: Home = None,
    config: Config = None,
) -> None:
    """Copy a server that keeps its data in SQLite while it runs: databases first, then the files they name.

    Uploads in a store elsewhere are fetched and checked. Back a server with PostgreSQL up with pg_dump, then copy its
    home folder; see docs/howto/serve.md.
    """
    from radproof.store.backup import backup as copy

    _require_service()
    found = copy(_settings(home, config), out, files=files)
    print_lines([f"{found.databases} databases and {found.files} files ({found.size / 1e6:,.1f} MB) in {out}"])
    _warn_of(found, "backup")


@admin.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `radproof admin backup` made.")],
    home: Home = None,
    config: Config = None,
) -> None:
    """Make a new home of a backup; uploads go to the store of the settings, or into the home where there is none."""
    from radproof.store.backup import restore as put

    _require_service()
    settings = _settings(home, config)
    found = put(settings, source)
    size = f"{found.size / 1e6:,.1f} MB"
    print_lines([f"{found.databases} databases and {found.files} files ({size}) in {settings.home}"])
    _warn_of(found, "restoration")


def _warn_of(found: "Copied", what: str) -> None:
    if not found.told:
        typer.echo(f"The audit trail could not be written to: it does not tell of this {what}.", err=True)
    if found.missing:
        typer.echo(f"Uploads that are missing or have other bytes than they should: {found.missing}.", err=True)


def _new_password(service: "Service", address: str, name: str) -> str:
    from radproof.store.invitations import invite
    from radproof.store.people import named, role_of

    with service.database.writing() as session:
        user = named(session, name)
        if user is None:
            raise BadInput("nobody signs in with that name; `radproof admin users` lists them")
        made, secret = invite(session, role_of(user.role), user_id=user.id)
        service.trail.add(session, "invitation.make", object=made.id, role=user.role, console=True)
    return f"{address}/invite/{secret}"


@contextmanager
def _opened(home: Path | None, config: Path | None) -> Generator[tuple["Service", "Settings"]]:
    _require_service()
    from radproof.api.serving.server import opened

    settings = _settings(home, config)
    if not settings.database and not (settings.home / "radproof.db").is_file():
        raise BadInput(f"no server has its home in {settings.home}; give --home, or start one with `radproof serve`")
    with opened(settings) as service:
        yield service, settings


def _settings(home: Path | None, config: Path | None, **told: Any) -> "Settings":
    from radproof.store.settings import read_settings

    return read_settings(config, home=home, **told)


def _require_service() -> None:
    """Raises BadInput where the libraries of a server are not installed."""
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("fastapi", "sqlalchemy", "uvicorn", "pydantic_settings", "dbos")):
        raise BadInput("a server needs the extra radproof[service]; pip install 'radproof[service]'")
