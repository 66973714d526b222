# SPDX-License-Identifier: Apache-2.0
"""The command `radproof`. Nothing heavy is imported before a command needs it, so that help comes at once."""

import os
import sys
import traceback

import typer

from radproof import __version__
from radproof.cli import (
    assessing,
    certifying,
    datasets,
    gating,
    models,
    remote,
    screening,
    serving,
    supervised,
    training,
    tuning,
    working,
)
from radproof.errors import RadproofError

app = typer.Typer(
    name="radproof",
    help="The crash-test laboratory for medical-imaging CNNs: attack, defend, detect, measure, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and stop."),
) -> None:
    """Show the version where asked; commands do the rest."""
    if version:
        typer.echo(f"radproof {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


assessing.add_to(app)
certifying.add_to(app)
gating.add_to(app)
screening.add_to(app)
remote.add_to(app)
serving.add_to(app)
training.add_to(app)
tuning.add_to(app)
working.add_to(app)
app.add_typer(datasets.app, name="data")
app.add_typer(models.app, name="model")


def main() -> None:
    """Run the command; errors become one sentence on stderr and the exit code of their class."""
    if supervised.supervised():
        supervised.end_with_worker()
    try:
        app()
    except RadproofError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where, why = error.filename or "a file", (error.strerror or str(error)).lower()
        _fail(f"{where}: {why}; check the path and its rights", 2)
    except Exception as error:
        if os.environ.get("RADPROOF_DEBUG"):
            traceback.print_exc()
        _fail(
            f"something inside went wrong ({type(error).__name__}: {error}); set RADPROOF_DEBUG=1 for the whole "
            "trace and please report it",
            3,
        )


def _fail(message: str, code: int) -> None:
    if supervised.supervised():
        supervised.fail(message, code)
        sys.exit(code)
    print(f"radproof: {message}", file=sys.stderr)
    sys.exit(code)
