"""Whose tokens are believed, and what they entitle to: one entry of `EXPUNGE_OIDC_ISSUERS`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.auth import Scope

HostName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9.:-]{1,253}$", to_lower=True)]


class TrustedIssuer(BaseModel):
    """An issuer, and how its claims are read. A claim is named whole, or by a path with dots."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^https?://[!-~]+$")]
    """Its URL, letter for letter as the claim `iss` has it."""
    audience: Annotated[str, Field(min_length=1)]
    """What the claim `aud` must hold: how the issuer calls this service."""
    private_hosts: frozenset[HostName] = frozenset()
    """The hosts in its own URL, and in that of its keys, which may have private addresses: those
    of an issuer on premises. Every other host must have public ones."""
    client_id: str | None = None
    """What this service is called at the issuer: then people may sign in to the console there."""
    client_secret_file: Path | None = None
    """Of a confidential client; a public one shows none."""
    client_scope: str = "openid"
    """What is asked for at a sign-in; the access token must be one for `audience`."""
    tenant: str | None = None
    """Whose callers all of them are, by name or id."""
    tenant_claim: str | None = None
    """Instead: the claim that names the tenant."""
    scopes_claim: str = "scope"
    """A text of words, or a list."""
    scopes: Mapping[str, tuple[Scope, ...]] = {}
    """What each value of that claim entitles to; others entitle to nothing."""

    @model_validator(mode="after")
    def _one_tenant(self) -> Self:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError(f"issuer {self.issuer}: give either tenant or tenant_claim")
        return self

    def scopes_of(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        """What the caller may do.

        Without a mapping, values that are scopes count as such, but for `admin`: many issuers call
        a role so that was never meant for this service.
        """
        given = claim(claims, self.scopes_claim)
        values = given.split() if isinstance(given, str) else given
        words = [w for w in values if isinstance(w, str)] if isinstance(values, list) else []
        if self.scopes:
            return frozenset(scope for word in words for scope in self.scopes.get(word, ()))
        return frozenset(Scope(word) for word in words if word in set(Scope) - {Scope.ADMIN})

    def tenant_of(self, claims: Mapping[str, Any]) -> str | None:
        """The tenant's name or id; None where the claim that should tell it does not."""
        if self.tenant is not None:
            return self.tenant
        named = claim(claims, self.tenant_claim or "")
        return named if isinstance(named, str) else None


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, or the one that a path like `realm_access.roles` leads to."""
    if name in claims:
        return claims[name]
    head, dot, rest = name.partition(".")
    inner = claims.get(head)
    return claim(inner, rest) if dot and isinstance(inner, Mapping) else None
