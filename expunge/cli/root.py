"""The root of the `expunge` command, and the edge where errors become one sentence."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from expunge.cli import demo as demo_command
from expunge.cli import (
    doctor,
    holds,
    jobs,
    keys,
    ledger,
    models,
    receipts,
    requests,
    service,
    signing_key,
    subjects,
    versions,
    webhooks,
)
from expunge.cli.context import Place
from expunge.errors import ExpungeError, Unreachable
from expunge.state import DEFAULT_STATE

_FAILED: Final = 1
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="expunge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Unlearning as a service: take people's data out of trained networks, with evidence.",
)
app.add_typer(models.app, name="models")
app.add_typer(versions.app, name="versions")
app.add_typer(requests.app, name="requests")
app.add_typer(holds.app, name="holds")
app.add_typer(jobs.app, name="jobs")
app.add_typer(receipts.app, name="receipts")
app.add_typer(ledger.app, name="ledger")
app.add_typer(subjects.app, name="subjects")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(signing_key.app, name="signing-key")
app.add_typer(service.db, name="db")
app.command("up")(service.up)
app.command("serve")(service.serve)
app.command("worker", context_settings=service.PASS_ON)(service.worker)
app.command("demo")(demo_command.demo)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"expunge {version('expunge')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(envvar="EXPUNGE_URL", help="The service. Default: what `expunge up` runs."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="EXPUNGE_API_KEY", help="Default: that of `expunge up`.")
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            envvar="EXPUNGE_STATE_DIR",
            file_okay=False,
            help="The folder of the service that `expunge up` runs.",
        ),
    ] = DEFAULT_STATE,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Unlearning as a service."""
    context.obj = Place(url, api_key, state)


def main() -> int:
    """Run the command line; an error of ours is one sentence on standard error and code 1."""
    try:
        app()
    except Unreachable as error:
        _complain(f"{error}: start one with `expunge up`, or name another with --url")
    except ExpungeError as error:
        _complain(str(error))
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        _complain(f"{error.filename or 'this system'}: {error.strerror or error}")
    return _FAILED


def _complain(sentence: str) -> None:
    typer.echo(f"expunge: {sentence}", err=True)
