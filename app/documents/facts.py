"""What the documents of a version are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.spec import AuditReport, WorkloadDescription


@dataclass(frozen=True)
class Issued:
    """A receipt for a request that was carried out in the version."""

    request: str
    receipt: str
    sha256: str
    """Of the envelope."""


@dataclass(frozen=True)
class Ancestor:
    """The version that a job started from."""

    id: str
    number: int
    sha256: str


@dataclass(frozen=True)
class Facts:
    """What never changes about a version once it is there, and its model's name.

    Its state and aliases change: they are not in here, so that the documents stay the same.
    """

    model: str
    workload: str
    description: WorkloadDescription
    version: str
    number: int
    created_at: datetime
    weights_sha256: str
    weights_size: int
    method: str | None
    """What made it; None for one that its owner registered."""
    seed: int | None
    parent: Ancestor | None
    root: str
    instances: int
    """Of the manifest that its training began with."""
    forgotten: Mapping[str, int]
    """How many of them it does not know any more, by task."""
    audit: AuditReport | None
    receipts: Sequence[Issued]
