# SPDX-License-Identifier: Apache-2.0
"""The commands that talk to a server: `radproof remote …`, and `radproof assess PLAN --server URL`."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.errors import BadInput, GateFailed

if TYPE_CHECKING:
    from radproof.client import Client, Key, Run

SERVER = "RADPROOF_SERVER"
Server = Annotated[str, typer.Option(envvar=SERVER, help="The server's address; the key is RADPROOF_KEY.")]
AllowHttp = Annotated[bool, typer.Option("--allow-http", help="Send the key by http:// beyond this machine too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Project = Annotated[str | None, typer.Option(envvar="RADPROOF_PROJECT", help="One of your projects, by name or id.")]
Overwrite = Annotated[bool, typer.Option(help="Throw away what the folder holds of another plan.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Most = Annotated[int, typer.Option(min=1, help="At most so many.")]

remote = typer.Typer(no_args_is_help=True, help="Talk to a radproof server.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(remote, name="remote")


@contextmanager
def connected(server: str, allow_http: bool = False) -> Generator["Client"]:
    """A client of this server. Raises BadInput where httpx is missing."""
    try:
        from radproof.client import Client
    except ModuleNotFoundError as error:
        raise BadInput(f"talking to a server needs {error.name}; pip install 'radproof[client]'") from None
    if not server:
        raise BadInput(f"give --server https://… or set {SERVER}")
    with Client(server, allow_http=allow_http) as client:
        yield client


@remote.command()
def status(server: Server = "", allow_http: AllowHttp = False, as_json: AsJson = False) -> None:
    """Show the server's version, whether a worker is alive, and the queue."""
    with connected(server, allow_http) as client:
        found = client.status()
    worker = "a worker is alive" if found.worker else "no worker gave a sign of life lately: jobs wait"
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_lines([f"radproof {found.version}; {worker}; {found.queued} jobs wait, {found.running} are at work"])


@remote.command()
def models(
    server: Server = "",
    project: Project = None,
    most: Most = 50,
    allow_http: AllowHttp = False,
    as_json: AsJson = False,
) -> None:
    """List the models of your projects, newest first."""
    with connected(server, allow_http) as client:
        found = [_row(one, "id", "name", "state") for one in islice(client.models(_id(client, project)), most)]
    _print("Models", found, as_json)


@remote.command()
def data(
    server: Server = "",
    project: Project = None,
    most: Most = 50,
    allow_http: AllowHttp = False,
    as_json: AsJson = False,
) -> None:
    """List the data sets of your projects, newest first."""
    with connected(server, allow_http) as client:
        found = [_row(one, "id", "name", "state") for one in islice(client.data_sets(_id(client, project)), most)]
    _print("Data sets", found, as_json)


@remote.command()
def runs(
    server: Server = "",
    project: Project = None,
    most: Most = 50,
    allow_http: AllowHttp = False,
    as_json: AsJson = False,
) -> None:
    """List the runs of your projects, newest first."""
    with connected(server, allow_http) as client:
        found = [_row(one, "id", "name", "state", "model") for one in islice(client.runs(_id(client, project)), most)]
    _print("Runs", found, as_json)


@remote.command()
def cancel(run: str, server: Server = "", allow_http: AllowHttp = False) -> None:
    """Ask a run to end; what is finished is kept."""
    with connected(server, allow_http) as client:
        print_lines([f"{run} is {client.cancel(run).state}"])


@remote.command()
def pause(run: str, server: Server = "", allow_http: AllowHttp = False) -> None:
    """Stop a run until it is resumed; what is finished is kept."""
    with connected(server, allow_http) as client:
        print_lines([f"{run} is {client.pause(run).state}"])


@remote.command()
def resume(run: str, server: Server = "", allow_http: AllowHttp = False) -> None:
    """Go on with a paused run where it was."""
    with connected(server, allow_http) as client:
        print_lines([f"{run} is {client.resume(run).state}"])


@remote.command()
def retry(run: str, server: Server = "", allow_http: AllowHttp = False) -> None:
    """Go on with a failed or cancelled run where it was."""
    with connected(server, allow_http) as client:
        print_lines([f"{run} is {client.retry(run).state}"])


@remote.command()
def priority(
    run: str,
    number: Annotated[int, typer.Argument(min=1, max=1000, help="Smaller ones go first; 100 is usual.")],
    server: Server = "",
    allow_http: AllowHttp = False,
) -> None:
    """Put a run before or behind others."""
    with connected(server, allow_http) as client:
        print_lines([f"{run} has priority {client.prioritise(run, number).priority}"])


@remote.command()
def fetch(
    run: str,
    out: Annotated[Path, typer.Option(help="Folder for what the run left.")],
    server: Server = "",
    pdf: Annotated[bool, typer.Option(help="The report as a PDF too.")] = False,
    images: Annotated[int, typer.Option(min=0, help="At most so many attacked images.")] = 1000,
    overwrite: Overwrite = False,
    allow_http: AllowHttp = False,
    quiet: Quiet = False,
) -> None:
    """Wait until a run has ended; then download its report, result and attacked images."""
    from radproof.cli.remote_assess import check_folder, follow, take

    with connected(server, allow_http) as client, Bars(quiet=quiet) as bars:
        found = client.run(run)
        document = client.plan(found.plan).document
        if not overwrite:
            check_folder(out, document)
        ended = follow(client, found, bars)
        take(client, ended, out, document, pdf=pdf, images=images, progress=bars)
    print_lines([f"Report: {out / 'report.html'}"])


@remote.command()
def screen(
    images: Annotated[list[Path], typer.Argument(help="Image files (PNG, JPEG, TIFF, DICOM).")],
    model: Annotated[str, typer.Option(help="The model's name on the server: mdl_…")],
    server: Server = "",
    view: Annotated[str | None, typer.Option(help="The images' view, where thresholds are by view.")] = None,
    allow_http: AllowHttp = False,
) -> None:
    """Ask a model on a server about images: one JSON object per image and line. Not for diagnosis.

    The files' names are not sent. Exit code 2 where an image was refused; the others are answered all the same.
    """
    import json

    from radproof.client import Refused

    refused = 0
    with connected(server, allow_http) as client:
        for image in images:
            if not image.is_file():
                raise BadInput(f"no file {image}")
            try:
                said: Mapping[str, Any] = client.screen(image, model, view=view).model_dump(mode="json")
            except Refused as error:
                if error.status != 422:
                    raise
                refused += 1
                said = {"refusal": str(error)}
            typer.echo(json.dumps({"name": image.name, **said}, allow_nan=False))
    if refused:
        raise BadInput(f"{refused} of {len(images)} images could not be screened; the others were")


@remote.command()
def keys(server: Server = "", most: Most = 50, allow_http: AllowHttp = False, as_json: AsJson = False) -> None:
    """List your API keys, newest first. New ones are made in a browser, at /account."""
    with connected(server, allow_http) as client:
        found = [_key(one) for one in client.keys()[:most]]
    _print("API keys", found, as_json)


@remote.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's name in the list: key_…")],
    server: Server = "",
    allow_http: AllowHttp = False,
) -> None:
    """Revoke one of your API keys: from now on it opens nothing. It may be the one in use."""
    with connected(server, allow_http) as client:
        client.revoke_key(key)
    print_lines([f"{key} is revoked"])


def assess_on(
    server: str,
    plan: Path | None,
    out: Path | None,
    *,
    project: str | None = None,
    allow_http: bool = False,
    overwrite: bool = False,
    pdf: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """`radproof assess PLAN --server`: the same words and exit codes as here. Raises BadInput without a plan."""
    if plan is None:
        raise BadInput("a server is given a plan: radproof assess PLAN.yaml --server …")
    with connected(server, allow_http) as client, Bars(quiet=quiet) as bars:
        from radproof.cli.remote_assess import assess

        folder, told = assess(client, plan, out, project=project, overwrite=overwrite, pdf=pdf, bars=bars)
    if as_json:
        print_json(told)
    else:
        print_lines([told["verdict"], *(f"Doubt: {doubt['message']}" for doubt in told["doubts"])])
        print_lines([f"Report: {folder / 'report.html'}"])
    broken = [gate for gate in told.get("gates", []) if gate["verdict"] != "passed"]
    if broken:
        raise GateFailed(f"{len(broken)} of {len(told['gates'])} gates were not kept: {broken[0]['sentence']}")


def _id(client: "Client", project: str | None) -> str | None:
    return client.project(project) if project else None


def _row(thing: "Run | Any", *names: str) -> dict[str, Any]:
    told = thing.model_dump(mode="json")
    created = str(told.get("created") or "")[:16].replace("T", " ")
    return {name: told.get(name) for name in names} | {"since": created}


def _key(one: "Key") -> dict[str, Any]:
    told = {name: value.strftime("%Y-%m-%d %H:%M") if value else None for name, value in (
        ("created", one.created), ("expires", one.expires), ("used", one.used)
    )}  # fmt: skip
    return {"id": one.id, "name": one.name, **told}


def _print(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    print_json(rows) if as_json else print_table(title, rows)
