"""The service's own commands: `python -m app db|keys|versions|webhook-secrets|openapi|check`."""

import json
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from alembic.util import CommandError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import check_metrics, ledger, migrate, version_commands, webhook_commands
from app.auth import KeyHasher, Scope, create_key
from app.db import Database
from app.oidc.callers import person_behind
from app.services import adoption, checkup, signing_keys
from app.settings import get_settings
from app.signing import Signer
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, Tenant

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(db, name="db")
signing_key = typer.Typer(no_args_is_help=True, help="The key that signs.")
app.add_typer(keys, name="keys")
app.add_typer(version_commands.app, name="versions")
app.add_typer(webhook_commands.app, name="webhook-secrets")
app.add_typer(signing_key, name="signing-key")


@db.command()
def upgrade(revision: Annotated[str, typer.Argument()] = "head") -> None:
    """Bring the schema up to a revision."""
    database = _database()
    before = migrate.current(database)
    migrate.upgrade(database, revision)
    if before is not None and before != migrate.current(database) == migrate.head():
        for tenant_id, rows in adoption.adopt(database, before):
            typer.echo(f"the ledger of tenant {tenant_id} sealed {rows} rows that it did not hold")
    typer.echo(f"the schema is at revision {migrate.current(database)}")


@db.command()
def downgrade(revision: Annotated[str, typer.Argument(help="`base` removes all tables")]) -> None:
    """Take the schema back to a revision."""
    database = _database()
    try:
        migrate.downgrade(database, revision)
    except CommandError as error:  # an unknown revision, or data that it has no place for
        raise _failure(str(error)) from None
    typer.echo(f"the schema is at revision {migrate.current(database)}")


@db.command()
def current() -> None:
    """Print the schema's revision."""
    typer.echo(migrate.current(_database()) or "none")


@db.command("check")
def check_schema() -> None:
    """Fail unless the schema is the one that this package needs."""
    fault = checkup.schema_fault(_database())
    if fault is not None:
        raise _failure(fault)
    typer.echo(f"the schema is at revision {migrate.head()}, as it should be")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="what the key is for")],
    scopes: Annotated[str, typer.Option(help=f"of {', '.join(Scope)}; separated by commas")],
    tenant: Annotated[str, typer.Option(help="name or id")] = DEFAULT_TENANT,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Make an API key and print it; it is shown this once."""
    try:
        wanted = [Scope(scope.strip()) for scope in scopes.split(",")]
    except ValueError as error:
        raise _failure(f"{error}; scopes are {', '.join(Scope)}") from None
    with _database().write() as session, session.begin():
        is_it = (Tenant.id == tenant) | (Tenant.name == tenant)
        owner = session.scalar(select(Tenant).where(is_it))
        if owner is None:
            raise _failure(f"there is no tenant {tenant!r}")
        hasher = KeyHasher(get_settings().api_key_pepper)
        row, key = create_key(session, hasher, owner.id, name, wanted)
        told = {"name": row.name, "scopes": row.scopes}
        ledger.append(session, owner.id, "api_key.created", row.id, "command-line", told)
    made = {"id": row.id, "name": row.name, "tenant": owner.id, "scopes": row.scopes, "key": key}
    typer.echo(json.dumps(made) if as_json else key)


@keys.command()
def whose(principal: Annotated[str, typer.Argument(help="oidc:<host>:sub_...")]) -> None:
    """Print who a caller with a token is, whom records and the ledger name by a pseudonym."""
    with _database().read() as session:
        person = person_behind(session, principal)
    if person is None:
        raise _failure(f"nobody on record is called {principal!r}: mistyped, or erased")
    typer.echo(person)


@signing_key.command()
def rotate() -> None:
    """Put a fresh key in the place of the one that signs; the old one stays published."""
    former, fresh = signing_keys.rotate(_database(), get_settings().signing_key, "command-line")
    typer.echo(f"{former} is retired, {fresh} signs from now on")


@signing_key.command("list")
def list_signing_keys() -> None:
    """The key that signs, and those that were retired."""
    signer = Signer.load_or_create(get_settings().signing_key)
    with _database().read() as session:
        for jwk, retired_at in signing_keys.published(session, signer):
            since = f"retired {retired_at:%Y-%m-%d %H:%M} UTC" if retired_at else "signs"
            typer.echo(f"{jwk['kid']}  {since}")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app  # noqa: PLC0415 - the other commands start twice as fast

    typer.echo(json.dumps(create_app().openapi(), indent=2))


@app.command()
def check(
    metrics_file: Annotated[
        Path | None, typer.Option(help="also write what was found, for Prometheus' node exporter")
    ] = None,
) -> None:
    """Check the whole installation: schema, ledgers, and every stored file against its digest."""
    database = _database()
    faults = _faults(database, LocalStorage(get_settings().storage))
    for fault in chain.from_iterable(faults.values()):
        typer.echo(fault, err=True)
    if not faults["schema"]:
        for note in checkup.notes(database, get_settings()):
            typer.echo(f"note: {note}", err=True)
    if metrics_file is not None:
        check_metrics.write(metrics_file, {part: len(found) for part, found in faults.items()})
    if any(faults.values()):
        raise typer.Exit(1)
    typer.echo("schema, ledgers and files are as they should be")


def _faults(database: Database, storage: LocalStorage) -> dict[str, list[str]]:
    """What is wrong with each part; of a schema that is not ours nothing else can be said."""
    schema = checkup.schema_fault(database)
    if schema is not None:
        return {"schema": [schema]}
    with database.read() as session:
        role = checkup.role_fault(session)
        return {
            "schema": [],
            "role": [] if role is None else [role],
            "ledgers": list(checkup.ledger_faults(session)),
            "files": list(checkup.file_faults(session, storage)),
            "configuration": list(checkup.configuration_faults(session, get_settings())),
        }


def _database() -> Database:
    return Database(get_settings().database)


def _failure(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)


def main() -> None:
    """Run the command that was typed; a database that is not there gets one sentence."""
    try:
        app(prog_name="python -m app")
    except OperationalError as error:
        typer.echo(f"the database cannot be used: {str(error.orig).splitlines()[0]}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
