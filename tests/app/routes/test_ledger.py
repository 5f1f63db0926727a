"""The ledger over HTTP, and the client that checks what it says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from app.tables import LedgerEvent
from expunge import Client
from expunge.answers import LedgerHead
from expunge.dsse import keys_of
from expunge.errors import LedgerInvalid
from expunge.remembered import RememberedHeads
from expunge.verify_ledger import verify_bundle, verify_event, verify_growth, verify_head
from running_service import Service


@pytest.fixture
def reader(service: Service) -> Iterator[Client]:
    with Client(service.base_url, service.admin_key, tries=1) as reader:
        yield reader


def make_keys(client: httpx.Client, count: int) -> None:
    for number in range(count):
        body = {"name": f"k{number}", "scopes": ["admin"]}
        client.post("/v1/api-keys", json=body).raise_for_status()


def test_the_head_is_signed_by_a_published_key(client: httpx.Client, reader: Client) -> None:
    make_keys(client, 1)
    head, keys = reader.ledger.head(), keys_of(reader.ledger.jwks())
    assert (head.tenant, head.seq) == ("ten_default", 1)
    verify_head(head, keys)
    for change in (
        {"seq": 2},
        {"root": "00" * 32},
        {"hash": "00" * 32},
        {"tenant": "ten_other"},
        {"at": head.at.replace("2", "3", 1)},
        {"signature": head.signature.model_copy(update={"sig": "A" * 86 + "=="})},
        {"signature": head.signature.model_copy(update={"sig": "%"})},
    ):
        with pytest.raises(LedgerInvalid, match="does not hold"):
            verify_head(head.model_copy(update=change), keys)
    with pytest.raises(LedgerInvalid, match="not among those known"):
        verify_head(head, {})


def test_an_empty_ledger_has_a_head_too(reader: Client) -> None:
    head = reader.ledger.head()
    assert head.seq == 0
    verify_head(head, keys_of(reader.ledger.jwks()))
    assert verify_bundle(reader.ledger.export(), keys_of(reader.ledger.jwks())).events == 0


def test_every_event_is_proved_to_be_in_the_ledger(client: httpx.Client, reader: Client) -> None:
    make_keys(client, 5)
    head = reader.ledger.head()
    for seq in range(1, 6):
        proof = reader.ledger.proof(seq, head.seq)
        assert verify_event(proof, head)["payload"]["name"] == f"k{seq - 1}"
        forged = proof.model_copy(update={"body": proof.body.replace("k", "q")})
        with pytest.raises(LedgerInvalid, match=f"event {seq} is not in the ledger"):
            verify_event(forged, head)
        with pytest.raises(LedgerInvalid, match="is not in the ledger"):
            verify_event(proof.model_copy(update={"path": ("zz", *proof.path)}), head)
    older = reader.ledger.proof(2, 3)
    with pytest.raises(LedgerInvalid, match="for 3 events"):
        verify_event(older, head)


def test_a_ledger_that_only_grew_is_told_from_one_that_was_rewritten(
    service: Service, client: httpx.Client, reader: Client
) -> None:
    heads = [reader.ledger.head()]
    for _ in range(4):
        make_keys(client, 1)
        heads.append(reader.ledger.head())
    for number, old in enumerate(heads):
        for new in heads[number:]:
            verify_growth(old, new, reader.ledger.consistency(old.seq, new.seq))
    with service.database.write() as session, session.begin():
        changed = LedgerEvent.body.op("||")(" ")
        session.execute(update(LedgerEvent).where(LedgerEvent.seq == 2).values(body=changed))
    now = reader.ledger.head()
    with pytest.raises(LedgerInvalid, match="the past was rewritten"):
        verify_growth(heads[3], now, reader.ledger.consistency(3, now.seq))
    none = reader.ledger.consistency(0, 0)
    with pytest.raises(LedgerInvalid, match="the ledger shrank"):
        verify_growth(heads[4], heads[1], none)
    with pytest.raises(LedgerInvalid, match="of two ledgers"):
        verify_growth(heads[1].model_copy(update={"tenant": "ten_x"}), heads[2], none)


def test_a_changed_event_is_found(service: Service, client: httpx.Client) -> None:
    make_keys(client, 3)
    holds = {"ok": True, "events": 3, "problem": None, "problems": []}
    assert client.get("/v1/ledger/verify").json() == holds
    with service.database.write() as session, session.begin():
        changed = LedgerEvent.body.op("||")(" ")
        session.execute(update(LedgerEvent).where(LedgerEvent.seq == 2).values(body=changed))
    found = client.get("/v1/ledger/verify").json()
    assert found["ok"] is False
    assert "event 2 was changed" in found["problem"]
    assert found["problems"] == [found["problem"]]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("proof?seq=1&size=9", 422),
        ("proof?seq=3", 404),
        ("proof?seq=2&size=1", 404),
        ("proof?seq=0", 422),
        ("proof?seq=99999999999999999999", 422),
        ("proof", 422),
        ("consistency?from=2&to=1", 422),
        ("consistency?from=0&to=9", 422),
        ("consistency?from=9", 422),
        ("consistency", 422),
    ],
)
def test_a_proof_of_what_is_not_there_is_refused(
    client: httpx.Client, path: str, status: int
) -> None:
    make_keys(client, 2)
    assert client.get(f"/v1/ledger/{path}").status_code == status


def test_an_exported_ledger_is_checked_without_the_service(
    client: httpx.Client, reader: Client
) -> None:
    make_keys(client, 4)
    keys = keys_of(reader.ledger.jwks())
    first, *events = reader.ledger.export()
    found = verify_bundle([first, *events], keys)
    assert (found.events, found.head) == (
        4,
        reader.ledger.head().model_copy(
            update={"at": found.head.at, "signature": found.head.signature}
        ),
    )
    one, two, three, four = events
    for lines, named in (
        ([one, three, four], "event 2 is missing"),
        ([one, two, three], "the head names event 4"),
        ([one, two, two, three, four], "event 3 is missing: event 2"),
        ([one, three, two, four], "event 2 is missing"),
        ([one, two.replace("k1", "k7"), three, four], "event 2 was changed"),
        ([one, re.sub('"hash": "..', '"hash": "zz', two), three, four], "event 2 was changed"),
        ([one, re.sub('prev_hash": "..', 'prev_hash": "zz', two), three], "does not follow"),
        ([one, "{", three, four], "event 2 cannot be read"),
        ([one, "[]", three, four], "event 2 cannot be read"),
    ):
        with pytest.raises(LedgerInvalid, match=named):
            verify_bundle([first, *lines], keys)
    for broken in ("", "{}", "[]", first.replace("expunge ledger 1", "another")):
        with pytest.raises(LedgerInvalid, match="no exported ledger"):
            verify_bundle([broken, *events], keys)


def test_the_head_seen_last_is_remembered(reader: Client, tmp_path: Path) -> None:
    heads = RememberedHeads(tmp_path / "state" / "heads.json")
    assert heads.of("http://a") is None
    head = reader.ledger.head()
    heads.keep("http://a", head)
    heads.keep("http://b", head.model_copy(update={"seq": 7}))
    assert heads.of("http://a") == head
    other = heads.of("http://b")
    assert isinstance(other, LedgerHead)
    assert other.seq == 7
    kept = json.loads((tmp_path / "state" / "heads.json").read_text())
    assert set(kept) == {"http://a", "http://b"}
