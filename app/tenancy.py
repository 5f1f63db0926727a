"""Whose rows the work at hand may touch: a second wall behind the services' own filters.

PostgreSQL holds it, by the row-level security policies of every table that belongs to a tenant;
`app.db` tells it at the beginning of each transaction. While an HTTP request is served it is
nobody's until the caller is known, then the caller's tenant's. Workers and commands see all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

EVERY = "*"
NOBODY = ""

_tenant: ContextVar[str] = ContextVar("tenant", default=EVERY)


def current() -> str:
    """A tenant's id, `EVERY` or `NOBODY`."""
    return _tenant.get()


def enter(tenant: str) -> Token[str]:
    """From here on, to the end of the request or until `leave`, only this tenant's rows."""
    return _tenant.set(tenant)


def leave(token: Token[str]) -> None:
    """Undo an `enter`."""
    _tenant.reset(token)


@contextmanager
def every() -> Iterator[None]:
    """For what must look at all tenants' rows: finding out who calls, counting for metrics."""
    token = _tenant.set(EVERY)
    try:
        yield
    finally:
        _tenant.reset(token)
