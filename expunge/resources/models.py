"""Models: networks under management, their aliases and what they were trained on."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from expunge.answers import Alias, ManifestEntry, Model, Recipient, Restricted
from expunge.transport import Transport


class Models:
    """`client.models`; a model is named by its id or its name."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        workload: str,
        workload_options: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> Model:
        """A new model; raises Conflict if no live worker has the workload."""
        body = {
            "name": name,
            "workload": workload,
            "workload_options": dict(workload_options or {}),
            "policy": dict(policy or {}),
        }
        return self._transport.post("/v1/models", Model, body)

    def get(self, model: str) -> Model:
        """One model."""
        return self._transport.get(path_of(model), Model)

    def list(self, limit: int | None = None) -> Iterator[Model]:
        """All models, newest first; `limit` is the size of a page."""
        return self._transport.pages("/v1/models", Model, {"limit": limit})

    def alias(self, model: str, alias: str) -> Alias:
        """Where an alias points."""
        return self._transport.get(_alias_path(model, alias), Alias)

    def moved_alias(self, model: str, alias: str, revision: int, wait: float) -> Alias | None:
        """The alias once it has another revision; None after `wait` seconds, 60 at the most."""
        response = self._transport.send(
            "GET",
            _alias_path(model, alias),
            params={"wait": wait},
            headers={"If-None-Match": f'"{revision}"'},
            timeout=wait + self._transport.timeout,
            accepted=frozenset({304}),
        )
        return None if response.status_code == 304 else self._transport.read(response, Alias)

    def move_alias(self, model: str, alias: str, version: str, reason: str | None = None) -> Alias:
        """Let `alias` name `version`; raises PreconditionFailed if somebody else just moved it."""
        path = _alias_path(model, alias)
        now = self._transport.send("GET", path, accepted=frozenset({404}))
        etag = now.headers.get("ETag") if now.status_code == 200 else None
        response = self._transport.send(
            "PUT",
            path,
            headers={"If-Match": etag} if etag else {},
            body=lambda: {"json": {"version": version, **({"reason": reason} if reason else {})}},
        )
        return self._transport.read(response, Alias)

    def manifest(
        self, model: str, version: str | None = None, limit: int | None = None
    ) -> Iterator[ManifestEntry]:
        """What a version was trained on, by default the promoted one."""
        path = f"{path_of(model)}/manifest"
        return self._transport.pages(path, ManifestEntry, {"version": version, "limit": limit})

    def restrictions(self, model: str, limit: int | None = None) -> Iterator[Restricted]:
        """What must not be processed while requests wait (GDPR, Art. 18)."""
        return self._transport.pages(f"{path_of(model)}/restrictions", Restricted, {"limit": limit})

    def recipients(self, model: str, limit: int | None = None) -> Iterator[Recipient]:
        """Who took which file: those who must be told of an erasure (GDPR, Art. 19)."""
        return self._transport.pages(f"{path_of(model)}/recipients", Recipient, {"limit": limit})


def path_of(model: str) -> str:
    """The path of a model."""
    return f"/v1/models/{quote(model, safe='')}"


def _alias_path(model: str, alias: str) -> str:
    return f"{path_of(model)}/aliases/{quote(alias, safe='')}"
