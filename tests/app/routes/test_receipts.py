"""A receipt as it was signed, as a page, as a PDF; and one cell of it, opened."""

import base64
import hashlib
import io
import json
import re
from html import unescape
from typing import Any

import httpx
import pytest
from pypdf import PdfReader
from sqlalchemy import select

from app.http_accept import preferred
from app.receipts import pdf, text
from app.tables import Receipt
from carried_out import carry_out
from expunge import Client
from expunge.dsse import keys_of
from expunge.errors import ReceiptInvalid
from expunge.verify import verify_cell, verify_receipt
from running_service import Registered, Service, register_model

URL = "/v1/deletion-requests"


@pytest.fixture
def receipt(service: Service, client: httpx.Client, registered: Registered) -> str:
    """The address of a receipt."""
    body = {
        "model": registered.name,
        "instances": ["i-0", "i-1", "i-2"],
        "tasks": ["digit"],
        "reason": "gdpr_art_17_1_b",
        "external_id": "TICKET <1>",
    }
    made = client.post(URL, json=body).json()
    carry_out(service.parts)
    return f"{URL}/{made['id']}/receipt"


def _words(page: str) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", page)).split())


def test_the_page_says_what_was_asked_done_measured_and_not_proved(
    client: httpx.Client, receipt: str
) -> None:
    found = client.get(receipt, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    assert found.headers["vary"] == "Accept"
    assert "<script" not in found.text
    assert "TICKET &lt;1&gt;" in found.text
    style = re.search("<style>(.*)</style>", found.text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in found.headers["content-security-policy"]
    words = _words(found.text)
    envelope = client.get(receipt)
    for said in (
        "What was asked",
        "forget 3 records: digit.",
        "What was done",
        "by the method 'interference_aware'",
        "The audit let the new version be used.",
        "What was measured",
        "0.90 to 0.52 (0.45-0.59)",
        "What this does not prove",
        "not a proof of erasure",
        "How to check it",
        hashlib.sha256(envelope.content).hexdigest(),
        envelope.text,
    ):
        assert said in words, said


def test_the_pdf_says_the_same(client: httpx.Client, receipt: str) -> None:
    found = client.get(receipt, headers={"Accept": "application/pdf"})
    assert found.headers["content-type"] == "application/pdf"
    assert found.content.startswith(b"%PDF-")
    assert client.get(receipt, headers={"Accept": "application/pdf"}).content == found.content
    document = PdfReader(io.BytesIO(found.content))
    words = " ".join(" ".join(page.extract_text() for page in document.pages).split())
    told = text.told(client.get(receipt).text)
    for section in told.sections:
        assert section.heading in words
    assert "TICKET <1>" in words
    assert "not a proof of erasure" in words
    assert document.metadata is not None
    assert document.metadata.title == "Receipt for a deletion request"


def test_what_the_font_lacks_is_spelt(client: httpx.Client, receipt: str) -> None:
    envelope = client.get(receipt).json()
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["request"]["external_id"] = "Zoë 案"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    made = PdfReader(io.BytesIO(pdf.render(text.told(json.dumps(envelope)))))
    words = " ".join(page.extract_text() for page in made.pages)
    assert "Zoë [U+6848]" in words


def test_each_form_has_its_own_etag(client: httpx.Client, receipt: str) -> None:
    tags = set()
    for form in ("application/json", "text/html", "application/pdf"):
        found = client.get(receipt, headers={"Accept": form})
        tags.add(found.headers["etag"])
        known = {"Accept": form, "If-None-Match": f'"x", {found.headers["etag"]}'}
        assert client.get(receipt, headers=known).status_code == 304
    assert len(tags) == 3


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "a/json"),
        ("", "a/json"),
        ("*/*", "a/json"),
        ("text/html", "text/html"),
        ("a/pdf;q=0.4, text/*;q=0.5", "text/html"),
        ("text/html;q=0, */*", "a/json"),
        ("A/PDF", "a/pdf"),
        ("a/*;q=0.2, a/pdf;q=0.9", "a/pdf"),
        ("text/html;q=x", "a/json"),
        ("image/png", "a/json"),
    ],
)
def test_the_form_liked_best_is_chosen(accept: str | None, form: str) -> None:
    assert preferred(accept, ("a/json", "text/html", "a/pdf")) == form


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version_state": "rejected"}, "did not let the new version be used"),
        ({"version_state": "staged"}, "could not decide"),
        ({"parent": None}, "a new version of the model was made by the method"),
        ({"request.scope": "full"}, "everything that the model learnt from them"),
        ({"request.outcome": "completed_with_exceptions"}, "not everything that was asked for met"),
        ({"request.unknown_instance_count": 2}, "2 names were not among the data"),
        ({"request.instance_count": 1}, "forget 1 record:"),
        ({"audit.verdict": "fail"}, "The audit of this request did not pass."),
        ({"audit.notes": ["few records"]}, "Note: few records"),
    ],
)
def test_every_ending_has_its_words(
    sqlite_receipt: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    statement = json.loads(base64.b64decode(sqlite_receipt["payload"]))
    for path, value in change.items():
        *parents, last = path.split(".")
        place = statement["predicate"]
        for name in parents:
            place = place[name]
        place[last] = value
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    told = text.told(json.dumps({**sqlite_receipt, "payload": payload}))
    words = " ".join(p for section in told.sections for p in (*section.paragraphs, *section.after))
    assert said in words


@pytest.fixture
def sqlite_receipt(sqlite_service: Service) -> dict[str, Any]:
    with sqlite_service.database.write() as session, session.begin():
        model = register_model(session, sqlite_service.parts.storage)
    with sqlite_service.client() as client:
        body = {"model": model.name, "instances": ["i-0", "i-1"], "tasks": ["digit"]}
        made = client.post(URL, json=body).json()
        carry_out(sqlite_service.parts)
        found: dict[str, Any] = client.get(f"{URL}/{made['id']}/receipt").json()
    return found


def test_a_cell_is_opened_and_helps_with_no_other(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = client.post(URL, json={"model": registered.name, "instances": ["i-0", "i-3", "i-4"]})
    request = made.json()["id"]
    carry_out(service.parts)
    with Client(service.base_url, service.admin_key, tries=1) as ours:
        statement = verify_receipt(
            ours.requests.receipt(request), keys_of(ours.ledger.jwks())
        ).statement
        for instance in ("i-0", "i-3", "i-4"):
            for task in ("digit", "parity"):
                opening = ours.requests.open_cell(request, instance, task)
                verify_cell(statement, opening)
                for change in (
                    {"instance": "i-9"},
                    {"task": "other"},
                    {"index": (opening.index + 1) % 6},
                    {"size": 5},
                    {"key": "00" * 32},
                    {"key": "zz"},
                    {"path": opening.path[:-1]},
                    {"path": (*opening.path, "00")},
                ):
                    with pytest.raises(ReceiptInvalid):
                        verify_cell(statement, opening.model_copy(update=change))
    for body in ({"instance": "i-1", "task": "digit"}, {"instance": "i-0", "task": "x"}):
        refused = client.post(f"{URL}/{request}/receipt/openings", json=body)
        assert refused.status_code == 404
    with service.database.read() as session:
        salt = session.scalars(select(Receipt.cells_salt)).one()
    assert salt.hex() not in opening.model_dump_json()


def test_every_byte_of_a_receipt_counts(sqlite_service: Service) -> None:
    with sqlite_service.database.write() as session, session.begin():
        model = register_model(session, sqlite_service.parts.storage)
    with sqlite_service.client() as client:
        body = {"model": model.name, "instances": ["i-0"], "tasks": ["digit"]}
        made = client.post(URL, json=body).json()
        carry_out(sqlite_service.parts)
        envelope = client.get(f"{URL}/{made['id']}/receipt").content
        keys = keys_of(client.get("/.well-known/jwks.json").json())
    verify_receipt(envelope, keys)
    for place in range(len(envelope)):
        altered = bytearray(envelope)
        altered[place] ^= 1 << (place % 8)
        with pytest.raises(ReceiptInvalid):
            verify_receipt(bytes(altered), keys)
    for cut in range(0, len(envelope), 97):
        with pytest.raises(ReceiptInvalid):
            verify_receipt(envelope[:cut], keys)
