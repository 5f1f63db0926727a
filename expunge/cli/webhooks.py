"""`expunge webhooks`."""

from typing import Annotated

import typer

from expunge.cli.context import AsJson, Limit, connect
from expunge.cli.output import show, show_list

app = typer.Typer(no_args_is_help=True, help="Webhooks: events sent to addresses of yours.")

Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's id.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Such as request.completed or request.*; repeat it. None: all."),
]


@app.command("create")
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="An https address.")],
    kinds: Kinds = None,
    description: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Send the events behind this number too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send events to an address; the secret is shown this once."""
    with connect(context) as client:
        show(client.webhooks.create(url, kinds or (), description, after), as_json=as_json)


@app.command("list")
def list_(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """All endpoints."""
    with connect(context) as client:
        columns = ("url", "kinds", "cursor", "failing_since", "disabled_at", "id")
        show_list(client.webhooks.list(), columns, limit=limit, as_json=as_json)


@app.command("show")
def show_(context: typer.Context, endpoint: Endpoint, as_json: AsJson = False) -> None:
    """One endpoint, and whether it fails."""
    with connect(context) as client:
        show(client.webhooks.get(endpoint), as_json=as_json)


@app.command("change")
def change(
    context: typer.Context,
    endpoint: Endpoint,
    url: Annotated[str | None, typer.Option(help="The new address.")] = None,
    kinds: Kinds = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether anything is sent.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the address or the kinds; disable, or enable again: nothing is lost meanwhile."""
    with connect(context) as client:
        changed = client.webhooks.change(endpoint, url=url, kinds=kinds or None, enabled=enabled)
        show(changed, as_json=as_json)


@app.command("remove")
def remove(context: typer.Context, endpoint: Endpoint) -> None:
    """Send nothing there any more."""
    with connect(context) as client:
        client.webhooks.remove(endpoint)
    typer.echo(f"{endpoint} is removed")


@app.command("rotate-secret")
def rotate_secret(context: typer.Context, endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Make a new secret, shown this once; the former one stays good for a while."""
    with connect(context) as client:
        show(client.webhooks.rotate_secret(endpoint), as_json=as_json)


@app.command("deliveries")
def deliveries(
    context: typer.Context,
    endpoint: Endpoint,
    state: Annotated[
        str | None, typer.Option(help="Only those: waiting, delivered or dead.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """What was sent or waits to be, newest first, and the last answer to it."""
    with connect(context) as client:
        columns = ("event", "kind", "state", "attempts", "last_status", "next_attempt_at", "id")
        found = client.webhooks.deliveries(endpoint, state)
        show_list(found, columns, limit=limit, as_json=as_json)


@app.command("replay")
def replay(
    context: typer.Context,
    endpoint: Endpoint,
    delivery: Annotated[
        str | None, typer.Argument(metavar="DELIVERY", help="A delivery's id.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Every event behind this number instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Deliver one event once more, or every event behind a number."""
    if (delivery is None) == (after is None):
        raise typer.BadParameter("give either a delivery or --after", param_hint="DELIVERY")
    with connect(context) as client:
        if delivery is not None:
            show(client.webhooks.replay(endpoint, delivery), as_json=as_json)
        elif after is not None:
            show(client.webhooks.replay_after(endpoint, after), as_json=as_json)
