"""Versions: immutable weights, registered, looked at and downloaded."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from expunge.answers import (
    Model,
    Version,
    VersionAudit,
    VersionFile,
    VersionFiles,
    VersionTags,
)
from expunge.errors import ExpungeError
from expunge.resources.models import path_of
from expunge.transfers import CountedFile, OnBytes, download, sha256_of
from expunge.transport import Transport

WEIGHTS_FILE: Final = "weights.safetensors"
_SECONDS_TO_DESCRIBE: Final = 60.0
_SECONDS_BETWEEN_LOOKS: Final = 0.5


class Versions:
    """`client.versions`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(
        self,
        model: str,
        weights: Path,
        manifest: Path,
        training_seconds: float | None = None,
        on_bytes: OnBytes | None = None,
        parent: str | None = None,
    ) -> Version:
        """Upload a version: a safetensors file and the JSON lines of its manifest.

        `parent` is the version that training went on from, by id, number or alias.
        A model that was just created is first described by a worker: this waits for that, for up
        to a minute.
        """
        for file in (weights, manifest):
            if not file.is_file():
                raise ExpungeError(f"there is no file {file}")
        form = {"weights_sha256": sha256_of(weights)}
        if training_seconds is not None:
            form["training_seconds"] = repr(training_seconds)
        if parent is not None:
            form["parent"] = parent
        self._until_described(model)
        return self._upload(model, weights, manifest, form, on_bytes)

    def _until_described(self, model: str) -> None:
        """Wait; where no worker describes the model the upload is refused with the reason."""
        until = time.monotonic() + _SECONDS_TO_DESCRIBE
        while self._transport.get(path_of(model), Model).description is None:
            if time.monotonic() > until:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _upload(
        self,
        model: str,
        weights: Path,
        manifest: Path,
        form: dict[str, str],
        on_bytes: OnBytes | None,
    ) -> Version:
        with ExitStack() as opened:

            def body() -> dict[str, Any]:
                weights_file = opened.enter_context(weights.open("rb"))
                manifest_file = opened.enter_context(manifest.open("rb"))
                return {
                    "data": form,
                    "files": {
                        "weights": (
                            WEIGHTS_FILE,
                            CountedFile(weights_file, on_bytes) if on_bytes else weights_file,
                            "application/octet-stream",
                        ),
                        "manifest": ("manifest.jsonl", manifest_file, "application/jsonl"),
                    },
                }

            response = self._transport.send("POST", f"{path_of(model)}/versions", body=body)
        return self._transport.read(response, Version)

    def get(self, model: str, version: str) -> Version:
        """One version, by its id."""
        return self._transport.get(_path(model, version), Version)

    def list(self, model: str, limit: int | None = None) -> Iterator[Version]:
        """The model's versions, newest first; `limit` is the size of a page."""
        return self._transport.pages(f"{path_of(model)}/versions", Version, {"limit": limit})

    def lineage(self, model: str, version: str) -> Iterator[Version]:
        """From the first version down to this one."""
        return self._transport.pages(f"{_path(model, version)}/lineage", Version)

    def audit(self, model: str, version: str) -> VersionAudit:
        """What was measured before the version was promoted or rejected."""
        return self._transport.get(f"{_path(model, version)}/audit", VersionAudit)

    def files(self, model: str, version: str) -> tuple[VersionFile, ...]:
        """All files of a version: the weights and the documents beside them."""
        return self._transport.get(f"{_path(model, version)}/files", VersionFiles).items

    def tags(self, model: str, version: str) -> Mapping[str, str]:
        """What to write on the version in a model registry, such as MLflow."""
        return self._transport.get(f"{_path(model, version)}/tags", VersionTags).tags

    def purge(self, model: str, version: str, reason: str | None = None) -> Version:
        """Have a superseded or rejected version's files deleted for good.

        Raises Conflict for one that is in service, that an alias names or that a job starts from.
        """
        body = {"reason": reason} if reason else {}
        return self._transport.post(f"{_path(model, version)}/purge", Version, body)

    def download(
        self, model: str, version: str, destination: Path, on_bytes: OnBytes | None = None
    ) -> Version:
        """Fetch the weights into the file `destination`, resuming an interrupted download.

        Raises DigestMismatch, and leaves `destination` alone, if the bytes are not the version's.
        Raises Forbidden for a version that comes right before or after one that was taken, unless
        the model's policy or the key's scopes allow it.
        """
        found = self.get(model, version)
        weights = found.weights
        path = f"{_path(model, version)}/files/{WEIGHTS_FILE}"
        download(self._transport, path, destination, weights.sha256, weights.size, on_bytes)
        return found

    def download_file(
        self, file: VersionFile, destination: Path, on_bytes: OnBytes | None = None
    ) -> None:
        """Fetch one of `files` into the file `destination`; raises as `download` does."""
        download(self._transport, file.href, destination, file.sha256, file.size, on_bytes)


def _path(model: str, version: str) -> str:
    return f"{path_of(model)}/versions/{quote(version, safe='')}"
