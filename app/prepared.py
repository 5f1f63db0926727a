"""Statements that every write runs: compiled once, then given to the driver as they are.

SQLAlchemy looks for a statement's compiled form, makes an execution context and a result for each
execution; of a short INSERT that is more than nine tenths of the time. The statements themselves
stay in its language, and values pass through its types on the way in and out.

PostgreSQL is sent what writes without being waited for: until something is read, or the transaction
ends, which is when an error of it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Executable, Float, Select, event
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import (
    DeclarativeBase,
    Session,
    SessionTransaction,
    class_mapper,
    make_transient_to_detached,
)
from sqlalchemy.orm.attributes import instance_dict, set_committed_value
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

_FLOAT8 = 701
_CURSOR = "prepared_cursor"
_PIPELINE = "prepared_pipeline"
_Process = Callable[[Any], Any] | None
_Table = TypeVar("_Table", bound=DeclarativeBase)


class Prepared:
    """A statement whose text is the same for all values: no expanding IN, no defaults in Python."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        """`columns` are those that an INSERT gives values; all, where they are not named."""
        self._statement = statement
        self._columns = columns
        self._forms: dict[str, _Form] = {}

    def rows(self, session: Session, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What a SELECT finds, in the session's transaction; nothing is flushed before."""
        form, cursor = self._form(session), _cursor(session)
        form.execute(cursor, values)
        found = cursor.fetchall()
        if all(process is None for process in form.out):
            return found
        return [
            [
                value if process is None else process(value)
                for process, value in zip(form.out, row, strict=True)
            ]
            for row in found
        ]

    def run(self, session: Session, *each: Mapping[str, Any]) -> None:
        """Execute an INSERT, UPDATE or DELETE for each of these values."""
        form, cursor = self._form(session), _writing_cursor(session)
        if len(each) == 1:
            form.execute(cursor, each[0])
        elif each:
            form.execute_many(cursor, each)

    def _form(self, session: Session) -> "_Form":
        dialect = session.get_bind().dialect
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = _Form(self._statement, self._columns, dialect)
        return form


def columns(table: type[DeclarativeBase]) -> list[Any]:
    """All of a table's columns, for a SELECT whose rows are to be `adopted`."""
    return [getattr(table, name) for name in _names(table)]


def adopted(session: Session, table: type[_Table], values: Sequence[Any]) -> _Table:
    """The session's object of a row that was read; one that it had already is brought up to date.

    Changes that are not flushed are lost with that. The table's key is its first column.
    """
    found = dict(zip(_names(table), values, strict=True))
    row = session.identity_map.get(session.identity_key(table, values[0]))
    if row is None:
        row = table()
        instance_dict(row).update(found)  # as loading does: nothing of it is a change
        make_transient_to_detached(row)
        session.add(row)
    else:
        for name, value in found.items():
            set_committed_value(row, name, value)
    assert isinstance(row, table)
    return row


def _names(table: type[DeclarativeBase]) -> list[str]:
    return list(class_mapper(table, configure=False).columns.keys())


class _Form:
    """The statement in one database's language."""

    def __init__(
        self, statement: Executable, columns: Sequence[str] | None, dialect: Dialect
    ) -> None:
        compiled = statement.compile(  # type: ignore[attr-defined]
            dialect=dialect, column_keys=columns
        )
        assert isinstance(compiled, SQLCompiler)
        self._text = compiled.string
        self._order = compiled.positiontup
        self._given = compiled.construct_params(_check=False)
        self._in = [
            (name, process)
            for bind, name in compiled.bind_names.items()
            if (process := _of(bind.type, dialect).bind_processor(dialect)) is not None
        ]
        self.out: Sequence[_Process] = []
        if isinstance(statement, Select):
            self.out = [
                _of(column.type, dialect).result_processor(dialect, _number_of(column.type))
                for column in statement.selected_columns
            ]
        self._error = dialect.loaded_dbapi.Error

    def execute(self, cursor: DBAPICursor, values: Mapping[str, Any]) -> None:
        """Run it; what the driver raises comes as SQLAlchemy's own error."""
        given = self._given_as(values)
        try:
            cursor.execute(self._text, given)
        except self._error as error:
            raise DBAPIError.instance(self._text, given, error, self._error) from error

    def execute_many(self, cursor: DBAPICursor, each: Sequence[Mapping[str, Any]]) -> None:
        """The same for many values."""
        given = [self._given_as(values) for values in each]
        try:
            cursor.executemany(self._text, given)
        except self._error as error:
            raise DBAPIError.instance(self._text, given, error, self._error) from error

    def _given_as(self, values: Mapping[str, Any]) -> Any:
        named = {**self._given, **values}
        for name, process in self._in:
            named[name] = process(named[name])
        return named if self._order is None else [named[name] for name in self._order]


def _number_of(type_: TypeEngine[Any]) -> int | None:
    """PostgreSQL's number of the type that the driver will give, where SQLAlchemy asks for it."""
    return _FLOAT8 if isinstance(type_, Float) else None


def _of(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return type_.dialect_impl(dialect)


def _cursor(session: Session) -> DBAPICursor:
    """The one that all of a transaction's prepared statements use."""
    cursor: DBAPICursor | None = session.info.get(_CURSOR)
    if cursor is None:
        cursor = session.info[_CURSOR] = session.connection().connection.cursor()
    return cursor


def _writing_cursor(session: Session) -> DBAPICursor:
    """A cursor whose answers are not waited for, where the database allows that."""
    connection = session.connection()
    # In a savepoint an error must show before its end, or nothing rolls back to it.
    if connection.dialect.driver != "psycopg" or session.in_nested_transaction():
        return _cursor(session)
    if _PIPELINE not in connection.info:
        driver: Any = connection.connection.driver_connection
        pipeline = connection.info[_PIPELINE] = driver.pipeline()
        pipeline.__enter__()
    return connection.connection.cursor()


def wait_for_writes(connection: Connection) -> None:
    """Have everything that was sent done, before a statement that knows nothing of it."""
    pipeline = connection.info.pop(_PIPELINE, None)
    if pipeline is None:
        return
    error = connection.dialect.loaded_dbapi.Error
    try:
        pipeline.__exit__(None, None, None)
    except error as failed:
        raise DBAPIError.instance(None, None, failed, error) from failed


def give_up_writes(connection: Connection) -> None:
    """The same before a rollback, to which it makes no difference whether they failed."""
    with suppress(DBAPIError):
        wait_for_writes(connection)


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_CURSOR, None)
