"""A first version: its weights and manifest checked, then all of it written in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.problems import Conflict, Invalid, NotFound, Problem, Unavailable
from app.schemas.models import Policy
from app.services import manifest_check, weights_check
from app.services.attempts import lock_ledger
from app.services.lookup import find_version
from app.services.manifest_check import BadManifest
from app.services.promotion import find_alias, move_alias
from app.services.reopening import tombstones
from app.services.weights_check import BadWeights
from app.states import VersionState
from app.storage import Storage
from app.tables import Instance, Model, Version
from engine.spec import WorkloadDescription

_BATCH = 2000
_MOST_NAMED = 20


@dataclass(frozen=True)
class Upload:
    """Files that were received, with their digests, and what their owner says of them."""

    weights: Path
    weights_sha256: str
    weights_size: int
    manifest: Path
    manifest_sha256: str
    training_seconds: float | None
    parent: str | None
    """The version that training went on from: its id, number or alias."""


def described(model: Model) -> WorkloadDescription:
    """What uploads are checked against; 409 where no worker has described the workload yet."""
    if model.archived_at is not None:
        raise Conflict("model-archived", f"model {model.name!r} is archived")
    if model.description is None:
        raise Conflict(
            "workload-not-described",
            f"no worker has described the workload {model.workload!r} yet: try again in a moment",
            headers={"Retry-After": "1"},
        )
    return WorkloadDescription.model_validate(model.description)


def check(upload: Upload, description: WorkloadDescription) -> int:
    """How many instances the manifest names; raises 422 with what is wrong with either file."""
    try:
        weights_check.check(upload.weights, description.tensors)
    except BadWeights as error:
        raise Invalid("#/weights", str(error), slug="bad-weights") from None
    try:
        return manifest_check.check(upload.manifest, _tasks(description))
    except BadManifest as error:
        raise Problem(
            422,
            "bad-manifest",
            str(error),
            errors=[
                {"pointer": "#/manifest", "detail": f"line {number}: {detail}"}
                for number, detail in error.errors
            ],
            lines=[number for number, _ in error.errors],
            count=error.count,
        ) from None


def register(
    session: Session,
    storage: Storage,
    model: Model,
    upload: Upload,
    instances: int,
    actor: str,
) -> Version:
    """The new version of a checked upload; the first one is put into service.

    The weights move into storage first: a file that no row names does no harm, a row without its
    file would.
    """
    storage.adopt(upload.weights, upload.weights_sha256)
    lock_ledger(session, model.tenant_id)
    if not storage.exists(upload.weights_sha256):
        raise Unavailable("a version with the same file was purged meanwhile: send it once more")
    parent = _parent(session, model, upload.parent)
    newest = session.scalar(select(func.max(Version.number)).where(Version.model_id == model.id))
    version_id = new_id("ver")
    version = Version(
        id=version_id,
        tenant_id=model.tenant_id,
        model_id=model.id,
        number=(newest or 0) + 1,
        parent_id=parent.id if parent else None,
        root_id=version_id,
        state=VersionState.VERIFIED,
        weights_sha256=upload.weights_sha256,
        weights_size=upload.weights_size,
        training_seconds=upload.training_seconds,
        created_at=database_now(session),
    )
    session.add(version)
    session.flush()
    _add_instances(session, version, upload.manifest, _tasks(described(model)))
    told = {
        "model": model.id,
        "number": version.number,
        "sha256": upload.weights_sha256,
        "size": upload.weights_size,
        "manifest_sha256": upload.manifest_sha256,
        "instances": instances,
    }
    if parent:
        told["parent"] = parent.id
    ledger.append(session, model.tenant_id, "version.registered", version.id, actor, told)
    alias = Policy.model_validate(model.policy).promote_alias
    _check_tombstones(session, model, version, actor)
    if find_alias(session, model, alias) is None:
        reason = "first registered version"
        move_alias(session, model, alias, version, actor, if_match=None, reason=reason)
    return version


def _check_tombstones(session: Session, model: Model, version: Version, actor: str) -> None:
    """422 where the manifest names what was forgotten, unless the policy takes it for later."""
    cells = tombstones(session, version)
    if not cells:
        return
    if Policy.model_validate(model.policy).on_forgotten_upload == "refuse":
        named = ", ".join(f"{instance!r} for {task!r}" for instance, task in cells[:_MOST_NAMED])
        raise Invalid(
            "#/manifest",
            f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'} of the manifest were forgotten"
            f" before: {named}{', ...' if len(cells) > _MOST_NAMED else ''}; train without them",
            slug="forgotten-cells",
            cells=[{"instance": instance, "task": task} for instance, task in cells[:_MOST_NAMED]],
            count=len(cells),
        )
    told = {"cells": len(cells)}
    ledger.append(session, model.tenant_id, "version.names_forgotten", version.id, actor, told)


def _parent(session: Session, model: Model, ref: str | None) -> Version | None:
    """The version of this name; 422 where there is none, or none any more."""
    if ref is None:
        return None
    try:
        parent = find_version(session, model, ref)
    except NotFound as error:
        raise Invalid("#/parent", error.detail) from None
    if parent.state == VersionState.PURGED:
        raise Invalid("#/parent", f"version {parent.number} was purged")
    return parent


def _add_instances(session: Session, version: Version, file: Path, tasks: Sequence[str]) -> None:
    lines = manifest_check.read(file, tasks)
    while batch := list(islice(lines, _BATCH)):
        session.execute(
            insert(Instance),
            [
                {
                    "root_id": version.id,
                    "instance_id": line.id,
                    "subject": line.subject,
                    "digest": line.digest,
                    "tasks": line.tasks,
                }
                for line in batch
            ],
        )


def _tasks(description: WorkloadDescription) -> list[str]:
    return [task.name for task in description.tasks]
