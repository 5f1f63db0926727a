"""Which rows the ledger covers, and why it leaves the others out.

A covered row's every column is sealed in the ledger when a transaction changes it, but for those
of `LEFT_OUT_COLUMNS`. Some tables are sealed as a set: all rows that belong to one owner, at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, class_mapper

from app.tables import (
    Alias,
    Approval,
    Attempt,
    Audit,
    Base,
    DeletionRequest,
    ForgottenCell,
    Instance,
    Job,
    JobRequest,
    LegalHold,
    Model,
    Receipt,
    RequestInstance,
    Version,
)

LEFT_OUT_TABLES: Mapping[str, str] = {
    "tenants": "made by whoever installs the service; every other row names its tenant",
    "api_keys": "who may call, not what was done; making and revoking one are events",
    "ledger_events": "the chain itself, checked link by link",
    "ledger_heads": "checked against the chain's end and against heads kept elsewhere",
    "ledger_seals": "each is named by digest in its event",
    "ledger_tiles": "computed again from the events",
    "subject_keys": "made to be erased; an altered key fails every row that names its subject",
    "signing_keys": "public keys; whoever verifies brings their own copy",
    "outbox": "doorbells, deleted when they have rung",
    "idempotency_keys": "answers kept for a day",
    "downloads": "written by readers, who would have to take turns at the ledger",
    "workers": "signs of life",
    "webhook_endpoints": "whom to tell, not what was done; making and changing one are events",
    "dsr_requests": "which deletion requests a controller's one became; those are covered",
    "dsr_cursors": "only say up to which event callbacks were made",
    "dsr_subject_digests": "computed from manifests, which are covered",
    "dsr_callbacks": "follow from the states of deletion requests, which are covered",
    "webhook_deliveries": "follow from events, and their replays from what receivers answer",
}

LEFT_OUT_COLUMNS: Mapping[tuple[str, str], str] = {
    ("jobs", "lease_owner"): "the attempt names its worker; leases come and go with heartbeats",
    ("jobs", "lease_expires_at"): "moved by every heartbeat",
    ("jobs", "progress"): "written by every heartbeat, empty in the end",
    ("jobs", "not_before"): "only says when a worker may look at the job",
    ("jobs", "waiting"): "counted from the requests that the job serves, which are covered",
}


@dataclass(frozen=True)
class Owner:
    """A row's way to its tenant: a column of its own, and the table that it names."""

    column: InstrumentedAttribute[Any]
    table: type[Base]


ROWS: Mapping[type[Base], Owner | None] = {
    Model: None,
    Version: None,
    Alias: Owner(Alias.model_id, Model),
    DeletionRequest: None,
    Approval: Owner(Approval.request_id, DeletionRequest),
    LegalHold: None,
    Job: None,
    JobRequest: Owner(JobRequest.job_id, Job),
    Attempt: Owner(Attempt.job_id, Job),
    Audit: Owner(Audit.version_id, Version),
    Receipt: None,
}
"""Sealed row by row. None: the row itself names its tenant."""

SETS: Mapping[type[Base], Owner] = {
    Instance: Owner(Instance.root_id, Version),
    RequestInstance: Owner(RequestInstance.request_id, DeletionRequest),
    ForgottenCell: Owner(ForgottenCell.version_id, Version),
}
"""Written once, many at a time: sealed as one set for each owner."""

MEMBERS: Mapping[type[Base], Sequence[InstrumentedAttribute[Any]]] = {
    Instance: (
        Instance.pk,
        Instance.instance_id,
        Instance.digest,
        Instance.tasks,
        Instance.subject,
    ),
    RequestInstance: (RequestInstance.instance_pk,),
    ForgottenCell: (ForgottenCell.instance_pk, ForgottenCell.task, ForgottenCell.request_id),
}
"""What is sealed of a set's members, in the order in which they are sorted."""

NAMES_SUBJECTS = frozenset(
    {
        ("deletion_requests", "subjects"),
        ("deletion_requests", "unknown_instances"),
        ("legal_holds", "subjects"),
    }
)
"""Columns that are sealed with pseudonyms in the place of subjects."""
UNKNOWN_SUBJECT = "subject:"
"""How `unknown_instances` marks that an entry is a subject."""


@cache
def columns_of(table: type[Base]) -> Sequence[str]:
    """The covered columns besides the key, which is part of a sealed row's name."""
    mapper = class_mapper(table)
    keys = {column.name for column in mapper.primary_key}
    left_out = {column for name, column in LEFT_OUT_COLUMNS if name == table.__tablename__}
    return tuple(column.name for column in mapper.columns if column.name not in keys | left_out)


def key_of(row: Base) -> str:
    """A row's key as one string: `mod_.../production` for an alias."""
    return "/".join(str(getattr(row, name)) for name in _key_columns(type(row)))


@cache
def _key_columns(table: type[Base]) -> Sequence[str]:
    return tuple(column.name for column in class_mapper(table).primary_key)


def tenant_of(session: Session, row: Base) -> str | None:
    """Whose row it is; None where its owner is gone."""
    owner = ROWS[type(row)]
    if owner is None:
        return str(row.tenant_id)  # type: ignore[attr-defined]  # ROWS says that it has one
    return tenant_of_owner(session, owner, getattr(row, owner.column.key))


def tenant_of_owner(session: Session, owner: Owner, key: str) -> str | None:
    """Whose row the owner with this key is; None where there is none."""
    found = session.get(owner.table, key)
    return str(found.tenant_id) if found is not None else None  # type: ignore[attr-defined]


def rows_of(table: type[Base], tenant_id: str) -> Select[Any]:
    """A tenant's rows of a covered table, with every column raw in the table's order."""
    columns = class_mapper(table).columns
    owner = ROWS[table]
    if owner is None:
        return select(*columns).where(columns["tenant_id"] == tenant_id)
    parent = class_mapper(owner.table).columns
    rows = select(*columns).join(owner.table, parent["id"] == owner.column)
    return rows.where(parent["tenant_id"] == tenant_id)


def owners_of(table: type[Base], tenant_id: str) -> Select[Any]:
    """The keys of a tenant's rows that own members of a set."""
    owner = SETS[table]
    parent = class_mapper(owner.table).columns
    keys = select(owner.column).join(owner.table, parent["id"] == owner.column)
    return keys.where(parent["tenant_id"] == tenant_id).distinct()
