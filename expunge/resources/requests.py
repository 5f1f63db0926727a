"""Deletion requests: posted, decided upon, waited for, and their receipts."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from expunge.answers import CellOpening, DeletionRequest, Event, Preview
from expunge.errors import ExpungeError, WaitTimeout
from expunge.transfers import CountedFile, OnBytes
from expunge.transport import Transport

_PATH: Final = "/v1/deletion-requests"
_LONGEST_WAIT: Final = 30.0
"""Seconds for which one call asks the service to hold its answer."""

_SECONDS_TO_IMPORT: Final = 900.0
"""For a silence of the service, which looks a million rows up before it answers."""

ImportFormat = Literal["jsonl", "csv"]
OnUnknown = Literal["refuse", "skip"]
ReceiptForm = Literal["json", "html", "pdf"]
_FORMS: Final = {"json": "application/json", "html": "text/html", "pdf": "application/pdf"}


class Requests:
    """`client.requests`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        model: str,
        *,
        instances: Sequence[str] = (),
        subjects: Sequence[str] = (),
        tasks: Sequence[str] | None = None,
        reason: str | None = None,
        external_id: str | None = None,
        received_at: datetime | None = None,
        due_at: datetime | None = None,
        priority: str | None = None,
        on_unknown: OnUnknown = "refuse",
    ) -> DeletionRequest:
        """Ask that instances, and all instances of subjects, be forgotten.

        `tasks` None means all of them. An instance that the manifest lacks is refused, or left
        out with `on_unknown="skip"`.
        """
        body = _body(
            model,
            instances=instances,
            subjects=subjects,
            tasks=tasks,
            reason=reason,
            external_id=external_id,
            received_at=received_at,
            due_at=due_at,
            priority=priority,
            on_unknown=on_unknown,
        )
        return self._transport.post(_PATH, DeletionRequest, body)

    def preview(
        self,
        model: str,
        *,
        instances: Sequence[str] = (),
        subjects: Sequence[str] = (),
        tasks: Sequence[str] | None = None,
        on_unknown: OnUnknown = "refuse",
    ) -> Preview:
        """What `create` would do; nothing is written."""
        body = _body(
            model, instances=instances, subjects=subjects, tasks=tasks, on_unknown=on_unknown
        )
        return self._transport.post(_PATH, Preview, {**body, "validate_only": True})

    def import_file(
        self,
        model: str,
        file: Path,
        *,
        format: ImportFormat | None = None,
        tasks: Sequence[str] | None = None,
        reason: str | None = None,
        external_id: str | None = None,
        received_at: datetime | None = None,
        due_at: datetime | None = None,
        priority: str | None = None,
        on_unknown: OnUnknown = "refuse",
        on_bytes: OnBytes | None = None,
    ) -> DeletionRequest:
        """One request for all that a file names: JSON lines or CSV, up to a million rows, streamed.

        A JSON line holds `instance` or `subject`; these are the columns of a CSV too. `format`
        None: `csv` for a file of that ending, else `jsonl`. A refusal names lines in `errors`.
        """
        if not file.is_file():
            raise ExpungeError(f"there is no file {file}")
        form = _body(
            model,
            format=format or ("csv" if file.suffix.lower() == ".csv" else "jsonl"),
            reason=reason,
            external_id=external_id,
            received_at=received_at,
            due_at=due_at,
            priority=priority,
            on_unknown=on_unknown,
        )
        if tasks is not None:
            form["tasks"] = json.dumps(list(tasks))
        with ExitStack() as opened:

            def body() -> dict[str, Any]:
                rows = opened.enter_context(file.open("rb"))
                sent = CountedFile(rows, on_bytes) if on_bytes else rows
                return {"data": form, "files": {"rows": (file.name, sent)}}

            response = self._transport.send(
                "POST", f"{_PATH}:import", body=body, timeout=_SECONDS_TO_IMPORT
            )
        return self._transport.read(response, DeletionRequest)

    def get(self, request: str) -> DeletionRequest:
        """One request as it is now."""
        return self._transport.get(_path(request), DeletionRequest)

    def list(
        self,
        *,
        state: str | None = None,
        model: str | None = None,
        subject: str | None = None,
        external_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[DeletionRequest]:
        """Requests, newest first; `limit` is the size of a page."""
        chosen = {
            "state": state,
            "model": model,
            "subject": subject,
            "external_id": external_id,
            "limit": limit,
        }
        return self._transport.pages(_PATH, DeletionRequest, chosen)

    def wait(
        self,
        request: str,
        timeout: float | None = None,
        on_change: Callable[[DeletionRequest], None] | None = None,
    ) -> DeletionRequest:
        """The request once nothing more happens to it by itself.

        `on_change` is called with the first state and each later one. Raises WaitTimeout after
        `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        etag: str | None = None
        seconds = 0.0
        while True:
            response = self._transport.send(
                "GET",
                _path(request),
                params={"wait": max(0, round(seconds))} if etag else None,
                headers={"If-None-Match": etag} if etag else None,
                timeout=self._transport.timeout + seconds,
                accepted=frozenset({304}),
            )
            if response.status_code != 304:
                found = self._transport.read(response, DeletionRequest)
                if on_change and response.headers.get("ETag") != etag:
                    on_change(found)
                if found.finished:
                    return found
                etag = response.headers.get("ETag")
            left = _LONGEST_WAIT if until is None else until - time.monotonic()
            if left <= 0:
                raise WaitTimeout(f"request {request} is still {found.state} after {timeout:g} s")
            seconds = min(left, _LONGEST_WAIT)
            if seconds < 1 or etag is None:
                time.sleep(min(seconds, 0.5))
                seconds = 0.0

    def approve(self, request: str, note: str | None = None) -> DeletionRequest:
        """Let a request that awaits approval go on."""
        return self._verb(request, "approve", note=note)

    def deny(self, request: str, ground: str) -> DeletionRequest:
        """Refuse a request that awaits approval, on a stated ground."""
        return self._verb(request, "deny", ground=ground)

    def cancel(self, request: str, reason: str | None = None) -> DeletionRequest:
        """Withdraw a request."""
        return self._verb(request, "cancel", reason=reason)

    def extend(self, request: str, months: int, reason: str) -> DeletionRequest:
        """Move the deadline by one or two months, once (GDPR, Art. 12(3))."""
        return self._verb(request, "extend", months=months, reason=reason)

    def retry(self, request: str) -> DeletionRequest:
        """Queue a request again that failed or was completed with exceptions."""
        return self._verb(request, "retry")

    def receipt(self, request: str, form: ReceiptForm = "json") -> bytes:
        """The signed statement of what was done, byte for byte; see `expunge.verify`.

        As `html` or `pdf` it is told in plain words, for people.
        """
        headers = {"Accept": _FORMS[form]}
        return self._transport.send("GET", f"{_path(request)}/receipt", headers=headers).content

    def open_cell(self, request: str, instance: str, task: str) -> CellOpening:
        """What shows that the receipt covers one task of one instance; see `verify_cell`."""
        body = {"instance": instance, "task": task}
        return self._transport.post(f"{_path(request)}/receipt/openings", CellOpening, body)

    def events(self, request: str, limit: int | None = None) -> Iterator[Event]:
        """The ledger's events about a request."""
        return self._transport.pages(f"{_path(request)}/events", Event, {"limit": limit})

    def _verb(self, request: str, verb: str, **body: str | int | None) -> DeletionRequest:
        given = {name: value for name, value in body.items() if value is not None}
        return self._transport.post(f"{_path(request)}/{verb}", DeletionRequest, given)


def _path(request: str) -> str:
    return f"{_PATH}/{quote(request, safe='')}"


def _body(model: str, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model}
    for name, value in fields.items():
        if isinstance(value, datetime):
            body[name] = value.isoformat()
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if value or name == "tasks":
                body[name] = list(value)
        elif value is not None:
            body[name] = value
    return body
