"""`expunge receipts`."""

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.context import AsJson, TrustedKeys, trusted_keys
from expunge.cli.output import print_json
from expunge.verify import read_opening, verify_cell, verify_receipt

app = typer.Typer(no_args_is_help=True, help="Signed statements of what was done.")


@app.callback()
def receipts() -> None:
    """Signed statements of what was done."""


@app.command("verify")
def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A receipt.")],
    jwks: TrustedKeys = None,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Must be what the receipt is about."),
    ] = None,
    cell: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="An opening, from `expunge requests open`: must be of the receipt.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt's signature and form; offline with --jwks FILE."""
    found = verify_receipt(file.read_bytes(), trusted_keys(context, jwks), weights)
    statement = found.statement
    opening = read_opening(cell.read_bytes()) if cell else None
    if opening is not None:
        verify_cell(statement, opening)
    if as_json:
        plain = statement.model_dump(mode="json", by_alias=True)
        print_json({"key_id": found.key_id, "weights": found.weights, "statement": plain})
        return
    asked = statement.predicate.request
    typer.echo(f"the receipt holds: signed by the key {found.key_id}")
    typer.echo(
        f"  request {asked.id}: {asked.instance_count} instances, {asked.scope} "
        f"({', '.join(asked.tasks)}), completed {asked.completed_at}"
    )
    typer.echo(f"  audit: {statement.predicate.audit.verdict}")
    for subject in statement.subject:
        typer.echo(f"  weights {subject.name}: sha256 {subject.digest.sha256}")
    if opening is not None:
        typer.echo(f"  it covers {opening.task!r} of the instance {opening.instance!r}")
    if found.weights:
        typer.echo(f"  {weights} is {found.weights}")
