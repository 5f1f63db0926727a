"""`Idempotency-Key`: the first answer to a POST is given again to whoever asks the same again.

The answer commits in one transaction with what it tells of, so that neither exists without the
other. A key belongs to one caller and lives for 24 hours. Refusals are exceptions, roll everything
back and are not kept: trying the same again later is what they ask for.
"""

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from fastapi import Response
from sqlalchemy import Text, and_, bindparam, delete, func, insert, select, tuple_
from sqlalchemy.orm import Session

from app.auth import check_in_force, refused
from app.db import Database, database_now
from app.prepared import Prepared
from app.problems import Conflict, Invalid, Problem
from app.tables import ApiKey, IdempotencyKey
from app.together import Together

LIFETIME = timedelta(hours=24)
_KEPT_HEADERS = ("content-type", "location", "etag", "retry-after")
_SWEEP = 100

_ANSWER = (
    IdempotencyKey.fingerprint,
    IdempotencyKey.status,
    IdempotencyKey.headers,
    IdempotencyKey.body,
    IdempotencyKey.expires_at,
)
_THIS = IdempotencyKey.key == bindparam("key")
_KEPT = Prepared(select(*_ANSWER).where(IdempotencyKey.caller == bindparam("caller"), _THIS))
_KEY = Prepared(
    select(ApiKey.revoked_at, ApiKey.expires_at).where(ApiKey.id == bindparam("caller"))
)
_KEY_AND_KEPT = Prepared(
    select(ApiKey.revoked_at, ApiKey.expires_at, *_ANSWER)
    .outerjoin(IdempotencyKey, and_(IdempotencyKey.caller == ApiKey.id, _THIS))
    .where(ApiKey.id == bindparam("caller"))
)
_TURN = Prepared(
    select(func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text), 0)))
)
_KEEP = Prepared(insert(IdempotencyKey.__table__))  # type: ignore[arg-type]  # it is a Table


class _Kept(NamedTuple):
    """An answer that was given before."""

    fingerprint: str
    status: int
    headers: dict[str, str]
    body: str
    expires_at: datetime


class RunningKeys:
    """The keys whose first request this process is still working on."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._kept = itertools.count()

    def sweep_is_due(self) -> bool:
        """Whether whoever keeps an answer is to forget old ones: the first, and each 50th."""
        return next(self._kept) % (_SWEEP // 2) == 0

    @contextmanager
    def hold(self, caller: str, key: str) -> Iterator[None]:
        """Own the key for a while; 409 where somebody does already."""
        with self._lock:
            if (caller, key) in self._keys:
                raise _still_running(key)
            self._keys.add((caller, key))
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard((caller, key))


def _as_is(response: Response) -> Response:
    return response


class Operation:
    """The one write transaction of an HTTP request, and the memory of its answer."""

    def __init__(
        self,
        database: Database,
        running: RunningKeys,
        together: Together,
        tenant_id: str,
        caller: str,
        key: str | None,
        fingerprint: str,
        *,
        confirm: bool = False,
    ) -> None:
        """With `confirm`, the caller's API key is looked at again before anything is done."""
        self._database = database
        self._running = running
        self._together = together
        self._tenant_id = tenant_id
        self._caller = caller
        self._key = _checked(key) if key is not None else None
        self._fingerprint = fingerprint
        self._held = False
        self._confirm = confirm

    def run(
        self,
        work: Callable[[Session], Response],
        remembered: Callable[[Response], Response] = _as_is,
    ) -> Response:
        """Do `work` and commit, or give the first answer again.

        `remembered` is what to answer to a repetition, where that is not the first answer itself.

        Everything happens on the calling thread: a transaction that waited for a free thread while
        other threads wait for its locks would stand still.
        """
        held = nullcontext() if self._held else self.hold()
        with held, self._database.write() as session, session.begin():
            return self._in(session, work, remembered)

    async def run_together(self, work: Callable[[Session], Response]) -> Response:
        """The same, in one transaction with the tenant's others that wait in this moment.

        `work` may be done again, after a rollback.
        """
        with self.hold():
            return await self._together.write(
                self._tenant_id, lambda session: self._in(session, work, _as_is)
            )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the key from other requests of this process, also through slow work before `run`."""
        self._held = True
        if self._key is None:
            yield
            return
        with self._running.hold(self._caller, self._key):
            yield

    def replay(self, session: Session) -> Response | None:
        """The first answer, where there is one; 422 where the key was used for something else."""
        if self._key is None:
            return None
        row = self._kept(session)
        if row is None or row.expires_at <= database_now(session):
            return None
        return self._again(row)

    def confirm(self, session: Session) -> None:
        """401 where the caller was not looked up, and their API key is no longer in force."""
        if self._confirm:
            self._check(session, _KEY.rows(session, {"caller": self._caller}))

    def _in(
        self,
        session: Session,
        work: Callable[[Session], Response],
        remembered: Callable[[Response], Response],
    ) -> Response:
        if self._key is None:
            self.confirm(session)
            return work(session)
        return self._once(session, self._key, work, remembered)

    def _kept(self, session: Session) -> _Kept | None:
        asked = {"caller": self._caller, "key": self._key}
        if not self._confirm:
            found = _KEPT.rows(session, asked)
            return _Kept(*found[0]) if found else None
        found = _KEY_AND_KEPT.rows(session, asked)
        self._check(session, found)
        kept = found[0][2:]
        return None if kept[0] is None else _Kept(*kept)

    def _check(self, session: Session, found: Sequence[Sequence[Any]]) -> None:
        if not found:
            raise refused("this API key is not known")
        check_in_force(session, *found[0][:2])

    def _again(self, row: _Kept) -> Response:
        if row.fingerprint != self._fingerprint:
            raise Invalid(
                "header:idempotency-key",
                f"the Idempotency-Key {self._key!r} was used for another request",
                slug="idempotency-key-reused",
            )
        headers = dict(row.headers) | {"idempotency-replayed": "true"}
        return Response(row.body, row.status, headers=headers)

    def _once(
        self,
        session: Session,
        key: str,
        work: Callable[[Session], Response],
        remembered: Callable[[Response], Response],
    ) -> Response:
        if session.get_bind().dialect.name == "postgresql":
            name = f"{self._caller}\n{key}"
            if not _TURN.rows(session, {"name": name})[0][0]:
                raise _still_running(key)
        row = self._kept(session)
        if row is not None:
            if row.expires_at > database_now(session):
                return self._again(row)
            session.execute(
                delete(IdempotencyKey).where(
                    IdempotencyKey.caller == self._caller, IdempotencyKey.key == key
                )
            )
        response = work(session)
        self._keep(session, key, remembered(response))
        return response

    def _keep(self, session: Session, key: str, response: Response) -> None:
        now = database_now(session)
        if self._running.sweep_is_due():
            _sweep(session, now)
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        row = {
            "caller": self._caller,
            "key": key,
            "tenant_id": self._tenant_id,
            "fingerprint": self._fingerprint,
            "status": response.status_code,
            "headers": kept,
            "body": bytes(response.body).decode(),
            "created_at": now,
            "expires_at": now + LIFETIME,
        }
        _KEEP.run(session, row)


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Hex sha256 of what makes two requests the same one."""
    return hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()


def _sweep(session: Session, now: datetime) -> None:
    """Forget some keys whose time is over; whoever else does the same at once takes others."""
    key = tuple_(IdempotencyKey.caller, IdempotencyKey.key)
    over = (
        select(IdempotencyKey.caller, IdempotencyKey.key)
        .where(IdempotencyKey.expires_at <= now)
        .limit(_SWEEP)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(IdempotencyKey).where(key.in_(over)))


def _checked(key: str) -> str:
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise Problem(
            400, "bad-idempotency-key", "Idempotency-Key must be 1 to 255 visible ASCII characters"
        )
    return key


def _still_running(key: str) -> Conflict:
    return Conflict(
        "still-running",
        f"the first request with the Idempotency-Key {key!r} is still running",
        headers={"Retry-After": "1"},
    )
