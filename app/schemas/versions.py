"""Versions, audits, manifests and recipients as callers see them."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.fields import Text
from app.schemas.models import ModelRef, Policy
from app.states import RETIRED_VERSION, VersionState
from app.tables import Model, Version
from engine.spec import WEIGHTS_FILE, AuditReport, Verdict

_ID = "ver_0199a1b2c3d4e5f60718293a4b5c6d7f"


class Weights(BaseModel):
    """A version's file."""

    sha256: str
    size: int
    """In bytes."""
    href: str


class Stored(BaseModel):
    """How a version's file is kept; it is served whole and the same either way."""

    kind: Literal["full", "delta"]
    size: int
    """Bytes that it takes: of the file, or of the delta."""
    base: str | None
    """The version that the delta is from."""
    chain_length: int
    """Deltas from the nearest whole file to this one; 0: it is whole itself."""


class VersionView(BaseModel):
    """Immutable weights of a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "model": {"id": "mod_0199a1b2c3d4e5f60718293a4b5c6d7e", "name": "street"},
                    "number": 1,
                    "parent": None,
                    "root": _ID,
                    "state": "verified",
                    "method": None,
                    "verdict": None,
                    "weights": {
                        "sha256": "9f86d081884c7d65" * 4,
                        "size": 1_048_576,
                        "href": f"/v1/models/street/versions/{_ID}/files/{WEIGHTS_FILE}",
                    },
                    "stored": {
                        "kind": "full",
                        "size": 1_048_576,
                        "base": None,
                        "chain_length": 0,
                    },
                    "training_seconds": 812.5,
                    "job": None,
                    "aliases": ["production"],
                    "created_at": "2026-03-04T09:00:00Z",
                    "retired_at": None,
                    "purge_at": None,
                }
            ]
        }
    )

    id: str
    model: ModelRef
    number: int
    parent: str | None
    root: str
    state: VersionState
    method: str | None
    """What made it; null for one that its owner registered."""
    verdict: Verdict | None
    weights: Weights
    stored: Stored
    training_seconds: float | None
    job: str | None
    aliases: list[str]
    created_at: datetime
    retired_at: datetime | None
    """When it was superseded or rejected."""
    purge_at: datetime | None
    """When its files are deleted by the policy; null where nothing is planned."""

    @classmethod
    def of(
        cls,
        version: Version,
        model: Model,
        aliases: list[str],
        verdict: str | None,
        chain_length: int,
    ) -> Self:
        """The row as callers see it."""
        return cls.model_validate(
            {
                "id": version.id,
                "model": {"id": model.id, "name": model.name},
                "number": version.number,
                "parent": version.parent_id,
                "root": version.root_id,
                "state": version.state,
                "method": version.method,
                "verdict": verdict,
                "weights": {
                    "sha256": version.weights_sha256,
                    "size": version.weights_size,
                    "href": f"{version_path(model, version)}/files/{WEIGHTS_FILE}",
                },
                "stored": {
                    "kind": "full" if version.base_version_id is None else "delta",
                    "size": version.weights_size
                    if version.delta_size is None
                    else version.delta_size,
                    "base": version.base_version_id,
                    "chain_length": chain_length,
                },
                "training_seconds": version.training_seconds,
                "job": version.job_id,
                "aliases": aliases,
                "created_at": version.created_at,
                "retired_at": version.retired_at,
                "purge_at": purge_time(version, model) if not aliases else None,
            }
        )


def purge_time(version: Version, model: Model) -> datetime | None:
    """When the policy has the files of a version deleted that no alias names; None: never."""
    days = Policy.model_validate(model.policy).purge_after_days
    if version.state not in RETIRED_VERSION or version.retired_at is None or days is None:
        return None
    return version.retired_at + timedelta(days=days)


class PurgeOrder(BaseModel):
    """Why a version's files are to be deleted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "the backups' retention has ended"}]},
    )

    reason: Annotated[Text, Field(max_length=1000)] | None = None


class AuditView(BaseModel):
    """What was measured before a version was promoted or rejected."""

    version: str
    verdict: Verdict
    report: AuditReport
    settings: dict[str, JsonValue]
    """Every constant that the method ended up with."""
    created_at: datetime


class ManifestItem(BaseModel):
    """An instance that a version was trained on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "img-0007",
                    "subject": "person-19",
                    "digest": None,
                    "tasks": ["garments", "parts"],
                    "forgotten": ["garments"],
                }
            ]
        }
    )

    id: str
    subject: str | None
    digest: str | None
    tasks: list[str]
    """For which it carried labels."""
    forgotten: list[str]
    """Those of `tasks` for which the version has forgotten it."""


class FileView(BaseModel):
    """A file of a version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "README.md",
                    "media_type": "text/markdown; charset=utf-8",
                    "size": 2048,
                    "sha256": "9f86d081884c7d65" * 4,
                    "href": f"/v1/models/street/versions/{_ID}/files/README.md",
                }
            ]
        }
    )

    name: str
    media_type: str
    size: int
    """In bytes."""
    sha256: str
    href: str


class FilesView(BaseModel):
    """All files of a version."""

    items: list[FileView]


class TagsView(BaseModel):
    """What a model registry is told of a version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tags": {
                        "expunge.model": "street-parsing",
                        "expunge.receipt_sha256": "9f86d081884c7d65" * 4,
                        "expunge.verdict": "pass",
                        "expunge.version": _ID,
                    }
                }
            ]
        }
    )

    tags: dict[str, str]


class RecipientView(BaseModel):
    """Somebody who took a version's file, and is to be told of erasures (GDPR, Art. 19)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": _ID,
                    "file": WEIGHTS_FILE,
                    "principal": "key_0199a1b2c3d4e5f60718293a4b5c6d7e",
                    "at": "2026-03-04T09:00:00Z",
                }
            ]
        }
    )

    version: str
    file: str
    principal: str
    at: datetime


def version_path(model: Model, version: Version) -> str:
    """Where a version is found."""
    return f"/v1/models/{model.name}/versions/{version.id}"
