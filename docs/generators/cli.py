"""The `expunge` command and its subcommands, with their options."""

from collections.abc import Iterator
from typing import Any

import typer

from expunge.cli.root import app
from generators.source import table

_HEAD = """# Command line

`expunge` talks to a service over HTTP, except for `up`, `serve`, `worker` and `db`, which run one.
It ends with code 0 if all went well, 1 with one sentence on standard error if not, 2 if it was
called wrongly. Each command has `--help`; those that show something have `--json`.
"""
_PASSED_OVER = {"--help", "--json"}


def page() -> str:
    """Markdown."""
    root: Any = typer.main.get_command(app)
    return (
        _HEAD
        + "\nOptions before the subcommand say which service is meant:\n\n"
        + _options(root)
        + "".join(_commands(root, "expunge"))
        + _ENGINE
    )


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield f"\n## {full}\n\n{command.help}\n"
            yield from _commands(command, full)
        else:
            level = "##" if path == "expunge" else "###"
            words = [_shown(p) for p in command.params if p.param_type_name == "argument"]
            yield f"\n{level} {' '.join((full, *words))}\n\n{command.help}\n"
            options = _options(command)
            if options:
                yield "\n" + options


def _options(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            rows.append((f"`{_shown(parameter)}`", _told(parameter)))
        elif not _PASSED_OVER & set(parameter.opts):
            rows.append((", ".join(f"`{option}`" for option in parameter.opts), _told(parameter)))
    return table(("argument or option", "what"), rows) + "\n" if rows else ""


def _shown(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper()


def _told(parameter: Any) -> str:
    told = str(parameter.help or "")
    if parameter.envvar:
        told += f" Also `{parameter.envvar}`."
    return told.replace("[", "\\[").strip()


_ENGINE = """
## python -m engine

The engine by hand, without a service: `run SPEC.json`, `train`, `evaluate` and `workloads`. `train
--workload NAME --options JSON --out FOLDER` writes `weights.safetensors` and `manifest.jsonl`;
`evaluate --workload NAME --weights FILE` prints the test metrics, and under `extra_metrics` those
that some tasks have beside their own (`delta1` of depth; `a11.25` and `a30` of normals);
`workloads` lists what is installed. Each has `--help`.

## python -m app

The service's own tools, run beside its database: `db upgrade|downgrade|current|check`, `keys
create` for the first API key, `openapi` to print the OpenAPI document, `check` for what `expunge
doctor` asks.

## python -m worker

`local` (the default) looks for work in the database, `celery` is rung through the broker, `relay`
carries messages from the database to the broker and keeps house.
"""
