"""`python -m app webhook-secrets`: the key that seals them in the database."""

import typer
from cryptography.fernet import Fernet

from app.db import Database
from app.settings import get_settings
from app.webhooks.sealed_rows import seal_all
from app.webhooks.secret_box import KeyFault, SecretBox, SecretUnreadable

app = typer.Typer(no_args_is_help=True, help="The key that seals webhook secrets.")


@app.command("new-key")
def new_key() -> None:
    """Print a fresh key, a line of the file that EXPUNGE_WEBHOOK_KEY_FILE names."""
    typer.echo(Fernet.generate_key().decode())


@app.command()
def seal() -> None:
    """Seal every secret in the database with the first key; the others are not needed then."""
    settings = get_settings()
    try:
        box = SecretBox.load(settings)
        if not box.seals:
            raise KeyFault("EXPUNGE_WEBHOOK_KEY_FILE is not set: there is no key to seal with")
        count = seal_all(Database(settings.database), box)
    except (KeyFault, SecretUnreadable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"the secrets of {count} webhook endpoints were sealed with the first key")
