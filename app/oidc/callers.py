"""From a token to a principal: the issuer it is believed for, its tenant, scopes and name.

A person's `sub` is personal data, and the ledger can forget nothing. So the principal's name holds
a pseudonym in its place, under a key of its own as data subjects' have, which can be destroyed.
"""

import logging
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.auth import Principal, refused
from app.db import Database
from app.oidc.fetching import NotFetched, fetch_json
from app.oidc.issuer_keys import IssuerKeys
from app.oidc.tokens import TokenRefused, header_of, issuer_of, verified
from app.oidc.trust import TrustedIssuer
from app.problems import Problem, Unavailable
from app.pseudonyms import pseudonym
from app.tables import SubjectKey, Tenant

_SUBJECT = re.compile(r"[ -~]{1,255}")
_LONGEST_HOST = 50
_ON_RECORD = "oidc:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownIssuer:
    """An issuer that is trusted, its keys, and how to ask it for more."""

    trust: TrustedIssuer
    keys: IssuerKeys
    ask: Callable[..., dict[str, Any]]
    """`fetch_json`, to such addresses as this issuer may have."""


class OidcCallers:
    """The callers that these issuers vouch for."""

    def __init__(
        self,
        database: Database,
        issuers: Sequence[TrustedIssuer],
        *,
        allow_loopback: bool,
        keys: Callable[..., IssuerKeys] = IssuerKeys,
    ) -> None:
        self._database = database
        self._known: dict[str, KnownIssuer] = {}
        for one in issuers:
            private = one.private_hosts
            ask = partial(fetch_json, allow_loopback=allow_loopback, private_hosts=private)
            self._known[one.issuer] = KnownIssuer(one, keys(one.issuer, ask), ask)

    def __bool__(self) -> bool:
        """Whether any issuer is trusted at all."""
        return bool(self._known)

    def known(self, issuer: str | None) -> "KnownIssuer | None":
        """An issuer that is trusted; None for any other."""
        return self._known.get(issuer or "")

    @property
    def for_people(self) -> list[str]:
        """The issuers at which people may sign in to the console."""
        return [name for name, one in self._known.items() if one.trust.client_id is not None]

    def identify(self, token: str) -> Principal:
        """The caller; 401 for a token that lets nobody in, 503 while its issuer's keys are away."""
        try:
            trust, claims = self.claims(token)
        except TokenRefused as refusal:
            raise refused(str(refusal), invalid_token=True) from None
        subject = claims["sub"]
        if not _SUBJECT.fullmatch(subject):
            raise refused(
                "the token's subject is not 1 to 255 ASCII characters", invalid_token=True
            )
        with self._database.read() as session:
            tenant_id = _tenant(session, trust.tenant_of(claims))
            name = _name(session, tenant_id, trust.issuer, subject)
        return Principal(
            tenant_id,
            name or self._named(tenant_id, trust.issuer, subject),
            frozenset(trust.scopes_of(claims)),
            issuer=trust.issuer,
            subject=subject,
        )

    def claims(
        self, token: str, *, audience: str | None = None
    ) -> tuple[TrustedIssuer, dict[str, Any]]:
        """Who issued a token for this service, or for another `audience`, and what it says.

        Raises TokenRefused for one that lets nobody in.
        """
        algorithm, key_id = header_of(token)
        known = self.known(issuer_of(token))
        if known is None:
            raise TokenRefused("the token's issuer is not trusted here")
        trust = known.trust
        try:
            key = known.keys.find(key_id, algorithm)
        except NotFetched as error:
            _log.warning("keys of a trusted issuer: %s", error)
            raise Unavailable(
                "the keys of the token's issuer cannot be fetched at the moment", retry_after=30
            ) from None
        if key is None:
            raise TokenRefused("the token was signed with a key that its issuer does not publish")
        return trust, dict(verified(token, key, algorithm, trust, audience or trust.audience))

    def _named(self, tenant_id: str, issuer: str, subject: str) -> str:
        """The name of a person who was never here before."""
        key = SubjectKey(
            tenant_id=tenant_id,
            subject=on_record(issuer, subject),
            key=secrets.token_bytes(32),
        )
        try:
            with self._database.write() as session, session.begin():
                session.add(key)
        except IntegrityError:
            pass  # they have come twice at once, and the other was first
        with self._database.read() as session:
            name = _name(session, tenant_id, issuer, subject)
        assert name is not None
        return name


def on_record(issuer: str, subject: str) -> str:
    """What a person is called in `subject_keys`, and by whoever has them erased."""
    return f"{_ON_RECORD}{issuer} {subject}"


def person_behind(session: Session, name: str) -> str | None:
    """Whom a principal's name stands for, as `on_record` has them; None once that was erased."""
    people = select(SubjectKey).where(SubjectKey.subject.startswith(_ON_RECORD))
    for row in session.scalars(people):
        if name.endswith(f":{pseudonym(row.key, row.subject)}"):
            return row.subject
    return None


def _name(session: Session, tenant_id: str, issuer: str, subject: str) -> str | None:
    known = on_record(issuer, subject)
    row = session.get(SubjectKey, (tenant_id, known))
    if row is None:
        return None
    host = (urlsplit(issuer).hostname or "")[:_LONGEST_HOST]
    return f"oidc:{host}:{pseudonym(row.key, known)}"


def _tenant(session: Session, named: str | None) -> str:
    """The id of the tenant with this name or id; 403 where there is none."""
    is_it = (Tenant.id == named) | (Tenant.name == named)
    found = session.scalar(select(Tenant.id).where(is_it).order_by(Tenant.id != named))
    if found is None:
        raise Problem(403, "no-tenant", "the token names no tenant of this service")
    return found
