"""`/v1/models/{model}/versions`: registered, listed and looked at."""

import logging
import math
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from app import multipart
from app.auth import Principal, Scope
from app.http import (
    OperationDep,
    Parts,
    PartsDep,
    ReadSession,
    answer,
    operation_of,
    requires,
)
from app.http_retired import retired_headers
from app.pagination import Items, PageDep, link_next
from app.problems import Invalid, Problem
from app.schemas.versions import AuditView, PurgeOrder, TagsView, VersionView, version_path
from app.services import registration, retention, versions
from app.services.cells import lineage
from app.services.lookup import find_model, find_version
from app.services.stored_weights import DamagedWeights
from app.services.version_tags import tags_of
from app.states import RETIRED_VERSION
from app.tables import Version

_log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/models/{model}/versions", tags=["versions"])

Reader = Annotated[
    Principal,
    Depends(
        requires(
            Scope.VERSIONS_READ,
            Scope.VERSIONS_DOWNLOAD,
            Scope.VERSIONS_FOLLOW,
            Scope.MODELS_WRITE,
        )
    ),
]
Writer = Annotated[Principal, Depends(requires(Scope.MODELS_WRITE))]

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["weights", "manifest"],
                    "additionalProperties": False,
                    "properties": {
                        "weights": {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                            "description": "safetensors, with exactly the network's tensors",
                        },
                        "manifest": {
                            "type": "string",
                            "contentMediaType": "application/jsonl",
                            "description": "JSON lines: id, and optionally subject, digest, tasks",
                        },
                        "weights_sha256": {
                            "type": "string",
                            "pattern": "^[0-9a-f]{64}$",
                            "description": "refused where the weights received have another one",
                        },
                        "training_seconds": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "description": "what training took; jobs report their share of it",
                        },
                        "parent": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 63,
                            "description": "the version that training went on from, by id, number"
                            " or alias; the method `rewind` may go back to it",
                        },
                    },
                },
                "example": {
                    "weights": "(the bytes of weights.safetensors)",
                    "manifest": '{"id": "img-0007", "subject": "person-19"}\n{"id": "img-0042"}\n'
                    '{"id": "img-0101", "subject": "person-20"}\n',
                    "training_seconds": 812.5,
                },
            }
        },
    }
}


@router.post("", status_code=201, response_model=VersionView, openapi_extra=_FORM)
async def register(model: str, request: Request, caller: Writer, parts: PartsDep) -> Response:
    """Register trained weights with the manifest of what they were trained on.

    Both files are streamed to disk and checked against the workload's description before anything
    is written to the database. The first version becomes the one in service. With an
    Idempotency-Key, two uploads are the same where the digests of both files are.
    """
    await to_thread.run_sync(_check_described, parts, caller, model)
    with parts.storage.workspace() as folder:
        form = await multipart.receive(
            request,
            folder,
            ("weights", "manifest"),
            ("weights_sha256", "training_seconds", "parent"),
        )
        upload = _upload(form)
        return await to_thread.run_sync(_register, request, parts, caller, model, upload)


@router.get("")
def list_all(
    model: str,
    caller: Reader,
    session: ReadSession,
    page: PageDep,
    request: Request,
    response: Response,
) -> Items[VersionView]:
    """A model's versions, newest first."""
    found = find_model(session, caller.tenant_id, model)
    rows = versions.page(session, found, page.limit + 1, page.after_number())
    shown, cursor = page.cut(rows, lambda version: version.number)
    link_next(request, response, cursor)
    return Items(items=versions.views(session, found, shown), next=cursor)


@router.get("/{version}")
def get(
    model: str, version: str, caller: Reader, session: ReadSession, response: Response
) -> VersionView:
    """One version, by id, number or alias.

    For a superseded one, headers tell since when (`Deprecation`), when its files will be deleted
    (`Sunset`), and what is in service instead (`Link`).
    """
    found = find_model(session, caller.tenant_id, model)
    wanted = find_version(session, found, version)
    response.headers.update(retired_headers(session, found, wanted))
    return versions.views(session, found, [wanted])[0]


@router.get("/{version}/tags")
def get_tags(model: str, version: str, caller: Reader, session: ReadSession) -> TagsView:
    """What to write on the version in a model registry, such as MLflow: text by name."""
    found = find_model(session, caller.tenant_id, model)
    return TagsView(tags=tags_of(session, found, find_version(session, found, version)))


@router.post("/{version}/purge", response_model=VersionView)
def purge(
    model: str,
    version: str,
    caller: Writer,
    parts: PartsDep,
    operation: OperationDep,
    body: PurgeOrder | None = None,
) -> Response:
    """Delete a superseded or rejected version's files for good, before the policy does.

    Its row, audit and receipts stay. What other versions need of its files is stored anew first. A
    version that an alias names, or that a running job starts from, is refused.
    """
    with parts.database.read() as session:
        found = find_model(session, caller.tenant_id, model)
        wanted = find_version(session, found, version)
    _made_whole(parts, wanted)

    reason = body.reason if body else None

    def work(session: Session) -> Response:
        row = session.get_one(Version, wanted.id)
        retention.purge(session, parts.weights, row, caller.name, reason)
        return answer(versions.views(session, found, [row])[0])

    answered = operation.run(work)
    retention.remove_files(parts.database, parts.weights, wanted.id, caller.name)
    return answered


@router.get("/{version}/lineage")
def get_lineage(
    model: str, version: str, caller: Reader, session: ReadSession
) -> Items[VersionView]:
    """From the registered version down to this one."""
    found = find_model(session, caller.tenant_id, model)
    line = lineage(session, find_version(session, found, version).id)
    return Items(items=versions.views(session, found, line))


@router.get("/{version}/audit")
def get_audit(model: str, version: str, caller: Reader, session: ReadSession) -> AuditView:
    """What was measured before the version was promoted or rejected."""
    found = find_model(session, caller.tenant_id, model)
    audit = versions.audit_of(session, find_version(session, found, version))
    return AuditView.model_validate(
        {
            "version": audit.version_id,
            "verdict": audit.verdict,
            "report": audit.report,
            "settings": audit.settings,
            "created_at": audit.created_at,
        }
    )


def _made_whole(parts: Parts, version: Version) -> None:
    """The slow part of a purge, for a version that can be purged at all."""
    if version.state not in RETIRED_VERSION:
        return
    try:
        retention.make_children_whole(parts.database, parts.weights, version.id)
    except DamagedWeights as error:
        _log.error("version %s cannot be purged: %s", version.id, error)
        raise Problem(500, "damaged-file", str(error)) from None


def _check_described(parts: Parts, caller: Principal, model: str) -> None:
    with parts.database.read() as session:
        registration.described(find_model(session, caller.tenant_id, model))


def _upload(form: multipart.Form) -> registration.Upload:
    weights, manifest = form.files["weights"], form.files["manifest"]
    wanted = form.fields.get("weights_sha256", weights.sha256)
    if wanted != weights.sha256:
        detail = f"the weights received have the sha256 {weights.sha256}, not {wanted:.64}"
        raise Invalid("#/weights_sha256", detail, slug="digest-mismatch")
    return registration.Upload(
        weights=weights.path,
        weights_sha256=weights.sha256,
        weights_size=weights.size,
        manifest=manifest.path,
        manifest_sha256=manifest.sha256,
        training_seconds=_seconds(form.fields.get("training_seconds")),
        parent=form.fields.get("parent"),
    )


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 and math.isfinite(seconds)):
        raise Invalid("#/training_seconds", f"training_seconds {text!r:.40} is no number above 0")
    return seconds


def _register(
    request: Request, parts: Parts, caller: Principal, model: str, upload: registration.Upload
) -> Response:
    content = (
        f"{upload.weights_sha256} {upload.manifest_sha256} {upload.training_seconds}"
        f" {upload.parent}"
    )
    operation = operation_of(request, parts, caller, content.encode())

    def work(session: Session) -> Response:
        found = find_model(session, caller.tenant_id, model)
        version = registration.register(
            session, parts.storage, found, upload, instances, caller.name
        )
        view = versions.views(session, found, [version])[0]
        return answer(view, 201, Location=version_path(found, version))

    with operation.hold():
        with parts.database.read() as session:
            first = operation.replay(session)
            if first is not None:
                return first
            found = find_model(session, caller.tenant_id, model)
            description = registration.described(found)
        instances = registration.check(upload, description)
        return operation.run(work)
