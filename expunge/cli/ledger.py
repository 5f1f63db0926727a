"""`expunge ledger`."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from expunge.answers import ConsistencyProof, Event
from expunge.cli.context import AsJson, Limit, connect, place_of
from expunge.cli.output import print_json, show, show_list
from expunge.errors import ExpungeError
from expunge.remembered import RememberedHeads
from expunge.verify import load_keys
from expunge.verify_ledger import verify_bundle, verify_event, verify_growth, verify_head

HEADS_FILE: Final = "ledger-heads.json"
_NONE: Final = ConsistencyProof(path=())

app = typer.Typer(no_args_is_help=True, help="The append-only log of every change of state.")


Jwks = Annotated[
    str | None,
    typer.Option(
        help="Public keys that you trust: a JWKS file or its URL, a PEM file, or a key in "
        "base64url. Default: those of the service."
    ),
]


@app.command("verify")
def verify(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Check this exported ledger, event by event, and ask no service; needs --jwks.",
        ),
    ] = None,
    jwks: Jwks = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Where the head seen last is remembered. Default: ledger-heads.json in the "
            "state folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the ledger; exit code 1, with every fault named, if it does not hold.

    Its signed head is checked here, and that it begins with the ledger seen last. The service
    checks each event and each row that the events sealed. With --bundle, all is checked here.
    """
    if bundle is not None:
        _verify_bundle(bundle, jwks, as_json=as_json)
        return
    place = place_of(context)
    keys = load_keys(jwks or place.resolve()[0].rstrip("/") + "/.well-known/jwks.json")
    remembered = RememberedHeads(heads or place.state / HEADS_FILE)
    with place.connect() as client:
        head = client.ledger.head()
        verify_head(head, keys)
        old = remembered.of(client.base_url)
        if old is not None:
            # Asked for only where there can be one: a ledger that shrank is told by its size.
            grown = client.ledger.consistency(old.seq, head.seq) if old.seq <= head.seq else _NONE
            verify_growth(old, head, grown)
        check = client.ledger.verify()
    if not check.ok:
        for problem in check.problems:
            typer.echo(problem, err=True)
        raise ExpungeError(f"the ledger does not hold: {check.problem}")
    remembered.keep(client.base_url, head)
    if as_json:
        seen = old.model_dump() if old else None
        print_json({"check": check.model_dump(), "head": head.model_dump(), "seen_before": seen})
        return
    typer.echo(f"the ledger holds: {check.events} events, and every row that they sealed")
    typer.echo(f"  head {head.seq}, root {head.root}, signed by the key {head.signature.keyid}")
    if old is not None:
        typer.echo(f"  it begins with the {old.seq} events that it had at {old.at}")


@app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
) -> None:
    """Write the signed head and every event to a file, to be kept, or checked elsewhere."""
    lines = -1
    with connect(context) as client, out.open("w", encoding="utf-8") as file:
        for lines, line in enumerate(client.ledger.export()):  # noqa: B007 - counted behind it
            file.write(line + "\n")
    typer.echo(f"{out}: {lines} events")


@app.command("proof")
def proof(
    context: typer.Context,
    seq: Annotated[int, typer.Argument(metavar="EVENT", min=1, help="Its number.")],
    jwks: Jwks = None,
    as_json: AsJson = False,
) -> None:
    """Show an event, once it is proved to be in the ledger whose head is signed."""
    place = place_of(context)
    keys = load_keys(jwks or place.resolve()[0].rstrip("/") + "/.well-known/jwks.json")
    with place.connect() as client:
        head = client.ledger.head()
        verify_head(head, keys)
        found = client.ledger.proof(seq, head.seq)
    event = verify_event(found, head)
    if as_json:
        print_json({"head": head.model_dump(), "proof": found.model_dump()})
        return
    typer.echo(f"event {seq} is in the ledger of {head.seq} events, root {head.root}")
    typer.echo(json.dumps(event, indent=2, ensure_ascii=False))


@app.command("head")
def head(context: typer.Context, as_json: AsJson = False) -> None:
    """The newest event's number and hash and the root over all events, signed."""
    with connect(context) as client:
        show(client.ledger.head(), as_json=as_json)


@app.command("events")
def events(
    context: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print events as they happen, until Ctrl-C.")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The ledger's events."""
    with connect(context) as client:
        if not follow:
            columns = ("seq", "at", "kind", "entity", "actor")
            show_list(client.ledger.events(), columns, limit=limit, as_json=as_json)
            return
        for event in client.ledger.follow(client.ledger.head().seq):
            typer.echo(event.model_dump_json() if as_json else _line(event))


def _line(event: Event) -> str:
    told = json.dumps(event.payload, ensure_ascii=False)
    return f"{event.seq} {event.at:%H:%M:%S} {event.kind} {event.entity} {told}"


def _verify_bundle(file: Path, jwks: str | None, *, as_json: bool) -> None:
    if jwks is None:
        raise typer.BadParameter("--bundle needs the keys that you trust", param_hint="--jwks")
    with file.open(encoding="utf-8") as lines:
        found = verify_bundle(lines, load_keys(jwks))
    if as_json:
        print_json({"events": found.events, "head": found.head.model_dump()})
        return
    typer.echo(f"the exported ledger holds: {found.events} events, root {found.head.root}")
    typer.echo(f"  head signed at {found.head.at} by the key {found.head.signature.keyid}")
