"""What a receipt says, in plain words: the same for the page and for the PDF.

It is made of the signed envelope alone, so that it can say nothing that was not signed. Receipts of
earlier releases stay readable: what they lack is left out.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.schemas.receipts import STATEMENT

_Json = Mapping[str, Any]

_OUTCOMES = {
    "completed": "Everything that was asked for met the thresholds that were set beforehand.",
    "completed_with_exceptions": (
        "The request was carried out, but not everything that was asked for met the thresholds"
        " that were set beforehand, or not everything that it named was found."
    ),
}
_STATES = {
    "verified": "The audit let the new version be used.",
    "superseded": "The audit let the new version be used; a later one has taken its place since.",
    "rejected": "The audit did not let the new version be used.",
    "staged": "The audit could not decide; the new version was not put to use by itself.",
}
_VERDICTS = {"pass": "passed", "fail": "did not pass", "inconclusive": "could not decide"}


@dataclass(frozen=True)
class Section:
    """One heading, and what stands under it."""

    heading: str
    paragraphs: Sequence[str]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    after: Sequence[str] = ()
    """Paragraphs behind the table."""


@dataclass(frozen=True)
class Told:
    """A receipt in words."""

    title: str
    summary: str
    sections: Sequence[Section]
    envelope: str
    """The signed receipt itself."""


def told(envelope: str, public_url: str = "") -> Told:
    """The words for an envelope as it is kept."""
    signed = json.loads(envelope)
    statement = json.loads(base64.b64decode(signed["payload"]))
    said = statement["predicate"]
    return Told(
        title="Receipt for a deletion request",
        summary=f"Request {said['request']['id']}, model {said['model']}",
        sections=[
            _asked(said),
            _done(said, statement),
            _measured(said["audit"]),
            _not_proved(said),
            _check(said, signed, envelope, public_url),
        ],
        envelope=envelope,
    )


def _asked(said: _Json) -> Section:
    request = said["request"]
    count = request["instance_count"]
    records = "1 record" if count == 1 else f"{count} records"
    tasks = ", ".join(request["tasks"])
    whole = "everything that the model learnt from them" if request["scope"] == "full" else tasks
    told = [
        f"On {_day(request['received_at'])} it was asked that the model {said['model']!r} forget"
        f" {records}: {whole}. It was due by {_day(request['due_at'])}."
    ]
    if request["scope"] == "full":
        told.append(f"The model's tasks are: {tasks}.")
    else:
        told.append("What the model learnt from the same records for other tasks was to be kept.")
    if request["reason"]:
        told.append(f"The reason given: {request['reason']}.")
    if request["external_id"]:
        told.append(f"The request's own reference: {request['external_id']}.")
    unknown = request["unknown_instance_count"]
    if unknown:
        were = "1 name was" if unknown == 1 else f"{unknown} names were"
        told.append(f"{were} not among the data that the model was trained on, and left out.")
    return Section("What was asked", told)


def _done(said: _Json, statement: _Json) -> Section:
    request = said["request"]
    parent = said["parent"]
    made = f"from version {parent['version']} " if parent else ""
    (about, *_) = statement["subject"]
    return Section(
        "What was done",
        [
            f"On {_day(request['completed_at'])} a new version of the model was made {made}by the"
            f" method {said['method']!r}: version {said['version']['version']}.",
            _OUTCOMES.get(request["outcome"], f"The request ended as {request['outcome']!r}."),
            _STATES.get(said["version_state"], f"The new version is {said['version_state']!r}."),
            f"The file {about['name']} has the sha256 {about['digest']['sha256']}. Another file"
            " with this name but another digest is not the one that this receipt is about.",
        ],
    )


def _measured(audit: _Json) -> Section:
    cells = audit["cells"]
    rows = [
        (
            cell["task"] + ("" if cell["target"] else " (to be kept)"),
            f"{cell['metric']}, {'more' if cell['higher_is_better'] else 'less'} is better",
            _change(cell["forget"]),
            _change(cell["validation"]),
            _interval(cell["auc"]),
            _VERDICTS.get(cell["verdict"], cell["verdict"]),
        )
        for cell in cells
    ]
    verdict = _VERDICTS.get(audit["verdict"], audit["verdict"])
    return Section(
        "What was measured",
        [f"The audit of this request {verdict}."],
        ("task", "measure", "on your records", "on others' records", "recognised", "audit"),
        rows,
        [
            "Each measure is given before and after. 'On others' records' is what the model does"
            " with records that it was never trained on: after forgetting, yours should look"
            " like those.",
            "'Recognised' says how well an attacker can tell your records from records that the"
            f" model never saw: 0.5 is no better than guessing, 1 is always right. In brackets:"
            f" where the true value lies with {audit['confidence']:.0%} confidence. The records"
            f" for comparison: {audit['reference']}.",
            *(f"{cell['task']}: {cell['reason']}." for cell in cells if cell["reason"]),
            *(f"Note: {note}" for note in audit["notes"]),
        ],
    )


def _not_proved(said: _Json) -> Section:
    return Section(
        "What this does not prove",
        [
            str(said.get("statement", STATEMENT)),
            "It is a measurement of the one file that is named above. It says nothing of other"
            " models, of copies that were handed out earlier, of backups, or of the records"
            " themselves where they are stored.",
            "An attack that nobody tried here may still find a trace. The figures are samples, and"
            " have the uncertainty that is given beside them.",
        ],
    )


def _check(said: _Json, signed: _Json, envelope: str, public_url: str) -> Section:
    request = said["request"]
    keys = ", ".join(signature["keyid"] for signature in signed["signatures"])
    digest = hashlib.sha256(envelope.encode()).hexdigest()
    return Section(
        "How to check it",
        [
            "What binds is the signed receipt, a JSON file; this page only tells it in words. Ask"
            f" for it, or fetch {public_url}/v1/deletion-requests/{request['id']}/receipt as"
            f" application/json. Its sha256 is {digest}.",
            f"It is signed with Ed25519 by the key {keys}, which {public_url}/.well-known/jwks.json"
            " publishes. The free program 'expunge' checks it without asking anybody:"
            " expunge receipts verify receipt.json --jwks jwks.json",
            f"The receipt commits to {request['cells_count']} pairs of a record and a task without"
            " naming any. You may ask for the opening of one, and check that it is among them:"
            " expunge receipts verify receipt.json --jwks jwks.json --cell opening.json",
        ],
    )


def _change(change: _Json | None) -> str:
    return "nothing to measure" if change is None else " to ".join(_numbers(change))


def _numbers(change: _Json) -> Iterator[str]:
    for name in ("before", "after"):
        yield f"{change[name]:.3f}"


def _interval(auc: _Json | None) -> str:
    if auc is None:
        return "nothing to measure"
    before, after = auc["before"], auc["after"]
    return f"{before['value']:.2f} to {after['value']:.2f} ({after['low']:.2f}-{after['high']:.2f})"


def _day(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at.day} {at:%B %Y}"
