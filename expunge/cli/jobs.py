"""`expunge jobs`."""

from typing import Annotated

import typer

from expunge.cli.context import AsJson, JobArgument, Limit, connect
from expunge.cli.output import show, show_list

app = typer.Typer(no_args_is_help=True, help="Engine runs; each serves one or more requests.")


@app.command("get")
def get(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """One job with its progress, attempts and cost."""
    with connect(context) as client:
        show(client.jobs.get(job), as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs, newest first."""
    with connect(context) as client:
        columns = (
            "model.name",
            "kind",
            "state",
            "progress.phase",
            "cost.seconds",
            "created_at",
            "id",
        )
        jobs = client.jobs.list(state=state, model=model)
        show_list(jobs, columns, limit=limit, as_json=as_json)


@app.command("cancel")
def cancel(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Stop a job; its requests are cancelled with it."""
    with connect(context) as client:
        show(client.jobs.cancel(job), as_json=as_json)


@app.command("log")
def log(context: typer.Context, job: JobArgument) -> None:
    """The last lines of a job's engine."""
    with connect(context) as client:
        typer.echo(client.jobs.log(job), nl=False)
