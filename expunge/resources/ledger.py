"""The ledger: the hash-chained log of every change of state, and the keys that sign."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
from pydantic import ValidationError

from expunge.answers import ConsistencyProof, Event, InclusionProof, LedgerCheck, LedgerHead
from expunge.errors import UnexpectedAnswer
from expunge.transport import RETRIED_STATUSES, Transport, pause, refusal_of
from expunge.verify_ledger import BUNDLE

_LONGEST_SILENCE: Final = 120.0
_PAGE: Final = 200


class Ledger:
    """`client.ledger`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def head(self) -> LedgerHead:
        """The newest event's number and hash and the root over all events, signed.

        `expunge.verify_ledger` checks it.
        """
        return self._transport.get("/v1/ledger/head", LedgerHead)

    def proof(self, seq: int, size: int | None = None) -> InclusionProof:
        """An event, and what shows that it is in the ledger of `size` events, or the newest."""
        asked = {"seq": seq, "size": size}
        return self._transport.get("/v1/ledger/proof", InclusionProof, asked)

    def consistency(self, old: int, new: int | None = None) -> ConsistencyProof:
        """What shows that the ledger of `new` events, or the newest, begins with the `old` ones."""
        asked = {"from": old, "to": new}
        return self._transport.get("/v1/ledger/consistency", ConsistencyProof, asked)

    def verify(self) -> LedgerCheck:
        """Let the service check every event, and every row that the events sealed."""
        return self._transport.get("/v1/ledger/verify", LedgerCheck)

    def export(self) -> Iterator[str]:
        """The signed head and every event up to it, a line each: see `verify_bundle`."""
        head = self.head()
        yield json.dumps({"bundle": BUNDLE, "head": head.model_dump()})
        after: str | None = None
        left = head.seq
        while left:
            response = self._transport.send(
                "GET", "/v1/events", params={"after": after, "limit": _PAGE}
            )
            answer = self._transport.json(response)
            for event in answer["items"][:left]:
                left -= 1
                # As it came: what is hashed must not pass through our own types.
                yield json.dumps(event, ensure_ascii=False)
            after = answer["next"]

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
