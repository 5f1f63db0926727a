"""Legal holds: what must not be erased for now."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from expunge.answers import LegalHold
from expunge.transport import Transport

_PATH: Final = "/v1/legal-holds"


class Holds:
    """`client.holds`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def place(
        self,
        ground: str,
        reason: str,
        *,
        model: str | None = None,
        instances: Sequence[str] = (),
        subjects: Sequence[str] = (),
    ) -> LegalHold:
        """Forbid for now that these be erased, in one model or in all (GDPR, Art. 17(3))."""
        body = {
            "model": model,
            "instances": list(instances),
            "subjects": list(subjects),
            "ground": ground,
            "reason": reason,
        }
        return self._transport.post(_PATH, LegalHold, body)

    def get(self, hold: str) -> LegalHold:
        """One hold."""
        return self._transport.get(f"{_PATH}/{quote(hold, safe='')}", LegalHold)

    def list(self, *, active: bool | None = None, limit: int | None = None) -> Iterator[LegalHold]:
        """Holds, newest first; `active` chooses by whether they are in force."""
        chosen = {"active": None if active is None else str(active).lower(), "limit": limit}
        return self._transport.pages(_PATH, LegalHold, chosen)

    def release(self, hold: str, reason: str) -> LegalHold:
        """End a hold; the requests that it alone had parked go on by themselves."""
        path = f"{_PATH}/{quote(hold, safe='')}/release"
        return self._transport.post(path, LegalHold, {"reason": reason})
