"""`expunge ledger`."""

import json
from typing import Annotated

import typer

from expunge.answers import Event
from expunge.cli.context import AsJson, Limit, connect
from expunge.cli.output import print_json, show, show_list
from expunge.errors import ExpungeError

app = typer.Typer(no_args_is_help=True, help="The append-only log of every change of state.")


@app.command("verify")
def verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Let the service check its hash chain; exit code 1 if it does not hold."""
    with connect(context) as client:
        check = client.ledger.verify()
    if as_json:
        print_json(check.model_dump(mode="json"))
    elif check.ok:
        typer.echo(f"the ledger holds: {check.events} events")
    if not check.ok:
        raise ExpungeError(f"the ledger does not hold: {check.problem}")


@app.command("head")
def head(context: typer.Context, as_json: AsJson = False) -> None:
    """The newest event's number and hash, signed."""
    with connect(context) as client:
        show(client.ledger.head(), as_json=as_json)


@app.command("events")
def events(
    context: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print events as they happen, until Ctrl-C.")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The ledger's events."""
    with connect(context) as client:
        if not follow:
            columns = ("seq", "at", "kind", "entity", "actor")
            show_list(client.ledger.events(), columns, limit=limit, as_json=as_json)
            return
        for event in client.ledger.follow(client.ledger.head().seq):
            typer.echo(event.model_dump_json() if as_json else _line(event))


def _line(event: Event) -> str:
    told = json.dumps(event.payload, ensure_ascii=False)
    return f"{event.seq} {event.at:%H:%M:%S} {event.kind} {event.entity} {told}"
