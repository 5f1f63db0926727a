"""OpenDSR messages, as its specification names them: https://github.com/opengdpr/OpenDSR."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.schemas.fields import Instant, SubjectId, Text

API_VERSION = "2.0"
REQUEST_EXAMPLE = "a7551968-d5d6-44b2-9831-815ac9017798"

Status = Literal["pending", "in_progress", "completed", "cancelled"]
IdentityType = Literal["controller_customer_id", "email"]
HashFormat = Literal["md5", "sha1", "sha256"]
IdentityFormat = Literal["raw", HashFormat]
IDENTITY_TYPES: tuple[IdentityType, ...] = get_args(IdentityType)
HASH_FORMATS: tuple[HashFormat, ...] = get_args(HashFormat)
IDENTITY_FORMATS: tuple[IdentityFormat, ...] = ("raw", *HASH_FORMATS)
_HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
_CALLBACKS = 10


def _is_v4(value: str) -> str:
    try:
        parsed = UUID(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 4 or str(parsed) != value:
        raise ValueError("give a UUID of version 4 in lower case")
    return value


SubjectRequestId = Annotated[
    Text,
    Field(min_length=36, max_length=36, json_schema_extra={"format": "uuid"}),
    AfterValidator(_is_v4),
]


class SupportedIdentity(BaseModel):
    """What a data subject may be named by."""

    identity_type: IdentityType
    identity_format: IdentityFormat


class Discovery(BaseModel):
    """What this processor can do."""

    api_version: str
    supported_identities: list[SupportedIdentity]
    supported_subject_request_types: list[Literal["erasure"]]
    processor_certificate: str


class Identity(SupportedIdentity):
    """A data subject, by the id that manifests have for it, or by that id's hash in hex."""

    model_config = ConfigDict(extra="forbid")

    identity_value: SubjectId

    @model_validator(mode="after")
    def _is_hash(self) -> Self:
        digits = _HEX_DIGITS.get(self.identity_format)
        if digits is not None and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", self.identity_value):
            raise ValueError(f"a value in {self.identity_format} has {digits} hexadecimal digits")
        return self


class NewDsrRequest(BaseModel):
    """Asks for the erasure of a data subject. Members that are not known are passed over."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "regulation": "gdpr",
                    "subject_request_id": REQUEST_EXAMPLE,
                    "subject_request_type": "erasure",
                    "submitted_time": "2026-03-04T09:00:00Z",
                    "subject_identities": [
                        {
                            "identity_type": "controller_customer_id",
                            "identity_value": "person-19",
                            "identity_format": "raw",
                        }
                    ],
                    "api_version": "2.0",
                    "status_callback_urls": ["https://controller.example.org/opendsr_callbacks"],
                }
            ]
        }
    )

    regulation: Literal["gdpr", "ccpa"] = "gdpr"
    subject_request_id: SubjectRequestId
    subject_request_type: Literal["erasure"]
    """This processor only erases."""
    submitted_time: Instant
    subject_identities: list[Identity] = Field(min_length=1, max_length=100)
    api_version: Annotated[Text, Field(max_length=20)] | None = None
    status_callback_urls: list[Annotated[Text, Field(min_length=1, max_length=2000)]] = Field(
        default=[], max_length=_CALLBACKS
    )
    extensions: dict[str, Any] | None = None
    """Passed over: this processor has none."""


class DsrReceived(BaseModel):
    """The request is taken."""

    controller_id: str
    expected_completion_time: datetime
    received_time: datetime
    encoded_request: str
    """The request's body in base64."""
    subject_request_id: str


class DsrStatus(BaseModel):
    """How far a request is."""

    controller_id: str
    expected_completion_time: datetime
    subject_request_id: str
    request_status: Status
    api_version: str = API_VERSION
    results_url: str | None = None
    """The receipts' page of the deletion request, where there is one alone."""
    results_count: int
    """Deletion requests that this one became: one for each model that knew the subject."""


class DsrCallbackBody(BaseModel):
    """What a controller is told when the status of its request has changed."""

    controller_id: str
    status_callback_url: str
    subject_request_id: str
    request_status: str
    expected_completion_time: datetime
    results_count: int


class DsrCancelled(BaseModel):
    """The request is withdrawn."""

    controller_id: str
    subject_request_id: str
    received_time: datetime
    api_version: str = API_VERSION


class DsrErrorDetail(BaseModel):
    """One thing that is wrong."""

    domain: str
    reason: str
    message: str


class DsrErrorBody(BaseModel):
    """What went wrong."""

    code: int
    message: str
    errors: list[DsrErrorDetail] = []


class DsrError(BaseModel):
    """An error in OpenDSR's own shape."""

    error: DsrErrorBody
