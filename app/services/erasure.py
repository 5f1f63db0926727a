"""A subject's id taken out of every row, and the key of its pseudonym destroyed.

The ledger holds pseudonyms only, so it verifies as before; afterwards nobody can tell whose this
one is. What was forgotten stays forgotten, and instances keep their own ids.
"""

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import ledger
from app.coverage import UNKNOWN_SUBJECT
from app.problems import Conflict, Problem
from app.pseudonyms import erased, erased_name, pseudonym
from app.services.attempts import lock_ledger
from app.states import FINISHED_REQUEST
from app.tables import (
    DeletionRequest,
    IdempotencyKey,
    Instance,
    LegalHold,
    SubjectKey,
    Version,
)


@dataclass(frozen=True)
class Erased:
    """What stands in a subject's place now, and where it was put."""

    pseudonym: str
    instances: int
    requests: int


def erase_subject(session: Session, tenant_id: str, subject: str, actor: str) -> Erased:
    """Replace a subject's id by its pseudonym everywhere, for good.

    404 for a subject that is not on record; 409 while a request or legal hold that names it
    is not at its end.
    """
    lock_ledger(session, tenant_id)
    key = session.get(SubjectKey, (tenant_id, subject))
    if key is None or erased_name(subject) is not None:
        raise Problem(404, "not-found", "there is no such subject on record")
    requests = session.scalars(
        select(DeletionRequest).where(
            DeletionRequest.tenant_id == tenant_id,
            _holds(session, DeletionRequest.subjects, subject)
            | _holds(session, DeletionRequest.unknown_instances, UNKNOWN_SUBJECT + subject),
        )
    ).all()
    unfinished = [request.id for request in requests if request.state not in FINISHED_REQUEST]
    if unfinished:
        raise Conflict(
            "unfinished-requests",
            f"{len(unfinished)} requests name this subject and are not finished",
            requests=unfinished[:20],
        )
    holds = session.scalars(
        select(LegalHold).where(
            LegalHold.tenant_id == tenant_id, _holds(session, LegalHold.subjects, subject)
        )
    ).all()
    in_force = [hold.id for hold in holds if hold.released_at is None]
    if in_force:
        raise Conflict(
            "legal-hold",
            f"{len(in_force)} legal holds name this subject and are not released",
            holds=in_force[:20],
        )
    name = pseudonym(key.key, subject)
    for hold in holds:
        hold.subjects = _replaced(hold.subjects, subject, erased(name))
    for request in requests:
        request.subjects = _replaced(request.subjects, subject, erased(name))
        request.unknown_instances = _replaced(
            request.unknown_instances, UNKNOWN_SUBJECT + subject, UNKNOWN_SUBJECT + erased(name)
        )
    from app.opendsr import digests  # noqa: PLC0415 - NumPy takes a while to import

    digests.forget(session, tenant_id, subject)
    versions = select(Version.id).where(Version.tenant_id == tenant_id)
    theirs = Instance.subject == subject, Instance.root_id.in_(versions)
    instances = session.scalar(select(func.count()).select_from(Instance).where(*theirs)) or 0
    session.execute(
        update(Instance)
        .where(*theirs)
        .values(subject=erased(name))
        .execution_options(synchronize_session=False)
    )
    _forget_answers(session, tenant_id, subject)
    session.delete(key)
    done = Erased(name, instances, len(requests))
    told = {"instances": done.instances, "requests": done.requests}
    ledger.append(session, tenant_id, "subject.erased", name, actor, told)
    return done


def _holds(
    session: Session, column: InstrumentedAttribute[list[str]], entry: str
) -> ColumnElement[bool]:
    """Whether a JSON list holds this string."""
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    each = func.json_each if on_sqlite else func.jsonb_array_elements_text
    entries = each(column).table_valued("value")
    return exists(select(entries.c.value).where(entries.c.value == entry))


def _replaced(entries: list[str], old: str, new: str) -> list[str]:
    return [new if entry == old else entry for entry in entries]


def _forget_answers(session: Session, tenant_id: str, subject: str) -> None:
    """Answers that are kept for repetitions may show the subject."""
    shown = json.dumps(subject, ensure_ascii=False)
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.tenant_id == tenant_id,
            IdempotencyKey.body.contains(shown, autoescape=True),
        )
    )
