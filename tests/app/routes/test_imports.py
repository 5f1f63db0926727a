import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.services import importing
from app.states import RequestState
from app.tables import DeletionRequest, LedgerEvent, RequestInstance
from carried_out import carry_out
from expunge import Client
from expunge.errors import ApiProblem
from running_service import Registered, Service, register_model

PATH = "/v1/deletion-requests:import"


def send(
    client: httpx.Client, rows: str | bytes, key: str | None = None, **fields: str
) -> httpx.Response:
    content = rows.encode() if isinstance(rows, str) else rows
    form = {"model": "digits-model", **fields}
    headers = {"Idempotency-Key": key} if key else None
    return client.post(PATH, data=form, files={"rows": content}, headers=headers)


def events(service: Service) -> int:
    with service.database.read() as session:
        return session.scalar(select(func.count()).select_from(LedgerEvent)) or 0


def test_a_file_becomes_one_request_that_is_carried_out(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    rows = '{"instance": "i-0"}\n\n{"subject": "s-1"}\r\n{"instance": "i-1"}\n{"instance": "i-0"}'
    made = send(client, rows, external_id="TICKET-9", tasks='["parity"]', priority="high")
    assert made.status_code == 202, made.text
    request = made.json()
    assert made.headers["Location"] == f"/v1/deletion-requests/{request['id']}"
    assert request["instances"] == ["i-0", "i-1", "i-6"]  # s-1 has i-1 and i-6
    assert (request["instance_count"], request["subjects"]) == (3, [])
    assert (request["tasks"], request["external_id"]) == (["parity"], "TICKET-9")
    assert request["imported"] | {"sha256": None} == {
        "format": "jsonl",
        "sha256": None,
        "rows": 4,
        "subjects": 1,
        "unknown": 0,
    }
    (found,) = client.get("/v1/deletion-requests", params={"subject": "s-1"}).json()["items"]
    assert found["id"] == request["id"]
    carry_out(service.parts)
    done = client.get(made.headers["Location"]).json()
    assert done["state"] == "completed"
    assert client.get("/v1/ledger/verify").json()["ok"]
    again = send(client, 'instance\n"i-6"\n', format="csv", tasks='["parity"]')
    assert again.status_code == 200
    assert again.json()["earlier_receipts"] == [done["receipt"]]


@pytest.mark.usefixtures("registered")
def test_a_csv_may_come_from_a_spreadsheet(client: httpx.Client) -> None:
    rows = b'\xef\xbb\xbfsubject,instance\r\n,i-3\r\n"s-4",\r\n'
    made = send(client, rows, format="csv", received_at="2026-03-04T09:00:00Z", tasks="all")
    assert made.status_code == 202, made.text
    assert made.json()["instances"] == ["i-3", "i-4", "i-9"]
    assert made.json()["due_at"] == "2026-04-04T09:00:00Z"


@pytest.mark.usefixtures("registered")
def test_bad_lines_are_named_and_nothing_is_written(service: Service) -> None:
    lines = [
        '{"instance": "i-0"}',
        "img-7",
        '["i-0"]',
        '{"instance": "i-0", "subject": "s-0"}',
        "{}",
        '{"id": "i-0"}',
        '{"instance": 7}',
        '{"instance": ""}',
        '{"subject": "\\u0000"}',
        '{"subject": "' + "x" * 20_000 + '"}',
        '{"instance": "absent"}',
        *["-"] * 30,
    ]
    before = events(service)
    with service.client() as client:
        refused = send(client, "\n".join(lines))
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"].endswith("/bad-import")
    assert problem["count"] == 39
    assert problem["lines"] == [2, 3, 4, 5, 6, 7, 8, 9, 10, *range(12, 23)]
    told = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert told["line:2"] == "not JSON"
    assert told["line:4"] == "give exactly one of instance and subject"
    assert told["line:6"] == "unknown member 'id'"
    assert told["line:7"] == "instance 7 is not a text of 1 to 512 characters"
    assert told["line:10"] == "longer than 10000 bytes"
    assert events(service) == before


@pytest.mark.usefixtures("registered")
def test_ids_that_are_not_in_the_manifest_are_named_with_their_lines(
    service: Service, client: httpx.Client
) -> None:
    rows = "instance,subject\n" + "i-0,\n" + ",nobody\n" + "\n".join(f"x-{n}," for n in range(24))
    refused = send(client, rows, format="csv")
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"].endswith("/unknown-instances")
    assert (problem["unknown_count"], problem["lines"]) == (25, list(range(3, 23)))
    assert problem["unknown"][:2] == ["nobody", "x-0"]
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(RequestInstance)) == 0
    skipped = send(client, rows, format="csv", on_unknown="skip").json()
    assert (skipped["instance_count"], skipped["imported"]["unknown"]) == (1, 25)
    assert skipped["unknown_instances"][0] == "subject:nobody"
    assert len(skipped["unknown_instances"]) == 20
    carry_out(service.parts)
    done = client.get(f"/v1/deletion-requests/{skipped['id']}").json()
    assert done["state"] == "completed_with_exceptions"
    envelope = client.get(f"/v1/deletion-requests/{done['id']}/receipt")
    assert envelope.status_code == 200


@pytest.mark.parametrize(
    ("rows", "fields", "status", "told"),
    [
        ("", {}, 422, "names nothing"),
        ("name\ni-0", {"format": "csv"}, 422, "the header must name the columns"),
        ("instance,instance\ni-0,", {"format": "csv"}, 422, "the header must name"),
        ('instance\n"i-0', {"format": "csv"}, 422, "not CSV"),
        ("instance\ni-0,i-1", {"format": "csv"}, 422, "2 fields where the header has 1"),
        ("instance,subject\ni-0,s-0", {"format": "csv"}, 422, "exactly one of"),
        ("instance\n\xff".encode("latin-1"), {"format": "csv"}, 422, "not UTF-8"),
        ('{"instance": "i-0"}', {"priority": "urgent"}, 422, "priority"),
        ('{"instance": "i-0"}', {"tasks": "parity"}, 422, "neither a JSON list"),
        ('{"instance": "i-0"}', {"tasks": '["\\ud800"]'}, 422, "tasks"),
        ('{"instance": "i-0"}', {"tasks": '["depth"]'}, 422, "digit, parity"),
        ('{"instance": "i-0"}', {"received_at": "yesterday"}, 422, "RFC 3339"),
        ('{"instance": "i-0"}', {"received_at": "9000-01-01T00:00:00Z"}, 422, "in the future"),
        ('{"instance": "i-0"}', {"model": "absent"}, 404, "no model 'absent'"),
        ('{"instance": "i-0"}', {"colour": "red"}, 422, "is not a part of this form"),
    ],
)
@pytest.mark.usefixtures("_registered")
def test_what_cannot_be_imported_is_told_in_a_sentence(
    shared_service: Service, rows: str, fields: dict[str, str], status: int, told: str
) -> None:
    with shared_service.client() as client:
        refused = send(client, rows, **fields)
    assert refused.status_code == status, refused.text
    assert told in refused.json()["detail"]


@pytest.fixture(scope="module")
def _registered(shared_service: Service) -> None:
    with shared_service.database.write() as session, session.begin():
        register_model(session, shared_service.parts.storage)


@pytest.mark.usefixtures("_registered")
def test_the_number_of_rows_is_limited(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MOST_ROWS", 3)
    with shared_service.client() as client:
        refused = send(client, '{"instance": "i-0"}\n' * 4)
    assert refused.status_code == 413
    assert refused.json()["detail"] == "an import has at most 3 rows"


@pytest.mark.usefixtures("registered")
def test_an_idempotency_key_makes_a_repetition_safe(client: httpx.Client) -> None:
    rows = '{"instance": "i-2"}\n'
    first = send(client, rows, key="k-1")
    replayed = send(client, rows, key="k-1")
    assert replayed.json() == first.json()
    assert replayed.headers["Idempotency-Replayed"] == "true"
    other = send(client, '{"instance": "i-3"}\n', key="k-1")
    assert (other.status_code, other.json()["type"].rpartition("/")[2]) == (
        422,
        "idempotency-key-reused",
    )
    assert len(client.get("/v1/deletion-requests").json()["items"]) == 1


def test_most_of_the_data_waits_for_approval_and_all_of_it_is_never_automatic(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    most = "\n".join(json.dumps({"instance": one}) for one in registered.instances[:6])
    held = send(client, most).json()
    assert held["state"] == RequestState.AWAITING_APPROVAL
    assert "60.0% of the instances" in held["state_reason"]
    assert held["approvals_needed"] == 1
    assert held["estimate"] is not None
    emptied = send(client, "subject\n" + "\n".join(f"s-{n}" for n in range(5)), format="csv")
    assert "nothing that teaches" in emptied.json()["state_reason"]
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DeletionRequest)) == 2


def test_the_client_sends_a_file_and_tells_how_far_it_is(
    sqlite_service: Service, tmp_path: Path
) -> None:
    with sqlite_service.database.write() as session, session.begin():
        register_model(session, sqlite_service.parts.storage)
    file = tmp_path / "leavers.csv"
    file.write_text("instance\ni-0\ni-1\n")
    told: list[Any] = []
    with Client(sqlite_service.base_url, sqlite_service.admin_key) as client:
        made = client.requests.import_file(
            "digits-model",
            file,
            tasks=["digit"],
            on_bytes=lambda done, of: told.append((done, of)),
        )
        assert made.imported is not None
        assert (made.imported.rows, made.imported.format, made.tasks) == (2, "csv", ("digit",))
        assert told[-1] == (17, 17)
        with pytest.raises(ApiProblem, match="no model"):
            client.requests.import_file("absent", file)
