"""Legal holds as callers send and see them."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.schemas.fields import InstanceId, SubjectId, Text
from app.tables import LegalHold

_NEW: JsonDict = {
    "model": "street-parsing",
    "instances": ["img-0007"],
    "subjects": ["person-19"],
    "ground": "gdpr_art_17_3_e",
    "reason": "evidence in the case 4 O 118/26",
}
_ID = "0199a1b2c3d4e5f60718293a4b5c6d7e"
_VIEW: JsonDict = {
    **_NEW,
    "id": f"hold_{_ID}",
    "model": f"mod_{_ID}",
    "placed_by": f"key_{_ID}",
    "placed_at": "2026-03-04T09:00:00Z",
    "released_by": None,
    "released_at": None,
    "release_reason": None,
}


class NewLegalHold(BaseModel):
    """Instances or subjects that must not be erased for now (GDPR Art. 17(3))."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_NEW]})

    model: Annotated[Text, Field(min_length=1, max_length=63)] | None = None
    """The model's name or id; without it the hold is on all models."""
    instances: list[InstanceId] = Field(default=[], max_length=10_000)
    subjects: list[SubjectId] = Field(default=[], max_length=10_000)
    ground: Annotated[Text, Field(min_length=1, max_length=200)]
    """Such as `gdpr_art_17_3_e`."""
    reason: Annotated[Text, Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.instances and not self.subjects:
            raise ValueError("name at least one of `instances` and `subjects`")
        return self


class Release(BaseModel):
    """Ends a legal hold."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the case is closed"}]}
    )

    reason: Annotated[Text, Field(min_length=1, max_length=1000)]


class LegalHoldView(BaseModel):
    """A legal hold, in force until it is released."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_VIEW]})

    id: str
    model: str | None = Field(validation_alias="model_id")
    """The model's id; null for all models."""
    instances: list[str]
    subjects: list[str]
    ground: str
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None
    release_reason: str | None

    @classmethod
    def of(cls, row: LegalHold) -> Self:
        """The row as callers see it."""
        return cls.model_validate(row)
