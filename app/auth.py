"""API keys: `exp_<prefix>_<secret>`, stored as a keyed hash, compared in constant time.

The secret has 256 random bits, so that one HMAC-SHA256 under the installation's pepper is enough:
there is nothing to guess that a slow hash would slow down.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.db import database_now
from app.ids import new_id
from app.prepared import Prepared
from app.problems import Problem
from app.tables import ApiKey

_MOST_REMEMBERED = 10_000
_REMEMBERED_SECONDS = 5.0
_CHALLENGE = 'Bearer realm="expunge"'


class Scope(StrEnum):
    """What a key may do; `admin` implies all."""

    REQUESTS_WRITE = "requests:write"
    """Deletion requests and jobs: make and read them."""
    REQUESTS_APPROVE = "requests:approve"
    MODELS_WRITE = "models:write"
    VERSIONS_READ = "versions:read"
    VERSIONS_DOWNLOAD = "versions:download"
    VERSIONS_FOLLOW = "versions:follow"
    """Take every version in turn, as a host does that serves the model."""
    LEDGER_READ = "ledger:read"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who is calling: everything is seen and done within one tenant."""

    tenant_id: str
    name: str
    """The key's id, or `oidc:<host>:<pseudonym>`; what the ledger calls the actor."""
    scopes: frozenset[str]
    issuer: str | None = None
    """Who vouches for a caller that came with a token."""
    subject: str | None = None
    """The issuer's name for that caller; kept nowhere but beside the pseudonym's key."""

    def require(self, *scopes: Scope) -> None:
        """Raise 403 unless one of `scopes` is held."""
        if Scope.ADMIN in self.scopes or self.scopes.intersection(scopes):
            return
        needed = " or ".join(scopes)
        raise Problem(
            403, "missing-scope", f"the caller lacks the scope {needed}", required=list(scopes)
        )


class KeyHasher:
    """Hashes keys under the pepper kept in a file, which is made (0600) where it is absent."""

    def __init__(self, pepper_file: Path) -> None:
        self._pepper = _load_or_create(pepper_file)

    def hash(self, key: str) -> bytes:
        """HMAC-SHA256 of the whole key, 32 bytes."""
        return hmac.digest(self._pepper, key.encode(), hashlib.sha256)


def create_key(
    session: Session,
    hasher: KeyHasher,
    tenant_id: str,
    name: str,
    scopes: list[Scope],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """The new row and the key itself, which nobody can read again."""
    prefix = secrets.token_hex(6)
    key = f"exp_{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=name,
        prefix=prefix,
        key_hash=hasher.hash(key),
        scopes=sorted(set(scopes)),
        created_at=database_now(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, key


_KEY = Prepared(
    select(
        ApiKey.key_hash,
        ApiKey.revoked_at,
        ApiKey.expires_at,
        ApiKey.tenant_id,
        ApiKey.id,
        ApiKey.scopes,
    ).where(ApiKey.prefix == bindparam("prefix"))
)


def authenticate(session: Session, hasher: KeyHasher, key: str) -> Principal:
    """The caller that this API key belongs to; 401 for anything but a key in force."""
    parts = key.split("_", 2)
    prefix = parts[1] if len(parts) == 3 and parts[0] == "exp" else ""
    # A key that is not known is hashed and compared too: timing must not tell which prefixes exist.
    found = _KEY.rows(session, {"prefix": prefix}) if prefix.isalnum() else []
    given = hasher.hash(key)
    right = hmac.compare_digest(given, found[0][0] if found else bytes(32))
    if not found or not right:
        raise refused("this API key is not known")
    _, revoked_at, expires_at, tenant_id, key_id, scopes = found[0]
    check_in_force(session, revoked_at, expires_at)
    return Principal(tenant_id, key_id, frozenset(scopes))


def check_in_force(
    session: Session, revoked_at: datetime | None, expires_at: datetime | None
) -> None:
    """401 for an API key that is not, or no longer."""
    if revoked_at is not None:
        raise refused("this API key was revoked")
    if expires_at is not None and expires_at <= database_now(session):
        raise refused("this API key has expired")


class KnownKeys:
    """Callers whose API key this process has seen of late, by the key's hash.

    Who is let in by what is remembered here must be asked for again in the transaction that does
    what they want: a key may have been revoked since.
    """

    def __init__(self, hasher: KeyHasher, clock: Callable[[], float] = time.monotonic) -> None:
        self._hasher = hasher
        self._clock = clock
        self._seen: dict[bytes, tuple[float, Principal]] = {}

    def recall(self, key: str) -> Principal | None:
        """Whose key this was a moment ago."""
        until, caller = self._seen.get(self._hasher.hash(key), (0.0, None))
        return caller if self._clock() < until else None

    def remember(self, key: str, caller: Principal) -> None:
        """Keep who was found to be the owner of the key."""
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[self._hasher.hash(key)] = self._clock() + _REMEMBERED_SECONDS, caller

    def forget(self, key_id: str) -> None:
        """Ask the next time: the key was revoked."""
        for mark, (_, caller) in list(self._seen.items()):
            if caller.name == key_id:
                self._seen.pop(mark, None)


def bearer(authorization: str | None) -> str:
    """The credential in an Authorization header; 401 without one."""
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise refused("send an API key as `Authorization: Bearer exp_...`")
    return credential.strip()


def is_token(credential: str) -> bool:
    """Whether it has the form of a signed JWT: three parts between dots."""
    return credential.count(".") == 2


def refused(detail: str, *, invalid_token: bool = False) -> Problem:
    """401; for a token, RFC 6750's word for it too."""
    challenge = f'{_CHALLENGE}, error="invalid_token"' if invalid_token else _CHALLENGE
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _load_or_create(file: Path) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(file.read_text())
    with os.fdopen(descriptor, "w") as stream:
        pepper = secrets.token_bytes(32)
        stream.write(pepper.hex())
    return pepper
