"""Signed receipts: an in-toto statement in a DSSE envelope, kept byte for byte as it was signed."""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.merkle import cell_key, cell_leaves, cells_root, inclusion_path, merkle_root
from app.problems import Problem
from app.schemas.models import Policy
from app.schemas.receipts import (
    CellOpening,
    Digest,
    ReceiptAudit,
    ReceiptPredicate,
    ReceiptRequest,
    ReceiptVersion,
    Statement,
    Subject,
)
from app.services.cells import cells_of, cells_of_each
from app.services.signing_keys import signing_now
from app.signing import Signer
from app.tables import DeletionRequest, Model, Receipt, Version
from engine.spec import AuditReport, CellAudit, JobResult, Verdict
from expunge.canonical import canonical_json
from expunge.dsse import IN_TOTO, envelope


def issue_receipts(
    session: Session,
    requests: Sequence[DeletionRequest],
    version: Version,
    result: JobResult,
    signer: Signer,
) -> None:
    """Receipts of requests that have just reached their outcome, in the caller's transaction.

    Call it after the version and the requests were moved to their last states, which they state.
    """
    signer = signing_now(session, signer)
    model = session.get_one(Model, version.model_id)
    parent = session.get(Version, version.parent_id) if version.parent_id else None
    confidence = Policy.model_validate(model.policy).thresholds.confidence
    audited = cells_by_request(result.audit)
    subject = Subject(
        name=f"{model.name}/{version.id}/weights.safetensors",
        digest=Digest(sha256=version.weights_sha256),
    )
    for request, cells in cells_of_each(session, requests):
        salt = secrets.token_bytes(32)
        now = database_now(session)
        predicate = ReceiptPredicate(
            request=_stated(request, now, salt, [(one.instance_id, task) for one, task in cells]),
            model=model.name,
            parent=_named(parent) if parent else None,
            version=_named(version),
            version_state=version.state,
            job=result.job_id,
            method=result.method,
            settings=result.settings,
            seed=result.seed,
            audit=ReceiptAudit(
                verdict=_verdict(audited[request.id]),
                cells=tuple(audited[request.id]),
                reference=result.audit.reference,
                confidence=confidence,
                notes=result.audit.notes,
            ),
            versions=result.versions,
        )
        statement = Statement(subject=(subject,), predicate=predicate)
        payload = canonical_json(statement.model_dump(mode="json", by_alias=True))
        signed = canonical_json(envelope(IN_TOTO, payload, signer.key_id, signer.sign))
        receipt = Receipt(
            id=new_id("rcp"),
            tenant_id=request.tenant_id,
            request_id=request.id,
            version_id=version.id,
            envelope=signed.decode(),
            cells_salt=salt,
            created_at=now,
        )
        session.add(receipt)
        told = {"receipt": receipt.id, "sha256": hashlib.sha256(signed).hexdigest()}
        ledger.append(session, request.tenant_id, "receipt.issued", request.id, "service", told)


def cells_by_request(audit: AuditReport) -> Mapping[str, list[CellAudit]]:
    """The audited cells of each request; a request without any has an empty list."""
    found: dict[str, list[CellAudit]] = defaultdict(list)
    for cell in audit.cells:
        found[cell.request_id].append(cell)
    return found


def receipt_of(session: Session, request_id: str) -> Receipt | None:
    """A request's newest receipt; a retried request has one for each time it was carried out."""
    return session.scalar(
        select(Receipt).where(Receipt.request_id == request_id).order_by(Receipt.id.desc()).limit(1)
    )


def open_cell(
    session: Session, request: DeletionRequest, receipt: Receipt, instance: str, task: str
) -> CellOpening:
    """What shows that a cell is in the receipt; 404 for one that is not."""
    cells = sorted({(one.instance_id, name) for one, name in cells_of(session, request)})
    if (instance, task) not in cells:
        raise Problem(404, "not-found", "the receipt commits to no such instance and task")
    index = cells.index((instance, task))
    leaves = cell_leaves(receipt.cells_salt, cells)
    path = inclusion_path(index, len(cells), lambda begin, end: merkle_root(leaves[begin:end]))
    return CellOpening(
        instance=instance,
        task=task,
        key=cell_key(receipt.cells_salt, instance, task).hex(),
        index=index,
        size=len(cells),
        path=[step.hex() for step in path],
    )


def _stated(
    request: DeletionRequest, at: datetime, salt: bytes, cells: Sequence[tuple[str, str]]
) -> ReceiptRequest:
    return ReceiptRequest(
        id=request.id,
        external_id=request.external_id,
        reason=request.reason,
        received_at=request.received_at,
        due_at=request.due_at,
        completed_at=at,
        outcome=request.state,
        scope=request.scope,
        tasks=tuple(request.tasks),
        instance_count=request.instance_count,
        unknown_instance_count=request.unknown_count,
        cells_count=len(cells),
        cells_digest=cells_root(salt, cells),
    )


def _named(version: Version) -> ReceiptVersion:
    return ReceiptVersion(version=version.id, sha256=version.weights_sha256)


def _verdict(cells: Sequence[CellAudit]) -> Verdict:
    """The worst of a request's cells; nothing measured decides nothing."""
    verdicts = {cell.verdict for cell in cells}
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts == {"pass"} else "inconclusive"
