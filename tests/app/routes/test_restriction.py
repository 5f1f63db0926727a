"""What must not be processed while requests wait."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.auth import Scope
from app.services import restriction
from app.tables import Instance
from carried_out import carry_out
from running_service import Registered, Service

URL = "/v1/deletion-requests"


def post(client: httpx.Client, model: Registered, *instances: str, **body: Any) -> str:
    response = client.post(URL, json={"model": model.name, "instances": instances, **body})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def restricted(client: httpx.Client, model: Registered) -> dict[str, list[str]]:
    page = client.get(f"/v1/models/{model.name}/restrictions").json()
    assert page["next"] is None
    return {one["id"]: one["tasks"] for one in page["items"]}


def test_cells_are_restricted_from_the_request_until_they_are_forgotten(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    assert restricted(client, registered) == {}
    post(client, registered, "i-0", "i-2", tasks=["digit"])
    assert restricted(client, registered) == {"i-0": ["digit"], "i-2": ["digit"]}
    carry_out(service.parts)
    assert restricted(client, registered) == {}


def test_requests_for_one_instance_restrict_it_together(
    client: httpx.Client, registered: Registered
) -> None:
    late = post(client, registered, "i-0", tasks=["digit"])
    early = post(client, registered, "i-0", tasks=["parity"], received_at="2026-01-01T00:00:00Z")
    (only,) = client.get(f"/v1/models/{registered.name}/restrictions").json()["items"]
    assert only == {
        "id": "i-0",
        "tasks": ["digit", "parity"],
        "requests": [late, early],
        "since": "2026-01-01T00:00:00Z",
    }


def test_a_request_under_legal_hold_restricts_and_a_withdrawn_one_does_not(
    client: httpx.Client, registered: Registered
) -> None:
    hold = {"instances": ["i-0"], "ground": "gdpr_art_17_3_e", "reason": "case 118"}
    client.post("/v1/legal-holds", json=hold).raise_for_status()
    request = post(client, registered, "i-0")
    assert restricted(client, registered) == {"i-0": ["digit", "parity"]}
    client.post(f"{URL}/{request}/cancel").raise_for_status()
    assert restricted(client, registered) == {}


def test_pages_pass_over_what_the_instance_never_taught(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        row = session.scalars(select(Instance).where(Instance.instance_id == "i-1")).one()
        row.tasks = ["parity"]
    post(client, registered, "i-0", "i-1", "i-2", tasks=["digit"])
    found, after = [], None
    for _ in range(3):
        asked = {"limit": 1, **({"after": after} if after else {})}
        page = client.get(f"/v1/models/{registered.name}/restrictions", params=asked).json()
        found += [one["id"] for one in page["items"]]
        after = page["next"]
    assert (found, after) == (["i-0", "i-2"], None)


def test_many_restrictions_are_walked_in_manifest_order(
    service: Service, client: httpx.Client, registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restriction, "_FEW", 2)  # of what is gathered
    post(client, registered, "i-0")
    carry_out(service.parts)  # walked past: it restricts no more
    post(client, registered, "i-3", "i-1", tasks=["digit"])
    post(client, registered, "i-3", "i-2", tasks=["parity"])
    assert restricted(client, registered) == {
        "i-1": ["digit"],
        "i-2": ["parity"],
        "i-3": ["digit", "parity"],
    }
    url = f"/v1/models/{registered.name}/restrictions"
    first = client.get(url, params={"limit": 2}).json()
    rest = client.get(url, params={"limit": 2, "after": first["next"]}).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ["i-1", "i-2", "i-3"]


def test_reading_restrictions_needs_a_scope(service: Service, registered: Registered) -> None:
    with service.client(service.key(Scope.VERSIONS_READ)) as other:
        path = f"/v1/models/{registered.name}/restrictions"
        assert other.get(path).status_code == 403
