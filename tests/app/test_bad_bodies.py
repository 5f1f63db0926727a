"""What no route should ever see is refused in front of them, and nothing is written."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from app.tables import Model
from running_service import Service, add_worker

POST = "/v1/models"


@pytest.fixture(scope="module")
def caller(shared_service: Service) -> Iterator[httpx.Client]:
    with shared_service.database.write() as session, session.begin():
        add_worker(session)
    with shared_service.client() as client:
        yield client


def send(caller: httpx.Client, body: bytes) -> httpx.Response:
    return caller.post(POST, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("body", "status", "slug", "pointer"),
    [
        (b"{", 400, "not-json", None),
        (b"", 422, "invalid", "#"),
        (b"nonsense", 400, "not-json", None),
        (b'{"name": "\xff"}', 400, "not-json", None),
        (b"[" * 40 + b"]" * 40, 400, "too-deep", None),
        (b"[" * 100_000, 400, "too-deep", None),
        (b'{"name": ' + b"9" * 5000 + b"}", 400, "not-json", None),
        (b"[]", 422, "invalid", "#"),
        (b'{"name": 7, "workload": "digits"}', 422, "invalid", "#/name"),
        (b'{"name": "m"}', 422, "invalid", "#/workload"),
        (b'{"name": "m", "workload": "digits", "x": 1}', 422, "invalid", "#/x"),
        (b'{"name": "m\\u0000", "workload": "digits"}', 422, "invalid", "#/name"),
        (b'{"name": "m", "workload": "\\ud800"}', 422, "invalid", "#/workload"),
        (
            b'{"name": "m", "workload": "digits", "workload_options": {"a/b": ["\\u0000"]}}',
            422,
            "invalid",
            "#/workload_options/a~1b/0",
        ),
        (
            b'{"name": "m", "workload": "digits", "workload_options": {"\\u0000": 1}}',
            422,
            "invalid",
            "#/workload_options",
        ),
        (
            b'{"name": "m", "workload": "digits", "workload_options": {"a": NaN}}',
            422,
            "invalid",
            "#/workload_options/a",
        ),
        (
            b'{"name": "m", "workload": "digits", "workload_options": {"a": 1e999}}',
            422,
            "invalid",
            "#/workload_options/a",
        ),
        (
            b'{"name": "m", "workload": "digits", "policy": {"approval": "never"}}',
            422,
            "invalid",
            "#/policy/approval",
        ),
        (b'{"name": "../etc", "workload": "digits"}', 422, "invalid", "#/name"),
        (b'{"name": "mod_x", "workload": "digits"}', 422, "invalid", "#/name"),
    ],
)
def test_a_bad_body_is_refused_with_a_pointer(
    caller: httpx.Client,
    shared_service: Service,
    body: bytes,
    status: int,
    slug: str,
    pointer: str | None,
) -> None:
    answer = send(caller, body)
    problem = answer.json()
    assert (answer.status_code, problem["type"].rpartition("/")[2]) == (status, slug), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert "Traceback" not in answer.text
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    with shared_service.database.read() as session:
        assert session.scalars(select(Model.name)).all() in ([], ["written"])


def test_strings_with_escapes_that_are_text_pass(caller: httpx.Client) -> None:
    body = (
        b'{"name": "written", "workload": "digits",'
        b' "workload_options": {"a": "\\ud83d\\ude00 1e5"}}'
    )
    answer = send(caller, body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["workload_options"] == {"a": "\U0001f600 1e5"}


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(caller: httpx.Client) -> None:
    body = b'{"name": "' + b"x" * 1_100_000 + b'"}'
    assert send(caller, body).status_code == 413
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = caller.post(POST, content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("/too-large")


def test_only_a_route_that_takes_files_lets_a_form_be_larger(caller: httpx.Client) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 1_100_000
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = caller.post(POST, content=form, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("/too-large")
    upload = caller.post("/v1/models/none/versions", content=form, headers=headers)
    assert upload.status_code in (404, 422)


def test_json_sent_as_something_else_is_not_taken_for_json(caller: httpx.Client) -> None:
    body = b'{"name": "m", "workload": "digits"}'
    answer = caller.post(POST, content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


def test_unknown_paths_and_methods_are_problems_too(caller: httpx.Client) -> None:
    assert caller.get("/v1/nothing").json()["type"].endswith("/not-found")
    wrong = caller.put("/v1/models")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, POST"
    assert wrong.json()["type"].endswith("/method-not-allowed")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "after=%21%21", "after=AAA", "after=" + "x" * 1001]
)
def test_a_bad_page_is_refused_with_a_pointer(caller: httpx.Client, query: str) -> None:
    answer = caller.get(f"/v1/models?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"query:{query.partition('=')[0]}"
