"""What can go wrong between this client and a service, as one tree.

```text
ExpungeError
├── Unreachable            nothing answered at that address
├── WaitTimeout            what was waited for did not happen in time
├── ReceiptInvalid         a receipt that must not be believed
├── ModelSignatureInvalid  a folder with a model that is not as it was signed
├── LedgerInvalid          a ledger's head, event or proof that must not be believed
├── WebhookInvalid         a delivery that must not be believed
├── DigestMismatch         a file that is not what it was said to be
├── UnexpectedAnswer       something answered, but not as this service does
└── ApiProblem             the service refused, and says why (RFC 9457)
    ├── Invalid            400, 422: `errors` points to the fields
    ├── Unauthorized       401: no key, or one that is unknown, expired or revoked
    ├── Forbidden          403: the key lacks a scope
    ├── NotFound           404
    ├── Conflict           409: not in this state; see `extensions`
    ├── Gone               410: purged
    ├── PreconditionFailed 412, 428: somebody else changed it first
    ├── TooLarge           413
    ├── TooManyRequests    429
    └── ServiceUnavailable 5xx
```
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ExpungeError(Exception):
    """The root: whatever this package raises on purpose, with one sentence for people."""


class Unreachable(ExpungeError):
    """Nothing answered."""


class WaitTimeout(ExpungeError):
    """The wait ended before what was waited for."""


class ReceiptInvalid(ExpungeError):
    """The receipt's form, signature or statement does not hold."""


class ModelSignatureInvalid(ExpungeError):
    """A model's signature does not hold, or its files are not those that were signed."""


class LedgerInvalid(ExpungeError):
    """A head's signature, an event or a proof does not hold, or the past was rewritten."""


class WebhookInvalid(ExpungeError):
    """A delivery that this secret did not sign, or that is too old."""


class DigestMismatch(ExpungeError):
    """The file's sha256 is not the one that was promised."""


class UnexpectedAnswer(ExpungeError):
    """An answer that is not of this service: a proxy's page, another program, another version."""


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field of what was sent."""

    pointer: str
    """JSON pointer into the body, such as `/instances/3`."""
    detail: str


class ApiProblem(ExpungeError):
    """The service's refusal."""

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str,
        errors: tuple[FieldProblem, ...] = (),
        extensions: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.type = type
        """A URI that names the kind of problem and never changes."""
        self.title = title
        self.detail = detail
        self.errors = errors
        self.extensions: Mapping[str, Any] = extensions or {}
        """Further members, such as `state` or `installed`."""
        self.retry_after = retry_after
        """Seconds after which the service thinks that another try makes sense."""

    @property
    def slug(self) -> str:
        """The last part of `type`: `illegal-state`, `workload-not-installed`..."""
        return self.type.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """The detail, then each field's problem on its own line."""
        lines = [self.detail or self.title]
        lines += [f"  {e.pointer or '/'}: {e.detail}" for e in self.errors if e.detail != lines[0]]
        return "\n".join(lines)


class Invalid(ApiProblem):
    """The service does not accept what was sent."""


class Unauthorized(ApiProblem):
    """No API key, or one that does not count."""


class Forbidden(ApiProblem):
    """The API key lacks the scope for this."""


class NotFound(ApiProblem):
    """No such thing, or it belongs to somebody else."""


class Conflict(ApiProblem):
    """Not possible in the present state."""


class Gone(ApiProblem):
    """It was there, and was purged."""


class PreconditionFailed(ApiProblem):
    """It changed since it was read, or the condition that must be sent is missing."""


class TooLarge(ApiProblem):
    """More bytes than the service takes."""


class TooManyRequests(ApiProblem):
    """The rate limit, still after several tries."""


class ServiceUnavailable(ApiProblem):
    """The service is in trouble, still after several tries."""


_BY_STATUS: Mapping[int, type[ApiProblem]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: TooLarge,
    422: Invalid,
    428: PreconditionFailed,
    429: TooManyRequests,
}
_KNOWN = frozenset({"type", "title", "status", "detail", "errors", "instance"})


def problem(
    status: int, reason: str, body: Mapping[str, Any], retry_after: float | None
) -> ApiProblem:
    """The error for an answer: `body` is its problem document, or empty if it had none."""
    kind = _BY_STATUS.get(status, ServiceUnavailable if status >= 500 else ApiProblem)
    fields = body.get("errors")
    return kind(
        status,
        str(body.get("type", "about:blank")),
        str(body.get("title", reason)),
        str(body.get("detail", f"the service answered {status} {reason}")),
        tuple(
            FieldProblem(str(field.get("pointer", "")), str(field.get("detail", "")))
            for field in (fields if isinstance(fields, list) else [])
            if isinstance(field, dict)
        ),
        {name: value for name, value in body.items() if name not in _KNOWN},
        retry_after,
    )
