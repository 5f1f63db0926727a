"""`expunge subjects`."""

from typing import Annotated

import typer

from expunge.cli.context import AsJson, connect
from expunge.cli.output import show

app = typer.Typer(no_args_is_help=True, help="Data subjects' ids in the service's own records.")


@app.callback()
def subjects() -> None:
    """Data subjects' ids in the service's own records."""


@app.command("erase")
def erase(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
) -> None:
    """Replace a subject's id by a pseudonym in every row, for good; the ledger still holds."""
    with connect(context) as client:
        show(client.subjects.erase(subject), as_json=as_json)
