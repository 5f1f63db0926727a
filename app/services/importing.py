"""A file of up to a million ids becomes one deletion request: all of it, or nothing.

The file is on disk already and is read a chunk at a time; so is everything that follows from it.
`locate` looks the rows up before any transaction is open, because that takes long and a manifest
never changes; `receive` then writes what was found in one.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.coverage import UNKNOWN_SUBJECT
from app.db import database_now
from app.noting import note_set
from app.problems import Conflict, FieldError, Invalid, Problem
from app.schemas.deletion_requests import MOST_NAMED as MOST_ROWS
from app.schemas.deletion_requests import ImportSource, NewImport
from app.services.cells import CHUNK, cell_counts
from app.services.import_rows import BadHeader, Fault, Row, read
from app.services.intake import dates_of, decide, open_request
from app.services.resolution import MOST_NAMED, Found, target_of
from app.tables import DeletionRequest, Instance, RequestInstance

_KEY: Final = "q"
"""Instances' keys lie in a file as 8-byte integers: a million of them need no memory."""
_COLUMNS: Final = ("request_id", "instance_pk")


@dataclass(frozen=True)
class Located:
    """What the rows of a file name in one manifest."""

    root_id: str
    keys: Path
    """Of the instances, as they were met; an instance may be there several times."""
    source: ImportSource
    unknown: list[str]
    """The first of what is not in the manifest."""


def locate(session: Session, tenant_id: str, body: NewImport, file: Path, sha256: str) -> Located:
    """Look every row up; raises a Problem that names lines, for what cannot be carried out."""
    dates_of(body, database_now(session))
    target = target_of(session, tenant_id, body)
    look = _LookUp(session, target.version.root_id)
    keys = file.with_name("keys")
    rows = faults = subjects = 0
    first_faults: list[Fault] = []
    with keys.open("wb") as out:
        for chunk in _chunks(read(file, body.format)):
            rows += len(chunk)
            if rows > MOST_ROWS:
                raise Problem(413, "too-many-rows", f"an import has at most {MOST_ROWS} rows")
            good = [row for row in chunk if isinstance(row, Row)]
            faulty = [row for row in chunk if isinstance(row, Fault)]
            faults += len(faulty)
            first_faults += faulty[: MOST_NAMED - len(first_faults)]
            subjects += sum(row.is_subject for row in good)
            if not faults:  # what is refused anyway need not be looked up
                look.up(good, out)
    if faults:
        raise _bad_rows(first_faults, faults)
    if rows == 0:
        raise _bad_rows([Fault(1, "the file names nothing")], 1)
    if look.unknown and body.on_unknown == "refuse":
        raise _unknown_rows(look.first, look.unknown)
    source = ImportSource(
        format=body.format, sha256=sha256, rows=rows, subjects=subjects, unknown=look.unknown
    )
    unknown = [f"{UNKNOWN_SUBJECT}{row.id}" if row.is_subject else row.id for row in look.first]
    return Located(target.version.root_id, keys, source, unknown)


def receive(
    session: Session, tenant_id: str, body: NewImport, located: Located, actor: str
) -> DeletionRequest:
    """The new request, as `intake.receive` would have made it of the same ids.

    Its row keeps the file's digest and counts in the place of a million subjects; the instances
    still know whose they are. 409 where another manifest is in service since `locate`.
    """
    target = target_of(session, tenant_id, body)
    if target.version.root_id != located.root_id:
        raise Conflict(
            "version-changed",
            f"a version of model {target.model.name!r} with another manifest was put into service"
            " while this was read: send it again",
        )
    dates = dates_of(body, database_now(session))
    request = open_request(session, target, body, dates, actor)
    request.imported = located.source.model_dump(mode="json")
    request.unknown_instances = located.unknown
    session.add(request)
    session.flush()
    _name(session, request, located.keys)
    counts = cell_counts(session, {request.id: set(target.tasks)}, target.version)[request.id]
    request.instance_count = counts.instances
    decide(session, request, Found(target, *counts, unknown=located.unknown), actor)
    return request


@dataclass
class _LookUp:
    session: Session
    root_id: str
    unknown: int = 0
    """Rows that name what is not in the manifest."""
    first: list[Row] = field(default_factory=list)

    def up(self, rows: list[Row], out: BinaryIO) -> None:
        """Write the keys of what the rows name, and note those that name nothing."""
        unknown: set[tuple[bool, str]] = set()
        for is_subject, column in ((False, Instance.instance_id), (True, Instance.subject)):
            names = {row.id for row in rows if row.is_subject == is_subject}
            if names:
                names -= self._known(column, sorted(names), out)
            unknown.update((is_subject, name) for name in names)
        missing = [row for row in rows if (row.is_subject, row.id) in unknown]
        self.unknown += len(missing)
        self.first += missing[: MOST_NAMED - len(self.first)]

    def _known(
        self, column: InstrumentedAttribute[Any], names: list[str], out: BinaryIO
    ) -> set[str]:
        known: set[str] = set()
        found = select(Instance.pk, column).where(
            Instance.root_id == self.root_id, column.in_(names)
        )
        with self.session.execute(found.execution_options(yield_per=CHUNK)) as answer:
            for some in answer.partitions(CHUNK):
                array(_KEY, (pk for pk, _ in some)).tofile(out)
                known.update(name for _, name in some)
        return known


def _chunks(rows: Iterator[Row | Fault]) -> Iterator[list[Row | Fault]]:
    try:
        while chunk := list(islice(rows, CHUNK)):
            yield chunk
    except BadHeader as error:
        raise _bad_rows([Fault(1, str(error))], 1) from None


def _name(session: Session, request: DeletionRequest, keys: Path) -> None:
    """Write which instances the request names, each once."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    connection = session.connection()
    with keys.open("rb") as file:
        while raw := file.read(CHUNK * array(_KEY).itemsize):
            found = select(literal(request.id), Instance.pk).where(
                Instance.pk.in_(array(_KEY, raw))
            )
            rows = dialect.insert(RequestInstance).from_select(_COLUMNS, found)
            connection.execute(rows.on_conflict_do_nothing())
    # No row passed through the session, which would have noted whose set this is.
    note_set(session, RequestInstance, request.id)


def _bad_rows(faults: list[Fault], count: int) -> Problem:
    one = faults[0]
    what = "line" if count == 1 else "lines"
    return Problem(
        422,
        "bad-import",
        f"{count} {what} cannot be used, the first is line {one.line}: {one.detail}",
        errors=[FieldError(pointer=f"line:{line}", detail=detail) for line, detail in faults],
        lines=[fault.line for fault in faults],
        count=count,
    )


def _unknown_rows(rows: list[Row], count: int) -> Invalid:
    errors: list[FieldError] = [
        {"pointer": f"line:{row.line}", "detail": f"{row.id!r} is not in the manifest"}
        for row in rows
    ]
    what = "row names" if count == 1 else "rows name"
    return Invalid(
        errors[0]["pointer"],
        f"{count} {what} what is not in the manifest of the version in service:"
        f" {', '.join(repr(row.id) for row in rows)}{'' if count <= MOST_NAMED else ', ...'}",
        slug="unknown-instances",
        more=errors[1:],
        unknown=[row.id for row in rows],
        lines=[row.line for row in rows],
        unknown_count=count,
    )
