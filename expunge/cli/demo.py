"""`expunge demo`."""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from expunge.cli.context import json_option, place_of
from expunge.demo.story import Demo
from expunge.errors import ExpungeError


def demo(
    context: typer.Context,
    workload: Annotated[
        str | None,
        typer.Option(help="digits or scenes, or another one installed. [default: digits]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A folder in the `arrays` format, instead."
        ),
    ] = None,
    options: Annotated[str, typer.Option(metavar="JSON", help="The workload's options.")] = "{}",
    seed: Annotated[int, typer.Option(min=0, help="Of training and of what is forgotten.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")
    ] = False,
) -> None:
    """Train a network, forget some of its data, and check the evidence: the whole product once."""
    if find_spec("torch") is None:
        raise ExpungeError("the demo needs torch: pip install 'expunge[worker]'")
    given = json_option(options, "--options")
    if data is not None:
        if workload not in (None, "arrays"):
            raise typer.BadParameter(
                "a folder is read by the workload `arrays`", param_hint="--data"
            )
        if not (data / "dataset.json").is_file():
            raise typer.BadParameter(f"{data} holds no dataset.json", param_hint="--data")
        workload, given = "arrays", {"path": str(data.absolute()), **given}
    signal.signal(signal.SIGTERM, _leave)
    Demo(
        workload=workload or "digits",
        options=given,
        seed=seed,
        state=place_of(context).state,
        port=port,
        keep=keep,
    ).run(Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140))


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # by way of every `finally`
