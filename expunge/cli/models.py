"""`expunge models`."""

from typing import Annotated

import typer

from expunge.cli.context import AsJson, Limit, ModelArgument, VersionArgument, connect, json_option
from expunge.cli.output import show, show_list

app = typer.Typer(no_args_is_help=True, help="Networks under management.")


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A new name: lower case, digits, `.`, `_`, `-`.")],
    workload: Annotated[str, typer.Option(help="A workload that a live worker has installed.")],
    options: Annotated[str, typer.Option(metavar="JSON", help="The workload's options.")] = "{}",
    policy: Annotated[
        str, typer.Option(metavar="JSON", help="Approval, method, thresholds, promotion.")
    ] = "{}",
    as_json: AsJson = False,
) -> None:
    """Make a model; register a first version of it next."""
    with connect(context) as client:
        given = json_option(options, "--options"), json_option(policy, "--policy")
        show(client.models.create(name, workload, *given), as_json=as_json)


@app.command("get")
def get(context: typer.Context, model: ModelArgument, as_json: AsJson = False) -> None:
    """One model with its tasks, policy and aliases."""
    with connect(context) as client:
        show(client.models.get(model), as_json=as_json)


@app.command("list")
def list_(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """All models, newest first."""
    with connect(context) as client:
        columns = ("name", "workload", "aliases.production", "created_at", "id")
        show_list(client.models.list(), columns, limit=limit, as_json=as_json)


@app.command("alias")
def alias(
    context: typer.Context,
    model: ModelArgument,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as `production`.")],
    version: VersionArgument,
    reason: Annotated[str | None, typer.Option(help="Why, for the ledger.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias name a version, also an older one."""
    with connect(context) as client:
        show(client.models.move_alias(model, name, version, reason), as_json=as_json)


@app.command("manifest")
def manifest(
    context: typer.Context,
    model: ModelArgument,
    version: Annotated[str | None, typer.Option(help="Default: the promoted one.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The instances that a version was trained on, and what it forgot."""
    with connect(context) as client:
        entries = client.models.manifest(model, version)
        columns = ("id", "subject", "tasks", "forgotten")
        show_list(entries, columns, limit=limit, as_json=as_json)


@app.command("recipients")
def recipients(
    context: typer.Context, model: ModelArgument, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """Who downloaded which version: those who must be told of an erasure."""
    with connect(context) as client:
        columns = ("at", "principal", "version", "file")
        show_list(client.models.recipients(model), columns, limit=limit, as_json=as_json)


@app.command("restrictions")
def restrictions(
    context: typer.Context, model: ModelArgument, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """What must not be processed while requests wait."""
    with connect(context) as client:
        columns = ("id", "tasks", "since", "requests")
        show_list(client.models.restrictions(model), columns, limit=limit, as_json=as_json)
