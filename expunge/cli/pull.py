"""`expunge versions pull`: what a host that serves a model runs."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.context import AsJson, ModelArgument, connect
from expunge.cli.progress import bytes_bar
from expunge.client import Client
from expunge.errors import ExpungeError
from expunge.pull import CURRENT, Pulled, Want, alone_in, follow, pull, settle
from expunge.verify import load_keys


def pull_command(
    context: typer.Context,
    model: ModelArgument,
    to: Annotated[
        Path, typer.Option("--to", file_okay=False, help="The folder; `current` in it is a link.")
    ],
    alias: Annotated[str, typer.Option(help="Whose version.")] = "production",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow the alias.")] = False,
    jwks: Annotated[
        str | None,
        typer.Option(help="Public keys that you trust: then `model.sig` must hold too."),
    ] = None,
    keep: Annotated[
        int, typer.Option(min=0, help="How many earlier versions to leave in the folder.")
    ] = 0,
    exec_: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="A command to run when `current` was changed, before earlier versions are "
            "deleted; it finds EXPUNGE_VERSION and EXPUNGE_FOLDER in its environment.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the version that an alias names into a folder, checked and in one step.

    An interrupted download goes on where it stopped. Earlier versions are deleted: they hold what
    the new one has forgotten.
    """
    hook = shlex.split(exec_) if exec_ else []
    want = Want(model, alias, to, load_keys(jwks) if jwks else None)
    with connect(context) as client, alone_in(to):
        if watch:
            _watch(client, want, hook, keep, as_json=as_json)
        with bytes_bar("downloading", None) as on_bytes:
            pulled = pull(client, want, on_bytes)
        _tell(pulled, as_json=as_json)
        _put_to_use(hook, pulled, keep)


def _watch(client: Client, want: Want, hook: list[str], keep: int, *, as_json: bool) -> None:
    with bytes_bar("downloading", None) as on_bytes:
        for pulled in follow(client, want, on_bytes, _wait_out):
            _tell(pulled, as_json=as_json)
            try:
                _put_to_use(hook, pulled, keep)
            except ExpungeError as error:
                typer.echo(f"expunge: {error}", err=True)


def _wait_out(error: ExpungeError) -> None:
    typer.echo(f"expunge: {error}; trying again", err=True)


def _tell(pulled: Pulled, *, as_json: bool) -> None:
    version = pulled.version
    if as_json:
        told = {
            "version": version.id,
            "number": version.number,
            "folder": str(pulled.folder),
            "sha256": version.weights.sha256,
            "is_new": pulled.is_new,
        }
        typer.echo(json.dumps(told))
        return
    how = "is now" if pulled.is_new else "is still"
    link = pulled.folder.parent / CURRENT
    typer.echo(f"{link} {how} version {version.number}, {version.id}")


def _put_to_use(hook: list[str], pulled: Pulled, keep: int) -> None:
    """Run the hook, then delete earlier versions; ExpungeError where the hook fails."""
    if pulled.is_new and hook:
        _run(hook, pulled)
    settle(pulled.folder.parent, pulled, keep)


def _run(hook: list[str], pulled: Pulled) -> None:
    named = {"EXPUNGE_VERSION": pulled.version.id, "EXPUNGE_FOLDER": str(pulled.folder)}
    try:
        code = subprocess.run(hook, env={**os.environ, **named}, check=False).returncode
    except OSError as error:
        raise ExpungeError(f"{hook[0]} cannot be run: {error.strerror}") from None
    if code:
        raise ExpungeError(f"{hook[0]} ended with code {code}: earlier versions are left in place")
