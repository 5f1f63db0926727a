"""Tenants, scopes and names of callers that come with tokens; what is written of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from app.db import Database
from app.oidc.callers import OidcCallers, person_behind
from app.oidc.fetching import NotFetched
from app.oidc.trust import TrustedIssuer
from app.tables import LedgerEvent, SubjectKey
from running_service import Service, add_tenant, serve
from token_issuer import Issuer, trusting_settings, who

ROLES = {"dpo": ["requests:approve", "ledger:read"], "operator": ["admin"]}


@pytest.fixture
def service(issuer: Issuer, tmp_path: Path, database_url: str) -> Iterator[Service]:
    """Tenants and roles stand in claims, as Keycloak writes them."""
    trust = issuer.trust(tenant_claim="org", scopes_claim="realm_access.roles", scopes=ROLES)
    yield from serve(trusting_settings(tmp_path, database_url, trust))


def _roles(*names: str) -> dict[str, list[str]]:
    return {"roles": list(names)}


def test_roles_are_mapped_to_scopes_and_others_entitle_to_nothing(
    service: Service, issuer: Issuer
) -> None:
    token = issuer.token(org="default", realm_access=_roles("dpo", "requests:write", "admin"))
    assert who(service, token).json()["scopes"] == ["ledger:read", "requests:approve"]
    operator = issuer.token(org="default", realm_access=_roles("operator"))
    assert who(service, operator).json()["scopes"] == ["admin"]
    nothing = issuer.token(org="default")
    assert who(service, nothing).json()["scopes"] == []
    with service.client(nothing) as client:
        assert client.get("/v1/models").status_code == 403


def test_the_claim_names_the_tenant_by_name_or_id_and_must_name_one(
    service: Service, issuer: Issuer
) -> None:
    with service.database.write() as session, session.begin():
        other = add_tenant(session, "other")
    by_name = who(service, issuer.token(org="other")).json()
    assert by_name["tenant"] == other
    assert who(service, issuer.token(org=other)).json() == by_name
    assert who(service, issuer.token(org="default")).json()["principal"] != by_name["principal"]
    for wrong in ("nobody", ["other"], None):
        answer = who(service, issuer.token(org=wrong))
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/no-tenant")


def test_the_ledger_knows_a_pseudonym_that_can_be_erased(service: Service, issuer: Issuer) -> None:
    token = issuer.token(org="default", realm_access=_roles("operator"))
    with service.client(token) as client:
        me = client.get("/v1/whoami").json()
        with service.database.read() as session:
            assert person_behind(session, me["principal"]) == f"oidc:{issuer.url} alice"
        made = client.post("/v1/api-keys", json={"name": "portal", "scopes": ["admin"]})
        assert made.status_code == 201, made.text
        on_record = f"oidc:{issuer.url} alice"
        erased = client.post("/v1/subjects/erase", json={"subject": on_record})
        assert erased.status_code == 200, erased.text
        assert client.get("/v1/ledger/verify").json()["ok"]
        assert client.get("/v1/whoami").json()["principal"] != me["principal"]
    with service.database.read() as session:
        assert person_behind(session, me["principal"]) is None
        bodies = session.scalars(select(LedgerEvent.body).order_by(LedgerEvent.seq)).all()
    actors = [json.loads(body)["actor"] for body in bodies]
    assert actors == [me["principal"]] * len(actors)
    assert not [body for body in bodies if "alice" in body]
    assert me["principal"].rpartition(":")[2] == erased.json()["pseudonym"]


def test_somebody_who_comes_again_is_written_down_once(service: Service, issuer: Issuer) -> None:
    names = {who(service, issuer.token(org="default")).json()["principal"] for _ in range(3)}
    assert len(names) == 1
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(SubjectKey)) == 1


def test_an_idempotency_key_belongs_to_one_person(service: Service, issuer: Issuer) -> None:
    body = {"name": "portal", "scopes": ["admin"]}
    ids = set()
    for person in ("alice", "bob"):
        token = issuer.token(org="default", sub=person, realm_access=_roles("operator"))
        with service.client(token, **{"Idempotency-Key": "same"}) as client:
            made = client.post("/v1/api-keys", json=body)
            assert made.status_code == 201, made.text
            ids.add(made.json()["id"])
    assert len(ids) == 2


def test_while_an_issuers_keys_are_away_its_callers_are_told_to_come_again(
    service: Service, issuer: Issuer
) -> None:
    issuer.is_away = True
    answer = who(service, issuer.token(org="default"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"
    assert who(service, service.admin_key).status_code == 200


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("requests:write versions:read", {"requests:write", "versions:read"}),
        (["requests:write", 7, None], {"requests:write"}),
        ("admin openid profile", set()),
        (7, set()),
        (None, set()),
    ],
)
def test_plain_scopes_count_but_for_admin(given: Any, expected: set[str]) -> None:
    trust = TrustedIssuer(issuer="https://id.example", audience="x", tenant="default")
    assert trust.scopes_of({"scope": given}) == expected


def test_a_claim_whose_name_has_dots_is_found_by_its_whole_name() -> None:
    trust = TrustedIssuer(
        issuer="https://id.example",
        audience="x",
        tenant="default",
        scopes_claim="https://acme.example/scopes",
    )
    assert trust.scopes_of({"https://acme.example/scopes": "ledger:read"}) == {"ledger:read"}


@pytest.mark.parametrize("tenants", [{}, {"tenant": "a", "tenant_claim": "b"}])
def test_an_issuer_without_one_way_to_its_tenant_is_refused(tenants: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either tenant or tenant_claim"):
        TrustedIssuer(issuer="https://id.example", audience="x", **tenants)


def test_only_the_hosts_that_an_issuer_names_may_be_in_a_private_network(
    sqlite_database_url: str,
) -> None:
    trusted = {"audience": "here", "tenant": "default"}
    inside = TrustedIssuer.model_validate(
        {**trusted, "issuer": "https://10.1.2.3/realms/a", "private_hosts": ["KEYS.internal"]}
    )
    outside = TrustedIssuer.model_validate({**trusted, "issuer": "https://10.1.2.3/realms/b"})
    allowed: dict[str, Any] = {}

    def keys(issuer: str, fetch: Any) -> Any:
        allowed[issuer] = fetch.keywords["private_hosts"]
        with pytest.raises(NotFetched, match=r"10\.1\.2\.3 is not a public address"):
            fetch(issuer)

    OidcCallers(Database(sqlite_database_url), [inside, outside], allow_loopback=False, keys=keys)
    assert allowed == {inside.issuer: {"keys.internal"}, outside.issuer: frozenset()}
    with pytest.raises(ValidationError, match="private_hosts"):
        TrustedIssuer.model_validate(
            {**trusted, "issuer": "https://id.example", "private_hosts": ["https://id.example"]}
        )
