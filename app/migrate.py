"""The schema's revisions, from an installed package: no alembic.ini, no checkout.

Each call is one transaction on both databases. Two processes that upgrade at once take turns, and
the second finds nothing left to do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

import migrations
from app import dsr_tables  # noqa: F401 - the metadata holds its tables too
from app.db import Database
from app.tables import Base

if TYPE_CHECKING:  # the service starts without Alembic: only these functions need it
    from alembic.config import Config

_LOCK = 0x6578_7075_6E67_65  # any number that is ours alone: "expunge"


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema up to `revision`."""
    from alembic import command  # noqa: PLC0415

    _in_turn(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to `revision`; `base` leaves no table of ours."""
    from alembic import command  # noqa: PLC0415

    _in_turn(database, lambda config: command.downgrade(config, revision))


def current(database: Database) -> str | None:
    """The revision that the database is at, or None for an empty one."""
    from alembic.migration import MigrationContext  # noqa: PLC0415

    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def head() -> str | None:
    """The newest revision that this package knows."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    return ScriptDirectory.from_config(_config()).get_current_head()


def differences(database: Database) -> list[Any]:
    """What a new migration would have to change for the database to match `app.tables`."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415

    with database.read() as session:
        context = MigrationContext.configure(
            session.connection(), opts={"compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def _in_turn(database: Database, work: "Callable[[Config], None]") -> None:
    config = _config()
    with database.write() as session, session.begin():
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        work(config)
