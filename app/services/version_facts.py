"""What the database knows for good about a version, for the documents beside its weights."""

import hashlib

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.documents.facts import Ancestor, Facts, Issued
from app.services.cells import forgotten_in
from app.services.registration import described
from app.tables import Audit, Instance, Job, Model, Receipt, Version
from engine.spec import AuditReport


def facts_of(session: Session, model: Model, version: Version) -> Facts:
    """All that the documents of a version are made of."""
    parent = session.get(Version, version.parent_id) if version.parent_id else None
    audit = session.scalar(select(Audit).where(Audit.version_id == version.id))
    cells = forgotten_in(session, version.id).subquery()
    by_task = select(cells.c.task, func.count()).group_by(cells.c.task)
    forgotten: dict[str, int] = dict(session.execute(by_task).all())
    description = described(model)
    instances = select(func.count()).where(Instance.root_id == version.root_id)
    return Facts(
        model=model.name,
        workload=model.workload,
        description=description,
        version=version.id,
        number=version.number,
        created_at=version.created_at,
        weights_sha256=version.weights_sha256,
        weights_size=version.weights_size,
        method=version.method,
        seed=session.scalar(select(Job.seed).where(Job.id == version.job_id)),
        parent=Ancestor(parent.id, parent.number, parent.weights_sha256) if parent else None,
        root=version.root_id,
        instances=session.scalars(instances).one(),
        forgotten={task.name: forgotten.get(task.name, 0) for task in description.tasks},
        audit=AuditReport.model_validate(audit.report) if audit else None,
        receipts=receipts_of(session, version),
    )


def receipts_of(session: Session, version: Version) -> list[Issued]:
    """The receipts of what was carried out in a version, in the order of their issue."""
    rows = select(Receipt).where(Receipt.version_id == version.id).order_by(Receipt.id)
    return [
        Issued(row.request_id, row.id, hashlib.sha256(row.envelope.encode()).hexdigest())
        for row in session.scalars(rows)
    ]
