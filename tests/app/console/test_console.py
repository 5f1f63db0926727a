import html
import re
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from app.auth import Scope
from app.console import sessions
from app.db import database_now
from app.schemas.models import Policy
from app.tables import ApiKey, Model
from carried_out import carry_out
from running_service import Service, register_model

NAME = "a<b>&c"


@pytest.fixture
def browser(sqlite_service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sqlite_service.base_url, follow_redirects=True) as client:
        yield client


@pytest.fixture
def request_id(sqlite_service: Service) -> str:
    """A completed request, with a name that must be escaped."""
    with sqlite_service.database.write() as session, session.begin():
        model = register_model(session, sqlite_service.parts.storage)
    with sqlite_service.client() as client:
        body = {"model": model.name, "instances": ["i-0"], "external_id": NAME}
        made = client.post("/v1/deletion-requests", json=body).json()["id"]
    carry_out(sqlite_service.parts)
    return str(made)


def token(page: httpx.Response) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', page.text)
    assert found
    return found[1]


def sign_in(browser: httpx.Client, key: str) -> httpx.Response:
    shown = browser.get("/console")
    return browser.post("/console/sign-in", data={"key": key, "token": token(shown)})


def test_a_stranger_is_asked_for_a_key_and_sees_nothing(
    browser: httpx.Client, request_id: str
) -> None:
    for path in ("/console", f"/console/receipts/{request_id}"):
        page = browser.get(path)
        assert page.status_code == 200
        assert 'type="password"' in page.text
        assert request_id not in page.text


def test_a_waiting_request_shows_what_it_may_cost_and_what_is_cheaper(
    sqlite_service: Service, browser: httpx.Client
) -> None:
    policy = Policy(approval="one_person")
    with sqlite_service.database.write() as session, session.begin():
        registered = register_model(session, sqlite_service.parts.storage, policy=policy)
        model = session.get_one(Model, registered.model_id)
        model.description = {**(model.description or {}), "epochs": 1}
    with sqlite_service.client() as client:
        body = {"model": registered.name, "instances": ["i-0"]}
        made = client.post("/v1/deletion-requests", json=body).json()
    page = sign_in(browser, sqlite_service.key(Scope.REQUESTS_APPROVE))
    text = html.unescape(re.sub(r"<[^>]+>", " ", page.text))
    assert made["proposal"] in text
    share = made["estimate"]["share_of_retraining"]
    assert f"{share:.1%} of retraining (interference_aware)" in text


def test_the_page_shows_the_audit_and_its_links(
    sqlite_service: Service, browser: httpx.Client, request_id: str
) -> None:
    page = sign_in(browser, sqlite_service.key(Scope.REQUESTS_WRITE))
    assert page.status_code == 200
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    text = re.sub(r" +", " ", text)
    for shown in (
        request_id,
        "completed",
        "full-task, 1 instance: digit, parity",
        "1.000 &rarr; 0.750",
        "1.000 &rarr; 0.980",
        "0.800 &rarr; 0.790",
        "0.900 &rarr; 0.520",
        " pass ",
        "a&lt;b&gt;&amp;c",
    ):
        assert shown in text, shown
    for link in ("/docs", "/metrics", f"/console/receipts/{request_id}"):
        assert f'href="{link}"' in page.text
    assert NAME not in page.text
    envelope = browser.get(f"/console/receipts/{request_id}")
    with sqlite_service.client() as client:
        assert envelope.content == client.get(f"/v1/deletion-requests/{request_id}/receipt").content
    told = browser.get(f"/console/receipts/{request_id}", headers={"Accept": "text/html"})
    assert "What was asked" in told.text
    assert "unsafe" not in told.headers["Content-Security-Policy"]


def test_the_page_runs_no_script_and_takes_no_style_but_its_own(
    sqlite_service: Service, browser: httpx.Client, request_id: str
) -> None:
    page = sign_in(browser, sqlite_service.admin_key)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert page.headers["X-Frame-Options"] == "DENY"
    styles = browser.get("/console/console.css")
    assert styles.headers["content-type"].startswith("text/css")


def test_the_session_is_a_strict_cookie_without_the_key(
    sqlite_service: Service, browser: httpx.Client
) -> None:
    browser.follow_redirects = False
    answer = sign_in(browser, sqlite_service.admin_key)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))
    assert sqlite_service.admin_key not in cookie


def test_a_wrong_key_and_a_key_without_the_scope_are_told_so(
    sqlite_service: Service, browser: httpx.Client
) -> None:
    for key in ("", "exp_x_y", "nonsense", "\x00"):
        page = sign_in(browser, key)
        assert page.status_code == 401
        assert 'role="alert"' in page.text
    page = sign_in(browser, sqlite_service.key(Scope.VERSIONS_READ))
    assert page.status_code == 403
    assert "lacks the scope" in page.text


def test_a_form_from_elsewhere_is_refused(sqlite_service: Service, browser: httpx.Client) -> None:
    shown = browser.get("/console")
    for wrong in ("", "0" * 64, token(shown)[:-1]):
        data = {"key": sqlite_service.admin_key, "token": wrong}
        assert browser.post("/console/sign-in", data=data).status_code == 403
    browser.cookies.clear()
    data = {"key": sqlite_service.admin_key, "token": token(shown)}
    assert browser.post("/console/sign-in", data=data).status_code == 403
    assert browser.post("/console/sign-out", data=data).status_code == 403


def test_signing_out_and_revoking_the_key_end_the_session(
    sqlite_service: Service, browser: httpx.Client
) -> None:
    page = sign_in(browser, sqlite_service.admin_key)
    assert "Deletion requests" in page.text
    browser.post("/console/sign-out", data={"token": token(page)})
    assert 'type="password"' in browser.get("/console").text
    sign_in(browser, sqlite_service.admin_key)
    with sqlite_service.database.write() as session, session.begin():
        key = session.scalars(select(ApiKey)).one()
        key.revoked_at = database_now(session)
    assert 'type="password"' in browser.get("/console").text


def test_a_forged_or_old_cookie_is_no_session(
    sqlite_service: Service, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LIFETIME_SECONDS", -10)
    browser.follow_redirects = False
    old = sign_in(browser, sqlite_service.admin_key).headers["Set-Cookie"].split(";")[0]
    browser.cookies.clear()
    forged = ("", "key_1.9999999999.00", "a.b.c", "..", "x" * 4000)
    for cookie in (old, *(f"{sessions.SESSION_COOKIE}={value}" for value in forged)):
        page = browser.get("/console", headers={"Cookie": cookie})
        assert 'type="password"' in page.text


def test_an_unfinished_request_makes_the_page_look_again(
    sqlite_service: Service, browser: httpx.Client, request_id: str
) -> None:
    assert "Refresh" not in sign_in(browser, sqlite_service.admin_key).headers
    with sqlite_service.client() as client:
        body = {"model": "digits-model", "instances": ["i-1"]}
        client.post("/v1/deletion-requests", json=body).raise_for_status()
    assert browser.get("/console").headers["Refresh"] == "5"
