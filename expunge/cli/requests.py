"""`expunge requests`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from expunge.answers import DeletionRequest, Estimate
from expunge.cli.context import AsJson, Limit, RequestArgument, connect
from expunge.cli.estimates import told
from expunge.cli.follow import follow
from expunge.cli.output import console, print_json, show, show_list
from expunge.cli.progress import bytes_bar
from expunge.cli.tables import audit_table
from expunge.errors import ExpungeError
from expunge.resources.requests import ImportFormat, OnUnknown, ReceiptForm

app = typer.Typer(no_args_is_help=True, help="Deletion requests: what is to be forgotten.")

ModelOption = Annotated[str, typer.Option("--model", help="A model's name or id.")]
Instances = Annotated[
    list[str] | None, typer.Option("--instance", "-i", help="An instance's id; repeat it.")
]
InstancesFile = Annotated[
    Path | None,
    typer.Option("--instances-file", exists=True, dir_okay=False, help="Ids, one a line."),
]
Subjects = Annotated[
    list[str] | None, typer.Option("--subject", "-s", help="All instances of a subject; repeat it.")
]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Only this task; repeat it. Default: all.")
]
Reason = Annotated[str | None, typer.Option(help="Such as gdpr_art_17_1_b.")]
ExternalId = Annotated[str | None, typer.Option(help="Your ticket.")]
ReceivedAt = Annotated[datetime | None, typer.Option(help="UTC. Default: now.")]
PriorityOption = Annotated[str | None, typer.Option("--priority", help="low, normal or high.")]
SkipUnknown = Annotated[
    bool, typer.Option("--skip-unknown", help="Leave out ids that the manifest lacks.")
]


@app.command("create")
def create(
    context: typer.Context,
    model: ModelOption,
    instance: Instances = None,
    instances_file: InstancesFile = None,
    subject: Subjects = None,
    task: Tasks = None,
    reason: Reason = None,
    external_id: ExternalId = None,
    received_at: ReceivedAt = None,
    priority: PriorityOption = None,
    skip_unknown: SkipUnknown = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask that instances or subjects be forgotten."""
    with connect(context) as client:
        request = client.requests.create(
            model,
            instances=_instances(instance, instances_file),
            subjects=subject or (),
            tasks=task,
            reason=reason,
            external_id=external_id,
            received_at=received_at.replace(tzinfo=UTC) if received_at else None,
            priority=priority,
            on_unknown=_on_unknown(skip_unknown),
        )
        if wait:
            request = follow(client, request)
    _show(request, as_json=as_json)
    _exit_for(request)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="JSON lines or CSV.", exists=True, dir_okay=False, readable=True)
    ],
    model: ModelOption,
    format: Annotated[
        ImportFormat | None, typer.Option(help="Default: by the file's ending.")
    ] = None,
    task: Tasks = None,
    reason: Reason = None,
    external_id: ExternalId = None,
    received_at: ReceivedAt = None,
    priority: PriorityOption = None,
    skip_unknown: SkipUnknown = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask that all instances and subjects of a file be forgotten: one request, or none.

    A line holds {"instance": "img-7"} or {"subject": "person-19"}; a CSV has the columns instance
    and subject, or one of them. Up to a million rows.
    """
    with connect(context) as client:
        with bytes_bar("sending", None) as on_bytes:
            request = client.requests.import_file(
                model,
                file,
                format=format,
                tasks=task,
                reason=reason,
                external_id=external_id,
                received_at=received_at.replace(tzinfo=UTC) if received_at else None,
                priority=priority,
                on_unknown=_on_unknown(skip_unknown),
                on_bytes=on_bytes,
            )
        if wait:
            request = follow(client, request)
    _show(request, as_json=as_json)
    _exit_for(request)


@app.command("preview")
def preview(
    context: typer.Context,
    model: ModelOption,
    instance: Instances = None,
    instances_file: InstancesFile = None,
    subject: Subjects = None,
    task: Tasks = None,
    skip_unknown: SkipUnknown = False,
    as_json: AsJson = False,
) -> None:
    """What a request would do; nothing is written."""
    with connect(context) as client:
        found = client.requests.preview(
            model,
            instances=_instances(instance, instances_file),
            subjects=subject or (),
            tasks=task,
            on_unknown=_on_unknown(skip_unknown),
        )
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    show(found.model_copy(update={"estimate": None}), as_json=False)
    _show_estimate(found.estimate)


@app.command("get")
def get(context: typer.Context, request: RequestArgument, as_json: AsJson = False) -> None:
    """One request with its audit."""
    with connect(context) as client:
        _show(client.requests.get(request), as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this subject.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Only of this ticket.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Requests, newest first."""
    with connect(context) as client:
        requests = client.requests.list(
            state=state, model=model, subject=subject, external_id=external_id
        )
        columns = ("model.name", "state", "scope", "instance_count", "tasks", "due_at", "id")
        show_list(requests, columns, limit=limit, as_json=as_json)


@app.command("wait")
def wait(
    context: typer.Context,
    request: RequestArgument,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a request to its end; exit code 1 unless it is completed."""
    with connect(context) as client:
        done = follow(client, client.requests.get(request), timeout)
    _show(done, as_json=as_json)
    _exit_for(done)


@app.command("approve")
def approve(
    context: typer.Context,
    request: RequestArgument,
    note: Annotated[str | None, typer.Option(help="For the ledger.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a request that awaits approval go on."""
    with connect(context) as client:
        _show(client.requests.approve(request, note), as_json=as_json)


@app.command("deny")
def deny(
    context: typer.Context,
    request: RequestArgument,
    ground: Annotated[str, typer.Option(help="Why; the subject may ask.")],
    as_json: AsJson = False,
) -> None:
    """Refuse a request that awaits approval."""
    with connect(context) as client:
        _show(client.requests.deny(request, ground), as_json=as_json)


@app.command("cancel")
def cancel(
    context: typer.Context,
    request: RequestArgument,
    reason: Annotated[str | None, typer.Option(help="For the ledger.")] = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a request."""
    with connect(context) as client:
        _show(client.requests.cancel(request, reason), as_json=as_json)


@app.command("extend")
def extend(
    context: typer.Context,
    request: RequestArgument,
    months: Annotated[int, typer.Option(min=1, max=2, help="One or two, once.")],
    reason: Annotated[str, typer.Option(help="Why; the subject must be told.")],
    as_json: AsJson = False,
) -> None:
    """Move a request's deadline (GDPR, Art. 12(3))."""
    with connect(context) as client:
        _show(client.requests.extend(request, months, reason), as_json=as_json)


@app.command("retry")
def retry(context: typer.Context, request: RequestArgument, as_json: AsJson = False) -> None:
    """Queue a request again that failed or was completed with exceptions."""
    with connect(context) as client:
        _show(client.requests.retry(request), as_json=as_json)


@app.command("receipt")
def receipt(
    context: typer.Context,
    request: RequestArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write. Default: print it.")
    ] = None,
    form: Annotated[
        ReceiptForm,
        typer.Option(help="json is what was signed; html and pdf tell it in plain words."),
    ] = "json",
) -> None:
    """Fetch the signed receipt; check it with `expunge receipts verify`."""
    with connect(context) as client:
        found = client.requests.receipt(request, form)
    if out is None:
        typer.echo(found)
    else:
        out.write_bytes(found)
        typer.echo(f"written to {out}")


@app.command("open")
def open_(
    context: typer.Context,
    request: RequestArgument,
    instance: Annotated[str, typer.Argument(help="Its id.")],
    task: Annotated[str, typer.Argument(help="Its name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "opening.json"
    ),
) -> None:
    """Fetch what shows that the receipt covers one task of one instance, and of no other."""
    with connect(context) as client:
        opening = client.requests.open_cell(request, instance, task)
    out.write_text(opening.model_dump_json(indent=2) + "\n", encoding="utf-8")
    typer.echo(f"written to {out}: check it with `expunge receipts verify --cell`")


@app.command("events")
def events(
    context: typer.Context, request: RequestArgument, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """What the ledger holds about a request."""
    with connect(context) as client:
        columns = ("seq", "at", "kind", "actor", "payload")
        show_list(client.requests.events(request), columns, limit=limit, as_json=as_json)


def _instances(named: list[str] | None, file: Path | None) -> list[str]:
    listed = file.read_text(encoding="utf-8").splitlines() if file else []
    return (named or []) + [line.strip() for line in listed if line.strip()]


def _on_unknown(skip: bool) -> OnUnknown:
    return "skip" if skip else "refuse"


def _show(request: DeletionRequest, *, as_json: bool) -> None:
    if as_json:
        print_json(request.model_dump(mode="json"))
        return
    show(request.model_copy(update={"audit": None, "estimate": None}), as_json=False)
    if not request.finished:
        _show_estimate(request.estimate)
    if request.audit:
        console().print(audit_table(request.audit, title="audit"))


def _show_estimate(estimate: Estimate | None) -> None:
    if estimate is not None:
        console().print(f"[bold]estimate[/]  {told(estimate)}")


def _exit_for(request: DeletionRequest) -> None:
    if request.finished and not request.state.startswith("completed"):
        why = f": {request.state_reason}" if request.state_reason else ""
        raise ExpungeError(f"request {request.id} is {request.state}{why}")
