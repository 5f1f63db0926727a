"""Whether the service lives, and whether it can work."""

from typing import Final

from expunge.answers import Readiness
from expunge.transport import Transport

_LIVE_WORKERS: Final = "expunge_live_workers "


class Health:
    """`client.health`; needs no API key."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def live(self) -> bool:
        """Whether it answers; a single try, raising Unreachable if nothing does."""
        return self._transport.send("GET", "/healthz", tries=1).status_code == 200

    def ready(self) -> Readiness:
        """Its checks of database, schema, storage and signing key, also when one fails."""
        response = self._transport.send("GET", "/readyz", tries=1, accepted=frozenset({503}))
        return self._transport.read(response, Readiness)

    def live_workers(self) -> int | None:
        """Workers that showed themselves of late; None if the service cannot say."""
        text = self._transport.send("GET", "/metrics", tries=1).text
        for line in text.splitlines():
            if line.startswith(_LIVE_WORKERS):
                return int(float(line.removeprefix(_LIVE_WORKERS)))
        return None
