"""Which service a command talks to, and the options that many commands share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from expunge.client import Client
from expunge.errors import ExpungeError
from expunge.state import CLIENT_FILE, read_connection
from expunge.verify import Keys, load_keys

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or id.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A version's id.")]
RequestArgument = Annotated[str, typer.Argument(metavar="REQUEST", help="A request's id.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
TrustedKeys = Annotated[
    str | None,
    typer.Option(
        "--jwks",
        help="Public keys that you trust: a JWKS file or its URL, a PEM file, or a key in "
        "base64url. Default: those of the service.",
    ),
]


_TRIES: Final = 3
"""Somebody waits at the terminal: a service that is not there is soon said not to be."""


@dataclass(frozen=True)
class Place:
    """What the command line and the environment say about where the service is."""

    url: str | None
    api_key: str | None
    state: Path

    def connect(self) -> Client:
        """A client; what is not given comes from the state folder's `client.json`."""
        url, api_key = self.resolve()
        if not api_key:
            raise ExpungeError(
                f"no API key for {url}: give one with --api-key or in EXPUNGE_API_KEY"
            )
        return Client(url, api_key, tries=_TRIES)

    def resolve(self) -> tuple[str, str | None]:
        """The address and the key, if there is one; raises ExpungeError without an address."""
        if self.url:
            known = read_connection(self.state) if not self.api_key else None
            # A key is sent to no other service than the one that gave it.
            same = known is not None and known.url == self.url.rstrip("/")
            return self.url, self.api_key or (known.api_key if known and same else None)
        known = read_connection(self.state)
        if known is None:
            raise ExpungeError(
                f"no service is known here ({self.state / CLIENT_FILE} is missing): start one "
                "with `expunge up`, or name one with --url or EXPUNGE_URL"
            )
        return known.url, self.api_key or known.api_key


def place_of(context: typer.Context) -> Place:
    """The root command's options."""
    place = context.obj
    assert isinstance(place, Place)
    return place


def connect(context: typer.Context) -> Client:
    """A client for the service that the root command's options name."""
    return place_of(context).connect()


def trusted_keys(context: typer.Context, jwks: str | None) -> Keys:
    """The keys that `--jwks` names, or those of the service."""
    where = jwks or place_of(context).resolve()[0].rstrip("/") + "/.well-known/jwks.json"
    return load_keys(where)


def json_option(text: str, option: str) -> dict[str, Any]:
    """An option's JSON object; a usage error if it is something else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"must be a JSON object, not {text}", param_hint=option)
    return value
