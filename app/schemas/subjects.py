"""Erasing a subject's id as callers ask for it and see it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.fields import Text

_PSEUDONYM = "sub_9f86d081884c7d659a2feaa0c55ad015"


class SubjectErasure(BaseModel):
    """Whose id is to be erased; in the body, so that no log of addresses shows it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"subject": "person-19"}]}
    )

    subject: Annotated[Text, Field(min_length=1, max_length=512)]


class ErasedSubject(BaseModel):
    """What stands in the place of the id now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"pseudonym": _PSEUDONYM, "instances": 12, "requests": 1}]}
    )

    pseudonym: str
    """As the ledger has named the subject all along; nothing leads back to the id."""
    instances: int
    """Of manifests, on which the id stood."""
    requests: int
    """That named it."""
