"""API keys: who may call, and for what."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import quote

from expunge.answers import ApiKey, NewApiKey, WhoAmI
from expunge.transport import Transport


class Keys:
    """`client.keys`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, name: str, scopes: Sequence[str], expires_at: datetime | None = None
    ) -> NewApiKey:
        """A new key; its secret is in this answer and nowhere else."""
        body: dict[str, object] = {"name": name, "scopes": list(scopes)}
        if expires_at:
            body["expires_at"] = expires_at.isoformat()
        return self._transport.post("/v1/api-keys", NewApiKey, body)

    def list(self, limit: int | None = None) -> Iterator[ApiKey]:
        """All keys, newest first, without their secrets."""
        return self._transport.pages("/v1/api-keys", ApiKey, {"limit": limit})

    def revoke(self, key: str) -> None:
        """Make a key, named by its id, count no more."""
        self._transport.send("DELETE", f"/v1/api-keys/{quote(key, safe='')}")

    def whoami(self) -> WhoAmI:
        """Whom the service takes this client for."""
        return self._transport.get("/v1/whoami", WhoAmI)
