"""Run by Alembic: on the connection that `app.migrate` hands over, or on the settings' database."""

from alembic import context
from sqlalchemy import Connection

from app import dsr_tables  # noqa: F401 - the metadata holds its tables too
from app.db import Database
from app.settings import get_settings
from app.tables import Base


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        render_as_batch=True,
        transactional_ddl=True,  # `app.db` begins by itself, so SQLite rolls back a half migration
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with Database(get_settings().database).write() as session, session.begin():
        _run(session.connection())
