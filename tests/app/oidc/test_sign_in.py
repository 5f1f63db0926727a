"""Signing in to the console at an issuer, as a browser goes there and comes back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from app.console import sessions
from running_service import Service, serve
from token_issuer import Issuer, trusting_settings

CLIENT = "expunge-console"
CALLBACK = "/console/oidc/callback"


@pytest.fixture(scope="module")
def service(
    shared_issuer: Issuer, tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sign-in")
    secret = folder / "client-secret"
    secret.write_text("s3cret:/+\n")
    file = shutil.copy(_migrated_sqlite, folder / "expunge.db")
    trust = shared_issuer.trust(client_id=CLIENT, client_secret_file=str(secret))
    yield from serve(trusting_settings(folder, f"sqlite:///{file}", trust))


@pytest.fixture
def issuer(shared_issuer: Issuer) -> Issuer:
    return shared_issuer


@pytest.fixture
def browser(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url) as client:
        yield client


def leave(browser: httpx.Client, issuer: Issuer) -> dict[str, str]:
    """What the issuer is asked, by the link on the page."""
    page = browser.get("/console")
    assert f"Sign in at {urlsplit(issuer.url).hostname}" in page.text
    sent = browser.get("/console/oidc/start", params={"issuer": issuer.url})
    assert sent.status_code == 303
    target = urlsplit(sent.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == f"{issuer.url}/authorize"
    cookie = next(c for c in sent.headers.get_list("Set-Cookie") if sessions.ATTEMPT_COOKIE in c)
    assert {"HttpOnly", "SameSite=lax", "Path=/console"} <= set(cookie.split("; "))
    return dict(parse_qsl(target.query))


def tokens(issuer: Issuer, asked: dict[str, str], **claims: Any) -> dict[str, str]:
    """What the issuer gives for its code; `claims` of the ID token."""
    told = {"aud": CLIENT, "nonce": asked["nonce"], **claims}
    return {
        "id_token": issuer.token(**told),
        "access_token": issuer.token(scope="requests:write"),
    }


def come_back(browser: httpx.Client, asked: dict[str, str], code: str) -> httpx.Response:
    return browser.get(CALLBACK, params={"state": asked["state"], "code": code})


def test_a_person_signs_in_and_out(service: Service, browser: httpx.Client, issuer: Issuer) -> None:
    asked = leave(browser, issuer)
    assert asked["response_type"] == "code"
    assert (asked["scope"], asked["code_challenge_method"]) == ("openid", "S256")
    assert asked["redirect_uri"] == service.base_url + CALLBACK
    back = come_back(browser, asked, issuer.grant(asked, **tokens(issuer, asked)))
    assert (back.status_code, back.headers["Refresh"]) == (200, "0; url=/console")
    cookie = next(c for c in back.headers.get_list("Set-Cookie") if "expunge_console=" in c)
    assert {"HttpOnly", "SameSite=strict", "Max-Age=3600"} <= set(cookie.split("; "))
    page = browser.get("/console")
    assert "Deletion requests" in page.text
    assert sessions.ATTEMPT_COOKIE not in browser.cookies
    exchange = next(seen for seen in issuer.server.seen if seen.path == "/token")
    assert (
        httpx.BasicAuth(CLIENT, "s3cret%3A%2F%2B")._auth_header == exchange.headers["Authorization"]
    )
    token = page.text.split('name="token" value="')[1].split('"')[0]
    browser.post("/console/sign-out", data={"token": token})
    assert "Deletion requests" not in browser.get("/console").text


def refuse(browser: httpx.Client, answer: httpx.Response, told: str, status: int = 401) -> None:
    assert answer.status_code == status
    assert told in answer.text.replace("&#39;", "'")
    assert sessions.SESSION_COOKIE not in browser.cookies


def test_a_wrong_state_and_a_code_without_an_attempt_let_nobody_in(
    browser: httpx.Client, issuer: Issuer
) -> None:
    refuse(browser, browser.get(CALLBACK, params={"code": "x", "state": "y"}), "let nobody in")
    asked = leave(browser, issuer)
    code = issuer.grant(asked, **tokens(issuer, asked))
    answer = browser.get(CALLBACK, params={"code": code, "state": asked["state"][:-1]})
    refuse(browser, answer, "begun elsewhere")
    refuse(browser, come_back(browser, asked, code), "let nobody in")  # an attempt counts once


def test_a_forged_attempt_and_another_issuers_answer_let_nobody_in(
    browser: httpx.Client, issuer: Issuer
) -> None:
    asked = leave(browser, issuer)
    code = issuer.grant(asked, **tokens(issuer, asked))
    given = {"state": asked["state"], "code": code}
    answer = browser.get(CALLBACK, params={**given, "iss": "https://other.example"})
    refuse(browser, answer, "another identity provider")
    kept = f"{sessions.ATTEMPT_COOKIE}=W10=.9999999999.00"
    refuse(browser, browser.get(CALLBACK, params=given, headers={"Cookie": kept}), "let nobody in")
    refuse(browser, browser.get(CALLBACK, params={"error": "access_denied"}), "let nobody in")


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"nonce": "other"}, "not made for this sign-in"),
        ({"nonce": None}, "not made for this sign-in"),
        ({"aud": "another-client"}, "issued for another audience"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "made for another client"),
        ({"aud": [CLIENT, "another"]}, "made for another client"),
        ({"exp": 1}, "has expired"),
        ({"sub": "bob"}, "of two people"),
        ({"iss": "https://other.example"}, "not trusted here"),
    ],
)
def test_an_id_token_that_is_not_this_sign_ins_lets_nobody_in(
    browser: httpx.Client, issuer: Issuer, claims: dict[str, Any], told: str
) -> None:
    asked = leave(browser, issuer)
    code = issuer.grant(asked, **tokens(issuer, asked, **claims))
    refuse(browser, come_back(browser, asked, code), told)


def test_what_the_issuer_does_not_give_is_told(browser: httpx.Client, issuer: Issuer) -> None:
    for given, told in (
        ({}, "no ID token and access token"),
        ({"id_token": "a.b.c", "access_token": "opaque"}, "is no JWT"),
        ({"id_token": "a.b.c", "access_token": "a.b.c"}, "cannot be read"),
    ):
        asked = leave(browser, issuer)
        refuse(browser, come_back(browser, asked, issuer.grant(asked, **given)), told)
    asked = leave(browser, issuer)
    refuse(browser, come_back(browser, asked, "unknown"), "did not confirm this sign-in")
    asked = leave(browser, issuer)
    other = issuer.grant({**asked, "code_challenge": "another"}, **tokens(issuer, asked))
    refuse(browser, come_back(browser, asked, other), "did not confirm this sign-in")


def test_only_an_issuer_with_a_client_is_a_way_in(browser: httpx.Client) -> None:
    for unknown in ("", "https://other.example"):
        answer = browser.get("/console/oidc/start", params={"issuer": unknown})
        refuse(browser, answer, "nobody signs in at this issuer", 404)


def test_an_issuer_that_is_away_or_leads_elsewhere_is_told(
    browser: httpx.Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(issuer.configuration, "authorization_endpoint", "ftp://elsewhere/")
    answer = browser.get("/console/oidc/start", params={"issuer": issuer.url})
    refuse(browser, answer, "is not under https", 503)
    monkeypatch.setattr(issuer, "is_away", True)
    answer = browser.get("/console/oidc/start", params={"issuer": issuer.url})
    refuse(browser, answer, "cannot be reached", 503)


def test_an_issuer_that_is_not_trusted_any_more_ends_its_sessions(
    browser: httpx.Client, service: Service, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = leave(browser, issuer)
    come_back(browser, asked, issuer.grant(asked, **tokens(issuer, asked)))
    assert "Deletion requests" in browser.get("/console").text
    monkeypatch.setattr(service.parts, "oidc", None)
    assert "Deletion requests" not in browser.get("/console").text
    answer = browser.get("/console/oidc/start", params={"issuer": issuer.url})
    assert answer.status_code == browser.get(CALLBACK).status_code == 404
