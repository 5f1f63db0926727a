"""Models and their policy as callers send and see them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.fields import Text
from app.tables import Model
from engine.spec import Thresholds, WorkloadDescription

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
        description="lower-case letters, digits, `.`, `_` and `-`; at most 63",
    ),
]
NAME_EXAMPLE = "street-parsing"


class Policy(BaseModel):
    """What the service may do with a model by itself, how, and what it holds the result to."""

    model_config = ConfigDict(extra="forbid")

    approval: Literal["automatic", "one_person", "two_persons"] = "automatic"
    """Who must approve each request before it is carried out; two persons are two API keys, neither
    of which made the request."""
    max_automatic_share: float = Field(0.5, ge=0, le=1)
    """A request over this share of the training data is held for approval in any case."""
    max_automatic_priority: Literal["low", "normal", "high"] = "high"
    """So is a request of a higher priority than this."""
    window_seconds: float = Field(0, ge=0, le=31 * 86400)
    """How long a job waits for further requests to join it. Not beyond three days before its first
    deadline, and not once a request of high priority is in it."""
    method: Annotated[Text, Field(min_length=1, max_length=100)] = "interference_aware"
    method_settings: dict[str, JsonValue] = {}
    when_retraining_is_cheaper: Literal["propose", "retrain", "proceed"] = "propose"
    """Where a job is estimated to cost more than training from scratch: carry on with the method
    and show the proposal; or take the method `retrain` for the job; or say nothing."""
    fallback: Literal["none", "rewind", "retrain"] = "none"
    """What to try next, once, where the audit of the method's version does not pass; `rewind` only
    where an ancestor has not seen what is to be forgotten."""
    thresholds: Thresholds = Thresholds()
    promote_alias: Name = "production"
    """The alias that names the version in service; it moves when an audit passes."""
    on_inconclusive: Literal["hold", "promote"] = "hold"
    """What to do with a version whose audit cannot decide."""
    on_forgotten_upload: Literal["refuse", "requeue"] = "refuse"
    """What to do with an uploaded version whose manifest names what was forgotten before: refuse
    it, or have that forgotten anew as soon as the version is put into service."""
    purge_after_days: float | None = Field(30, ge=0, le=36525)
    """A superseded or rejected version is a backup of what was forgotten: its files are deleted so
    long after it went out of service, unless an alias names it. Null: only when somebody asks."""
    consecutive_downloads: Literal["refuse", "allow"] = "refuse"
    """Whether one caller may take the weights of a version and of the one made from it: their
    difference shows what was forgotten. Who has the scope `versions:follow` or `admin` may anyway.
    """


class NewModel(BaseModel):
    """A network to be managed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": NAME_EXAMPLE,
                    "workload": "arrays",
                    "workload_options": {"path": "/data/street"},
                    "policy": {"approval": "one_person", "window_seconds": 3600},
                }
            ]
        },
    )

    name: Name
    workload: Annotated[Text, Field(min_length=1, max_length=100)]
    """The plug-in's name, as installed on the workers."""
    workload_options: dict[str, JsonValue] = {}
    """Given to the plug-in as keywords."""
    policy: Policy = Policy()


class ModelPatch(BaseModel):
    """What to change of a model; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"policy": {"approval": "automatic"}}]},
    )

    name: Name | None = None
    policy: dict[str, JsonValue] | None = None
    """Members of the policy to replace."""


class ModelView(BaseModel):
    """A model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "mod_0199a1b2c3d4e5f60718293a4b5c6d7e",
                    "name": NAME_EXAMPLE,
                    "workload": "arrays",
                    "workload_options": {"path": "/data/street"},
                    "policy": Policy().model_dump(mode="json"),
                    "description": None,
                    "aliases": {"production": "ver_0199a1b2c3d4e5f60718293a4b5c6d7f"},
                    "created_at": "2026-03-04T09:00:00Z",
                    "archived_at": None,
                }
            ]
        }
    )

    id: str
    name: str
    workload: str
    workload_options: dict[str, JsonValue]
    policy: Policy
    description: WorkloadDescription | None
    """Null until a worker has asked the workload."""
    aliases: dict[str, str]
    """Version ids by alias."""
    created_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, model: Model, aliases: dict[str, str]) -> Self:
        """The row as callers see it."""
        return cls(
            id=model.id,
            name=model.name,
            workload=model.workload,
            workload_options=model.workload_options,
            policy=Policy.model_validate(model.policy),
            description=(
                WorkloadDescription.model_validate(model.description) if model.description else None
            ),
            aliases=aliases,
            created_at=model.created_at,
            archived_at=model.archived_at,
        )


class ModelRef(BaseModel):
    """A model by both its names."""

    id: str
    name: str


class NewAliasTarget(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "version": "ver_0199a1b2c3d4e5f60718293a4b5c6d7f",
                    "reason": "rolled back: complaints about version 3",
                }
            ]
        },
    )

    version: Annotated[Text, Field(min_length=1, max_length=63)]
    """The version's id or number."""
    reason: Annotated[Text, Field(max_length=1000)] | None = None


class AliasView(BaseModel):
    """A movable name for a version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "production",
                    "version": "ver_0199a1b2c3d4e5f60718293a4b5c6d7f",
                    "revision": 2,
                    "reopened": [],
                }
            ]
        }
    )

    name: str
    version: str
    revision: int
    """Also the ETag, for `If-Match`."""
    reopened: list[str] = []
    """The requests that this move has carried out again: the version before had forgotten what they
    asked for, this one has not."""
