"""`expunge up`, `serve`, `worker` and `db`: running the service."""

import json
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated

import typer

from expunge.cli.context import place_of
from expunge.errors import ExpungeError
from expunge.state import CLIENT_FILE, Connection
from expunge.up import up as run_up

Host = Annotated[str, typer.Option(envvar="EXPUNGE_HOST", help="The address to listen on.")]
Port = Annotated[
    int, typer.Option(envvar="EXPUNGE_PORT", min=0, max=65535, help="0 takes a free one.")
]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

db = typer.Typer(no_args_is_help=True, help="The database's schema.")


def up(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    celery: Annotated[
        bool,
        typer.Option(
            "--celery",
            help="A Celery worker and the relay (broker: EXPUNGE_BROKER_URL) instead of the loop.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON once it is ready.")
    ] = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C: database, HTTP and a worker."""
    state = place_of(context).state
    if not celery and find_spec("torch") is None:
        raise ExpungeError(
            "a worker needs torch, which is not installed here: pip install 'expunge[worker]', or "
            "run the HTTP service alone with `expunge serve`"
        )

    def say(line: str) -> None:
        typer.echo(line, err=True)

    def on_ready(connection: Connection, pids: Mapping[str, int]) -> None:
        if as_json:
            ready = {
                "url": connection.url,
                "pid": os.getpid(),
                "processes": dict(pids),
                "client_file": str((state / CLIENT_FILE).absolute()),
            }
            typer.echo(json.dumps(ready))
            return
        typer.echo(f"Expunge is up at {connection.url}")
        typer.echo(f"  API      {connection.url}/docs")
        typer.echo(f"  console  {connection.url}/console")
        typer.echo(f"  metrics  {connection.url}/metrics")
        typer.echo(f"  state    {state} (the admin key is in {CLIENT_FILE}, logs in logs/)")
        typer.echo("Ctrl-C stops it.")

    run_up(state, host, port, celery=celery, say=say, on_ready=on_ready)


def serve(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    processes: Annotated[int, typer.Option(min=1, help="Side by side on the same port.")] = 1,
) -> None:
    """Run the HTTP service alone; settings come from EXPUNGE_*."""
    import uvicorn  # noqa: PLC0415 - only this command needs it

    tell_state(context)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        timeout_graceful_shutdown=3,
        server_header=False,
    )


def worker(context: typer.Context) -> None:
    """Run a worker alone; what follows is passed on to `python -m worker`."""
    if find_spec("torch") is None:
        raise ExpungeError("a worker needs torch: pip install 'expunge[worker]'")
    tell_state(context)
    become("worker", *context.args)


@db.command("upgrade")
def upgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="Up to this one.")] = "head",
) -> None:
    """Bring the schema up to date."""
    _app_db(context, "upgrade", revision)


@db.command("downgrade")
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="Down to this one; `base` empties it.")],
) -> None:
    """Take the schema back."""
    _app_db(context, "downgrade", revision)


@db.command("current")
def current(context: typer.Context) -> None:
    """Print the schema's revision."""
    _app_db(context, "current")


def _app_db(context: typer.Context, *arguments: str) -> None:
    tell_state(context)
    become("app", "db", *arguments)


def tell_state(context: typer.Context) -> None:
    """What --state says holds for the service's own settings too."""
    os.environ["EXPUNGE_STATE_DIR"] = str(place_of(context).state)


def become(module: str, *arguments: str) -> None:
    """Go on as another program: signals and the exit code are then its own."""
    sys.stdout.flush()
    os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(sys.executable, (sys.executable, "-m", module, *arguments))
