"""`expunge versions`."""

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.context import (
    AsJson,
    Limit,
    ModelArgument,
    TrustedKeys,
    VersionArgument,
    connect,
    trusted_keys,
)
from expunge.cli.output import console, print_json, show, show_list
from expunge.cli.progress import bytes_bar
from expunge.cli.pull import pull_command
from expunge.cli.tables import audit_table
from expunge.model_signature import verify_folder

app = typer.Typer(no_args_is_help=True, help="The weights of a model, one row a version.")
app.command("pull")(pull_command)

_COLUMNS = ("number", "state", "verdict", "method", "aliases", "created_at", "id")


@app.command("register")
def register(
    context: typer.Context,
    model: ModelArgument,
    weights: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A safetensors file.")],
    manifest: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSON lines, one a training instance: {"id", "subject"?, "digest"?, "tasks"?}.',
        ),
    ],
    training_seconds: Annotated[
        float | None, typer.Option(min=0, help="What training took, to compare jobs with it.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="The version that training went on from.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload trained weights with the manifest of what they were trained on."""
    with connect(context) as client, bytes_bar("uploading", weights.stat().st_size) as on_bytes:
        version = client.versions.register(
            model, weights, manifest, training_seconds, on_bytes, parent
        )
    show(version, as_json=as_json)


@app.command("get")
def get(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    as_json: AsJson = False,
) -> None:
    """One version."""
    with connect(context) as client:
        show(client.versions.get(model, version), as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context, model: ModelArgument, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """A model's versions, newest first."""
    with connect(context) as client:
        show_list(client.versions.list(model), _COLUMNS, limit=limit, as_json=as_json)


@app.command("lineage")
def lineage(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """From the first version down to this one."""
    with connect(context) as client:
        versions = client.versions.lineage(model, version)
        show_list(versions, _COLUMNS, limit=limit, as_json=as_json)


@app.command("audit")
def audit(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    as_json: AsJson = False,
) -> None:
    """What was measured on a version, and the verdict."""
    with connect(context) as client:
        found = client.versions.audit(model, version)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    report = found.report
    console().print(audit_table(report.cells, title=f"verdict: {report.verdict}"))
    typer.echo(f"UIS {report.uis_before:.1f} -> {report.uis_after:.1f} (lower is better)")
    typer.echo(f"reference: {report.reference}")
    for note in report.notes:
        typer.echo(f"note: {note}")


@app.command("files")
def files(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    as_json: AsJson = False,
) -> None:
    """A version's files: the weights, and the documents beside them."""
    with connect(context) as client:
        found = client.versions.files(model, version)
    columns = ("name", "size", "sha256", "media_type")
    show_list(found, columns, limit=len(found), as_json=as_json)


@app.command("tags")
def tags(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    as_json: AsJson = False,
) -> None:
    """What to write on a version in a model registry, such as MLflow."""
    with connect(context) as client:
        found = client.versions.tags(model, version)
    if as_json:
        print_json(dict(found))
        return
    for name, value in found.items():
        typer.echo(f"{name}={value}")


@app.command("verify")
def verify(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="With model.sig.")],
    jwks: TrustedKeys = None,
    as_json: AsJson = False,
) -> None:
    """Check that a folder holds a version's files as they were signed; offline with --jwks FILE."""
    found = verify_folder(folder, trusted_keys(context, jwks))
    if as_json:
        print_json({"name": found.name, "key_id": found.key_id, "files": dict(found.files)})
        return
    typer.echo(f"{folder} is {found.name}: signed by the key {found.key_id}")
    for name, digest in found.files.items():
        typer.echo(f"  {name}: sha256 {digest}")


@app.command("purge")
def purge(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    reason: Annotated[str | None, typer.Option(help="Why, for the ledger.")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete a superseded or rejected version's files for good, before the policy does."""
    with connect(context) as client:
        show(client.versions.purge(model, version, reason), as_json=as_json)


@app.command("download")
def download(
    context: typer.Context,
    model: ModelArgument,
    version: VersionArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "weights.safetensors"
    ),
) -> None:
    """Fetch a version's weights, checked against its digest; resumes an interrupted download."""
    with connect(context) as client, bytes_bar("downloading", None) as on_bytes:
        found = client.versions.download(model, version, out, on_bytes)
    typer.echo(f"{out}: {found.weights.size} bytes, sha256 {found.weights.sha256}")
