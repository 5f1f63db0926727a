"""The operations that the OpenAPI document tells of, each as a call that can be made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_FORM = "multipart/form-data"


@dataclass(frozen=True)
class Operation:
    """One verb of one path."""

    verb: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.verb.upper()} {self.path}"

    @property
    def is_public(self) -> bool:
        """Nobody asks for a key."""
        return not self.described.get("security")

    @property
    def scopes(self) -> set[str]:
        """Any one of them suffices; where there is none, every key does."""
        return {scope for way in self.described.get("security", ()) for scope in way["bearer"]}

    def parameters(self, place: str) -> list[str]:
        """Those in the `path` or the `query`."""
        return [p["name"] for p in self.described.get("parameters", ()) if p["in"] == place]

    @property
    def media_type(self) -> str | None:
        """Of the body that it takes."""
        return next(iter(self.described.get("requestBody", {}).get("content", ())), None)

    @property
    def bodies(self) -> list[Any]:
        """The examples of the body that it takes; `[None]` where it takes none."""
        if self.media_type is None:
            return [None]
        content = self.described["requestBody"]["content"][self.media_type]
        several = [example["value"] for example in content.get("examples", {}).values()]
        return several or [content["example"]]

    def call(
        self,
        client: httpx.Client,
        values: Mapping[str, str],
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> httpx.Response:
        """The answer, with `values` in the place of the path's parameters."""
        sent: dict[str, Any] = {"params": query, "headers": headers}
        if body is not None and self.media_type == _FORM:
            sent["files"] = {name: str(value).encode() for name, value in body.items()}
        elif body is not None and isinstance(body, str):
            sent["content"] = body.encode()
            headers["Content-Type"] = str(self.media_type)
        elif body is not None:
            sent["json"] = body
        return client.request(self.verb.upper(), self.path.format_map(values), **sent)


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """All of the document's, in its order."""
    for path, item in document["paths"].items():
        for verb, described in item.items():
            yield Operation(verb, path, described)
