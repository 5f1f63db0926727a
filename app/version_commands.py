"""`python -m app versions`: what is stored of versions, from whole files to nothing at all."""

from typing import Annotated, NoReturn

import typer
from sqlalchemy import select

from app.db import Database
from app.problems import Problem
from app.restored_cache import RestoredCache
from app.services.lookup import find_model, find_version
from app.services.retention import in_use, purge_version, store_whole
from app.services.stored_weights import DamagedWeights, StoredWeights, recipe_of
from app.settings import get_settings
from app.states import IllegalTransition
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, Version

app = typer.Typer(no_args_is_help=True, help="What is stored of versions.")
_ACTOR = "command-line"


@app.command("store-whole")
def store_all_whole() -> None:
    """Store every version as a whole file: an older schema knows no deltas."""
    database, weights = _open()
    with database.read() as session:
        deltas = select(Version.id).where(Version.base_version_id.is_not(None))
        ids = session.scalars(deltas.order_by(Version.number)).all()
    for version_id in ids:
        _make_whole(database, weights, version_id)
        with database.write() as session, session.begin():
            version = session.get_one(Version, version_id)
            delta = version.delta_sha256
            store_whole(session, weights, version, _ACTOR)
        with database.read() as session:
            if delta and not in_use(session, delta):
                weights.forget(delta)
    typer.echo(f"{len(ids)} versions that were deltas are stored whole")


@app.command("purge")
def purge_one(
    model: Annotated[str, typer.Option(help="name or id")],
    version: Annotated[str, typer.Option(help="number or id")],
    tenant: Annotated[str, typer.Option(help="id")] = DEFAULT_TENANT,
) -> None:
    """Delete a superseded or rejected version's weights for good; its row and evidence stay."""
    database, weights = _open()
    try:
        with database.read() as session:
            found = find_version(session, find_model(session, tenant, model), version)
        purge_version(database, weights, found.id, _ACTOR)
    except Problem as problem:
        _fail(problem.detail)
    except (IllegalTransition, DamagedWeights) as error:
        _fail(str(error))
    typer.echo(f"the weights of version {found.number} are gone")


def _make_whole(database: Database, weights: StoredWeights, version_id: str) -> None:
    """The slow part, before a transaction that others wait for."""
    with database.read() as session:
        recipe = recipe_of(session, session.get_one(Version, version_id))
    try:
        weights.make_whole(recipe)
    except DamagedWeights as error:
        _fail(str(error))


def _open() -> tuple[Database, StoredWeights]:
    settings = get_settings()
    cache = RestoredCache(settings.restored_cache, settings.restored_cache_bytes)
    return Database(settings.database), StoredWeights(LocalStorage(settings.storage), cache)


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
