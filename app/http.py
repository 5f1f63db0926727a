"""What routes ask for by type: the database, who is calling, a session, the write operation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app import tenancy
from app.auth import KeyHasher, KnownKeys, Principal, Scope, authenticate, bearer, is_token
from app.db import Database
from app.idempotency import Operation, RunningKeys, fingerprint
from app.rate_limits import RateLimits, address_of
from app.restored_cache import RestoredCache
from app.services.stored_weights import StoredWeights
from app.settings import Settings
from app.signing import Signer
from app.storage import LocalStorage, Storage
from app.together import Together

if TYPE_CHECKING:  # what it needs takes a while to import, and most have no issuer
    from app.oidc.callers import OidcCallers

_bearer = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="exp_<prefix>_<secret>, or a JWT",
    description="An API key, made by `POST /v1/api-keys` or `python -m app keys create`; or an"
    " access token of an OpenID Connect issuer that the service trusts."
    " An operation lists the scopes of which one is needed; `admin` stands for all of them.",
    auto_error=False,
)


class Parts:
    """What the whole process shares, made once from the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.storage: Storage = LocalStorage(settings.storage)
        self.weights = StoredWeights(
            self.storage, RestoredCache(settings.restored_cache, settings.restored_cache_bytes)
        )
        self.hasher = KeyHasher(settings.api_key_pepper)
        self.known_keys = KnownKeys(self.hasher)
        self.oidc = _oidc_callers(self.database, settings) if settings.oidc_issuers else None
        self.signer = Signer.load_or_create(settings.signing_key)
        self.running = RunningKeys()
        self.together = Together(self.database)
        self.limits = RateLimits(settings)


def _oidc_callers(database: Database, settings: Settings) -> "OidcCallers":
    from app.oidc.callers import OidcCallers  # noqa: PLC0415

    return OidcCallers(database, settings.oidc_issuers, allow_loopback=settings.oidc_allow_loopback)


async def get_parts(request: Request) -> Parts:
    """The process' shared parts."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]


async def get_database(parts: PartsDep) -> Database:
    """The database."""
    return parts.database


DatabaseDep = Annotated[Database, Depends(get_database)]


def read_session(database: DatabaseDep) -> Iterator[Session]:
    """A session that only reads, closed before the answer leaves."""
    with database.read() as session:
        yield session


ReadSession = Annotated[Session, Depends(read_session, scope="function")]


async def get_principal(
    request: Request, parts: PartsDep, _: Annotated[Any, Security(_bearer)]
) -> Principal:
    """The caller, of whatever scope; 401 without a key or token in force.

    What the request does from here on, it does within the caller's tenant. A dependency that runs
    on a thread of its own could not say so to the others.
    """
    caller = await run_in_threadpool(_identify, request, parts)
    tenancy.enter(caller.tenant_id)
    return caller


def _identify(request: Request, parts: Parts) -> Principal:
    with parts.limits.finding_out(address_of(request)):
        caller = _known(request, parts)
    request.state.rate_limit = parts.limits.take(caller.name)
    return caller


def _known(request: Request, parts: Parts) -> Principal:
    credential = bearer(request.headers.get("authorization"))
    with tenancy.every():
        if parts.oidc is not None and is_token(credential):
            return parts.oidc.identify(credential)
        with parts.database.read() as session:
            return authenticate(session, parts.hasher, credential)


AnyPrincipal = Annotated[Principal, Depends(get_principal)]


@dataclass(frozen=True)
class Scoped:
    """A dependency that lets in who holds one of `scopes`; 403 names what is missing."""

    scopes: tuple[Scope, ...]


@dataclass(frozen=True)
class ScopeCheck(Scoped):
    """The caller, if they may."""

    async def __call__(self, caller: AnyPrincipal) -> Principal:
        """The caller, if they may."""
        caller.require(*self.scopes)
        return caller


def requires(*scopes: Scope) -> ScopeCheck:
    """A dependency of a route that is for holders of one of `scopes`, as its description says."""
    return ScopeCheck(scopes)


@dataclass(frozen=True)
class Sending:
    """Who sends something to be written, and the transaction that writes it."""

    caller: Principal
    operation: Operation


@dataclass(frozen=True)
class SendingCheck(Scoped):
    """The caller of what is sent most often: who was here a moment ago is not looked up.

    The operation looks at their key again before it does anything; who does not run it must let it
    `confirm` the caller.
    """

    async def __call__(self, request: Request, _: Annotated[Any, Security(_bearer)]) -> Sending:
        """The caller, if they may, and their operation."""
        parts = await get_parts(request)
        key = bearer(request.headers.get("authorization"))
        caller = None if parts.limits.asks_redis else parts.known_keys.recall(key)
        known = caller is not None
        if caller is None:
            caller = await run_in_threadpool(_identify, request, parts)
            if caller.issuer is None:
                parts.known_keys.remember(key, caller)
        else:
            with parts.limits.finding_out(address_of(request)):
                request.state.rate_limit = parts.limits.take(caller.name)
        tenancy.enter(caller.tenant_id)
        caller.require(*self.scopes)
        content = await request.body()
        return Sending(caller, operation_of(request, parts, caller, content, confirm=known))


def operation_of(
    request: Request,
    parts: Parts,
    principal: Principal,
    content: bytes,
    *,
    confirm: bool = False,
) -> Operation:
    """The request's write transaction; `content` is what makes a repetition the same request."""
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    mark = fingerprint(request.method, request.url.path, content)
    caller = principal.tenant_id, principal.name
    shared = parts.database, parts.running, parts.together
    return Operation(*shared, *caller, key, mark, confirm=confirm)


async def get_operation(request: Request, parts: PartsDep, principal: AnyPrincipal) -> Operation:
    """The request's write transaction, bound to its Idempotency-Key and body."""
    return operation_of(request, parts, principal, await request.body())


OperationDep = Annotated[Operation, Depends(get_operation)]
"""`operation.run(work)`: one transaction, committed before the answer leaves."""


def answer(body: BaseModel, status: int = 200, **headers: str) -> Response:
    """A JSON answer; `retry_after="2"` becomes the header `Retry-After: 2`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body.model_dump_json(), status, named, "application/json")
