"""`expunge signing-key`: run where the service runs, beside its key file."""

import typer

from expunge.cli.service import become, tell_state

app = typer.Typer(no_args_is_help=True, help="The key that signs receipts and ledger heads.")


@app.command("rotate")
def rotate(context: typer.Context) -> None:
    """Put a fresh key in the place of the one that signs; the old one stays published."""
    tell_state(context)
    become("app", "signing-key", "rotate")


@app.command("list")
def list_(context: typer.Context) -> None:
    """The key that signs, and those that were retired."""
    tell_state(context)
    become("app", "signing-key", "list")
