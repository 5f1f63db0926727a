"""`expunge holds`."""

from typing import Annotated

import typer

from expunge.cli.context import AsJson, Limit, connect
from expunge.cli.output import show, show_list

app = typer.Typer(no_args_is_help=True, help="Legal holds: what must not be erased for now.")


@app.command("place")
def place(
    context: typer.Context,
    ground: Annotated[str, typer.Option(help="Such as gdpr_art_17_3_e.")],
    reason: Annotated[str, typer.Option(help="For the ledger.")],
    model: Annotated[str | None, typer.Option(help="Only in this model. Default: all.")] = None,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", "-i", help="An instance's id; repeat it.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", "-s", help="A subject's id; repeat it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Park every request that names one of these, until the hold is released."""
    with connect(context) as client:
        hold = client.holds.place(
            ground, reason, model=model, instances=instance or (), subjects=subject or ()
        )
    show(hold, as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    released: Annotated[bool, typer.Option("--all", help="Also those that were released.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Holds in force, newest first."""
    with connect(context) as client:
        columns = ("ground", "instances", "subjects", "placed_at", "released_at", "id")
        holds = client.holds.list(active=None if released else True)
        show_list(holds, columns, limit=limit, as_json=as_json)


@app.command("release")
def release(
    context: typer.Context,
    hold: Annotated[str, typer.Argument(metavar="HOLD", help="Its id.")],
    reason: Annotated[str, typer.Option(help="For the ledger.")],
    as_json: AsJson = False,
) -> None:
    """End a hold; what it alone had parked goes on."""
    with connect(context) as client:
        show(client.holds.release(hold, reason), as_json=as_json)
