"""Webhooks: events sent to addresses of yours. `expunge.webhooks` checks what arrives there."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from expunge.answers import NewWebhookSecret, WebhookDelivery, WebhookEndpoint
from expunge.transport import Transport


class Webhooks:
    """`client.webhooks`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        url: str,
        kinds: Sequence[str] = (),
        description: str | None = None,
        after: int | None = None,
    ) -> NewWebhookSecret:
        """A new endpoint; its secret is in this answer and nowhere else.

        `kinds` such as `request.completed` or `request.*`; none means all. With `after`, events
        behind that number are sent too.
        """
        body: dict[str, object] = {"url": url, "kinds": list(kinds)}
        if description is not None:
            body["description"] = description
        if after is not None:
            body["after"] = after
        return self._transport.post(_ENDPOINTS, NewWebhookSecret, body)

    def get(self, endpoint: str) -> WebhookEndpoint:
        """One endpoint."""
        return self._transport.get(_path(endpoint), WebhookEndpoint)

    def list(self, limit: int | None = None) -> Iterator[WebhookEndpoint]:
        """All endpoints, newest first."""
        return self._transport.pages(_ENDPOINTS, WebhookEndpoint, {"limit": limit})

    def change(
        self,
        endpoint: str,
        *,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """The endpoint with what is given put in the place of what it had."""
        given = {"url": url, "kinds": None if kinds is None else [*kinds], "enabled": enabled}
        body = {name: value for name, value in given.items() if value is not None}
        response = self._transport.send("PATCH", _path(endpoint), body=lambda: {"json": body})
        return self._transport.read(response, WebhookEndpoint)

    def remove(self, endpoint: str) -> None:
        """Send nothing there any more."""
        self._transport.send("DELETE", _path(endpoint))

    def rotate_secret(self, endpoint: str) -> NewWebhookSecret:
        """A new secret, in this answer and nowhere else; the former one stays good for a while."""
        return self._transport.post(f"{_path(endpoint)}/rotate-secret", NewWebhookSecret)

    def deliveries(
        self, endpoint: str, state: str | None = None, limit: int | None = None
    ) -> Iterator[WebhookDelivery]:
        """What was sent or waits (`waiting`, `delivered`, `dead`), newest first."""
        asked = {"state": state, "limit": limit}
        return self._transport.pages(f"{_path(endpoint)}/deliveries", WebhookDelivery, asked)

    def replay(self, endpoint: str, delivery: str) -> WebhookDelivery:
        """Let one event be delivered once more."""
        path = f"{_path(endpoint)}/deliveries/{quote(delivery, safe='')}/replay"
        return self._transport.post(path, WebhookDelivery)

    def replay_after(self, endpoint: str, seq: int) -> WebhookEndpoint:
        """Let every wanted event behind number `seq` be delivered once more."""
        return self._transport.post(f"{_path(endpoint)}/replay", WebhookEndpoint, {"after": seq})


_ENDPOINTS = "/v1/webhook-endpoints"


def _path(endpoint: str) -> str:
    return f"{_ENDPOINTS}/{quote(endpoint, safe='')}"
