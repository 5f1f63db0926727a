"""The ledger: the hash-chained log of every change of state, and the keys that sign."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
from pydantic import ValidationError

from expunge.answers import Event, LedgerCheck, LedgerHead
from expunge.errors import UnexpectedAnswer
from expunge.transport import RETRIED_STATUSES, Transport, pause, refusal_of

_LONGEST_SILENCE: Final = 120.0


class Ledger:
    """`client.ledger`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def head(self) -> LedgerHead:
        """The newest event's number and hash, signed."""
        return self._transport.get("/v1/ledger/head", LedgerHead)

    def verify(self) -> LedgerCheck:
        """Let the service check its whole chain."""
        return self._transport.get("/v1/ledger/verify", LedgerCheck)

    def jwks(self) -> Any:
        """The public keys, current and former, as a JSON Web Key Set."""
        return self._transport.json(self._transport.send("GET", "/.well-known/jwks.json"))

    def events(self, limit: int | None = None) -> Iterator[Event]:
        """All events, a page at a time."""
        return self._transport.pages("/v1/events", Event, {"limit": limit})

    def follow(self, after: int | None = None) -> Iterator[Event]:
        """Events as they happen, for ever; a lost connection goes on after the last one seen."""
        failed = 0
        while True:
            headers = {"Accept": "text/event-stream"}
            if after is not None:
                headers["Last-Event-ID"] = str(after)
            try:
                with self._transport.stream(
                    "GET", "/v1/events", headers, timeout=_LONGEST_SILENCE
                ) as response:
                    if response.status_code != 200:
                        response.read()
                        refusal = refusal_of(response)
                        if (
                            response.status_code not in RETRIED_STATUSES
                            or failed >= self._transport.tries
                        ):
                            raise refusal
                    else:
                        for event in _events(response.iter_lines()):
                            failed, after = 0, event.seq
                            yield event
            except httpx.TransportError as error:
                if failed >= self._transport.tries:
                    raise self._transport.unreachable(error) from None
            failed += 1
            time.sleep(pause(failed, None))


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a `text/event-stream`; comments and other fields are passed over."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            try:
                yield Event.model_validate(json.loads("\n".join(data)))
            except (ValueError, ValidationError) as error:
                raise UnexpectedAnswer(f"an event cannot be read: {error}") from None
            data = []
