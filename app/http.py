"""What routes ask for by type: the database, who is calling, a session, the write operation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app import tenancy
from app.auth import KeyHasher, Principal, Scope, authenticate, bearer
from app.db import Database
from app.idempotency import Operation, RunningKeys, fingerprint
from app.oidc.callers import OidcCallers
from app.oidc.tokens import is_token
from app.rate_limits import RateLimits, address_of
from app.restored_cache import RestoredCache
from app.services.stored_weights import StoredWeights
from app.settings import Settings
from app.signing import Signer
from app.storage import LocalStorage, Storage

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
        self.oidc = OidcCallers(
            self.database, settings.oidc_issuers, allow_loopback=settings.oidc_allow_loopback
        )
        self.signer = Signer.load_or_create(settings.signing_key)
        self.running = RunningKeys()
        self.limits = RateLimits(settings)


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
        if parts.oidc and is_token(credential):
            return parts.oidc.identify(credential)
        with parts.database.read() as session:
            return authenticate(session, parts.hasher, credential)


AnyPrincipal = Annotated[Principal, Depends(get_principal)]


@dataclass(frozen=True)
class ScopeCheck:
    """A dependency: the caller, who must hold one of `scopes`; 403 names what is missing."""

    scopes: tuple[Scope, ...]

    async def __call__(self, caller: AnyPrincipal) -> Principal:
        """The caller, if they may."""
        caller.require(*self.scopes)
        return caller


def requires(*scopes: Scope) -> ScopeCheck:
    """A dependency of a route that is for holders of one of `scopes`, as its description says."""
    return ScopeCheck(scopes)


def operation_of(request: Request, parts: Parts, principal: Principal, content: bytes) -> Operation:
    """The request's write transaction; `content` is what makes a repetition the same request."""
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    mark = fingerprint(request.method, request.url.path, content)
    caller = principal.tenant_id, principal.name
    return Operation(parts.database, parts.running, *caller, key, mark)


async def get_operation(request: Request, parts: PartsDep, principal: AnyPrincipal) -> Operation:
    """The request's write transaction, bound to its Idempotency-Key and body."""
    return operation_of(request, parts, principal, await request.body())


OperationDep = Annotated[Operation, Depends(get_operation)]
"""`operation.run(work)`: one transaction, committed before the answer leaves."""


def answer(body: BaseModel, status: int = 200, **headers: str) -> JSONResponse:
    """A JSON answer; `retry_after="2"` becomes the header `Retry-After: 2`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body.model_dump(mode="json"), status, headers=named)
