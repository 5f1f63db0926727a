"""The state machines, as data: what may follow what."""

from collections.abc import Mapping
from enum import StrEnum


class RequestState(StrEnum):
    """The life of a deletion request."""

    RECEIVED = "received"
    AWAITING_APPROVAL = "awaiting_approval"
    ON_HOLD = "on_hold"
    """A legal hold names something of it (GDPR Art. 17(3)); it goes on when that is released."""
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    COMPLETED_WITH_EXCEPTIONS = "completed_with_exceptions"
    """Done, but the cells named in `exceptions` did not meet the thresholds."""
    FAILED = "failed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Nobody approved it before it was due."""


class JobState(StrEnum):
    """The life of one engine run."""

    QUEUED = "queued"
    LEASED = "leased"
    """A worker has claimed it and starts the engine."""
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """The life of a webhook's delivery."""

    WAITING = "waiting"
    """For its first attempt, or for the next one."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up after the last attempt; a replay lets it wait again."""


class VersionState(StrEnum):
    """The life of a set of weights."""

    STAGED = "staged"
    """Written, but its audit could not decide: somebody must."""
    VERIFIED = "verified"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    PURGED = "purged"


R, J, V = RequestState, JobState, VersionState

REQUEST: Mapping[RequestState, frozenset[RequestState]] = {
    R.RECEIVED: frozenset(
        {R.AWAITING_APPROVAL, R.ON_HOLD, R.QUEUED, R.COMPLETED, R.COMPLETED_WITH_EXCEPTIONS}
    ),
    R.AWAITING_APPROVAL: frozenset({R.QUEUED, R.ON_HOLD, R.DENIED, R.CANCELLED, R.EXPIRED}),
    R.ON_HOLD: frozenset({R.QUEUED, R.AWAITING_APPROVAL, R.DENIED, R.CANCELLED}),
    R.QUEUED: frozenset({R.IN_PROGRESS, R.ON_HOLD, R.CANCELLED, R.FAILED}),
    R.IN_PROGRESS: frozenset({R.VERIFYING, R.QUEUED, R.FAILED, R.CANCELLED}),
    R.VERIFYING: frozenset(
        {R.COMPLETED, R.COMPLETED_WITH_EXCEPTIONS, R.QUEUED, R.FAILED, R.CANCELLED}
    ),
    R.COMPLETED: frozenset({R.QUEUED, R.ON_HOLD}),
    R.COMPLETED_WITH_EXCEPTIONS: frozenset({R.QUEUED, R.ON_HOLD}),
    R.FAILED: frozenset({R.QUEUED, R.ON_HOLD}),
    R.DENIED: frozenset(),
    R.CANCELLED: frozenset(),
    R.EXPIRED: frozenset(),
}

JOB: Mapping[JobState, frozenset[JobState]] = {
    J.QUEUED: frozenset({J.LEASED, J.CANCELLED}),
    J.LEASED: frozenset({J.RUNNING, J.QUEUED, J.CANCELLING, J.FAILED}),
    J.RUNNING: frozenset({J.SUCCEEDED, J.FAILED, J.QUEUED, J.CANCELLING}),
    J.CANCELLING: frozenset({J.CANCELLED}),
    J.SUCCEEDED: frozenset(),
    J.FAILED: frozenset(),
    J.CANCELLED: frozenset(),
}

VERSION: Mapping[VersionState, frozenset[VersionState]] = {
    V.STAGED: frozenset({V.VERIFIED, V.REJECTED}),
    V.VERIFIED: frozenset({V.SUPERSEDED}),
    V.REJECTED: frozenset({V.PURGED}),
    V.SUPERSEDED: frozenset({V.VERIFIED, V.PURGED}),
    V.PURGED: frozenset(),
}

ACTIVE_JOB = frozenset({J.LEASED, J.RUNNING, J.CANCELLING})
"""At most one job of a model is in one of these."""
RETIRED_VERSION = frozenset({V.SUPERSEDED, V.REJECTED})
"""Out of service, with files that still hold what others have forgotten."""
FINISHED_REQUEST = frozenset(
    state for state, after in REQUEST.items() if not after - {R.QUEUED, R.ON_HOLD}
)
"""Nothing more happens to it by itself; some may still be retried."""
FINISHED_JOB = frozenset(state for state, after in JOB.items() if not after)


class IllegalTransition(Exception):
    """A state was asked to become one that may not follow it."""

    def __init__(self, entity: str, now: str, asked: str) -> None:
        super().__init__(f"{entity} is {now} and cannot become {asked}")
        self.now = now
        self.asked = asked
