"""`expunge keys`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from expunge.cli.context import AsJson, Limit, connect
from expunge.cli.output import show, show_list

app = typer.Typer(no_args_is_help=True, help="API keys: who may call, and for what.")


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="Repeat it: requests:write, requests:approve, models:write, versions:read, "
            "versions:download, versions:follow, ledger:read, admin."
        ),
    ],
    days: Annotated[int | None, typer.Option(min=1, help="Expires after so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown this once."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    with connect(context) as client:
        show(client.keys.create(name, scope, expires_at), as_json=as_json)


@app.command("list")
def list_(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """All keys, without their secrets."""
    with connect(context) as client:
        columns = ("name", "prefix", "scopes", "expires_at", "revoked_at", "id")
        show_list(client.keys.list(), columns, limit=limit, as_json=as_json)


@app.command("revoke")
def revoke(
    context: typer.Context, key: Annotated[str, typer.Argument(metavar="KEY", help="Its id.")]
) -> None:
    """Make a key count no more."""
    with connect(context) as client:
        client.keys.revoke(key)
    typer.echo(f"{key} is revoked")


@app.command("whoami")
def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Whom the service takes you for."""
    with connect(context) as client:
        show(client.keys.whoami(), as_json=as_json)
