"""The demo's six steps."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from expunge.answers import Model, Preview, Version
from expunge.cli.follow import follow
from expunge.cli.progress import bar, bytes_bar
from expunge.client import Client
from expunge.demo.engine import Owner
from expunge.demo.forget_sets import ForgetSet, choose, read_manifest
from expunge.demo.report import Carried, metrics_line, write_report
from expunge.demo.service import service
from expunge.errors import ExpungeError
from expunge.resources.versions import WEIGHTS_FILE
from expunge.verify import load_keys, verify_receipt

REPORT_FILE: Final = "demo.json"
_REASON: Final = "gdpr_art_17_1_b"


@dataclass(frozen=True)
class Demo:
    """What to show, and where."""

    workload: str
    options: Mapping[str, Any]
    seed: int
    state: Path
    port: int
    keep: bool

    def run(self, console: Console) -> None:
        """Tell the story on `console`; raises ExpungeError where a step fails."""
        began = time.monotonic()
        _step(console, 1, "a service on this machine")
        with service(self.state, self.port) as (connection, how):
            console.print(f"  {connection.url} ({how})")
            with Client(connection.url, connection.api_key) as client:
                self._story(client, console)
            seconds = time.monotonic() - began
            _step(
                console, 6, f"done in {seconds:.0f} s; all of it is in {self.state / REPORT_FILE}"
            )
            if self.keep:
                _keep(console, connection.url)

    def _story(self, client: Client, console: Console) -> None:
        name = f"{self.workload}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        owner = Owner(self.workload, self.options, self.state / "demo" / name)
        _step(console, 2, "a network, trained and registered")
        trained, first = self._register(client, console, owner, name)
        model = client.models.get(name)
        assert model.description is not None, "a version was accepted, so the workload is described"
        tasks = [task.name for task in model.description.tasks]
        full, partial = choose(read_manifest(owner.folder / "manifest.jsonl"), tasks[0], self.seed)
        _step(console, 3, "two deletion requests, followed live")
        carried = [
            self._request(client, console, model, "full-task request", full),
            self._request(client, console, model, f"partial-task request ({tasks[0]})", partial),
        ]
        _step(console, 4, "what was measured (before -> after)")
        for one in carried:
            one.show(console)
        _step(console, 5, "the new version and the evidence, checked here")
        checked = self._check(client, console, owner, model, first, carried)
        write_report(
            self.state / REPORT_FILE,
            {
                "model": name,
                "workload": self.workload,
                "workload_options": dict(self.options),
                "seed": self.seed,
                "training": dict(trained),
                "requests": [one.plain() for one in carried],
                **checked,
            },
        )
        for one in carried:
            if not one.request.state.startswith("completed"):
                raise ExpungeError(
                    f"the {one.title} ended {one.request.state}: {one.request.state_reason}"
                )

    def _register(
        self, client: Client, console: Console, owner: Owner, name: str
    ) -> tuple[Mapping[str, Any], Version]:
        with bar("starting the engine") as on_step:
            trained = owner.train(self.seed, on_step)
        metrics = ", ".join(f"{task} {value:.3g}" for task, value in trained["validation"].items())
        console.print(
            f"  trained on {trained['instances']} instances in {trained['seconds']:.1f} s "
            f"(validation: {metrics})"
        )
        model = client.models.create(name, self.workload, self.options)
        weights = owner.folder / WEIGHTS_FILE
        with bytes_bar("uploading", weights.stat().st_size) as on_bytes:
            version = client.versions.register(
                model.id, weights, owner.folder / "manifest.jsonl", trained["seconds"], on_bytes
            )
        console.print(
            f"  model {name}, version {version.number}: {version.weights.size / 1e6:.1f} MB, "
            f"sha256 {version.weights.sha256[:16]}..."
        )
        return trained, version

    def _request(
        self, client: Client, console: Console, model: Model, title: str, what: ForgetSet
    ) -> Carried:
        named = {"instances": what.instances, "subjects": what.subjects, "tasks": what.tasks}
        preview = client.requests.preview(model.name, **named)  # type: ignore[arg-type]
        console.print(f"  [bold]{title}[/]: {_told(preview, what)}")
        request = client.requests.create(
            model.name,
            reason=_REASON,
            external_id=f"DEMO-{title.split('-', maxsplit=1)[0].upper()}",
            **named,  # type: ignore[arg-type]
        )
        if request.state == "awaiting_approval":
            raise ExpungeError(f"the {title} awaits approval: {request.state_reason}")
        console.print(f"    {request.id}: {request.state}, due {request.due_at:%Y-%m-%d}")
        began = time.monotonic()
        done = follow(client, request)
        console.print(f"    {done.state} after {time.monotonic() - began:.1f} s")
        if done.job is None:
            raise ExpungeError(f"the {title} ended {done.state} without a job")
        return Carried(title, preview, done, client.jobs.get(done.job))

    def _check(
        self,
        client: Client,
        console: Console,
        owner: Owner,
        model: Model,
        first: Version,
        carried: list[Carried],
    ) -> dict[str, Any]:
        wanted = carried[-1].request.version or carried[0].request.version or first.id
        file = owner.folder / "new.safetensors"
        with bytes_bar("downloading", None) as on_bytes:
            new = client.versions.download(model.id, wanted, file, on_bytes)
        console.print(
            f"  downloaded version {new.number} ({new.state}, {_place(new)}): "
            f"sha256 {new.weights.sha256[:16]}... holds"
        )
        before, after = owner.test(owner.folder / WEIGHTS_FILE), owner.test(file)
        console.print(f"  loaded into the network; on test data: {metrics_line(before, after)}")
        jwks = owner.folder / "jwks.json"
        write_report(jwks, client.ledger.jwks())
        keys = load_keys(str(jwks))
        receipts = []
        for one in carried:
            if one.request.receipt is None:
                continue
            receipt = owner.folder / f"{one.request.id}.receipt.json"
            receipt.write_bytes(client.requests.receipt(one.request.id))
            about = file if one.request.version == new.id else None
            found = verify_receipt(receipt.read_bytes(), keys, about)
            of_file = ", about the downloaded weights" if found.weights else ""
            console.print(f"  receipt of the {one.title}: signature holds{of_file}")
            receipts.append(
                {"request": one.request.id, "file": str(receipt), "key_id": found.key_id}
            )
        ledger = client.ledger.verify()
        if not ledger.ok:
            raise ExpungeError(f"the ledger does not hold: {ledger.problem}")
        console.print(f"  the ledger holds: {ledger.events} events")
        return {
            "version": new.model_dump(mode="json"),
            "test": {"before": dict(before), "after": dict(after)},
            "receipts": receipts,
            "ledger": ledger.model_dump(mode="json"),
            "url": client.base_url,
        }


def _step(console: Console, number: int, title: str) -> None:
    console.print(f"[bold cyan]{number}/6[/] [bold]{title}[/]")


def _place(version: Version) -> str:
    named = ", ".join(version.aliases)
    return f"now {named}" if named else "not in production: its audit did not pass"


def _told(preview: Preview, what: ForgetSet) -> str:
    whose = f" of {len(what.subjects)} subjects" if what.subjects else ""
    estimate = preview.estimate.seconds if preview.estimate else None
    return (
        f"would forget {preview.instance_count} instances{whose} ({preview.share:.1%} of the "
        f"training data) for {', '.join(preview.tasks)}"
        + ("" if estimate is None else f", in about {estimate:.0f} s")
        + (f"; needs approval: {preview.why_approval}" if preview.needs_approval else "")
    )


def _keep(console: Console, url: str) -> None:
    for name, path in (("API", "docs"), ("console", "console"), ("metrics", "metrics")):
        console.print(f"  {name:8} {url}/{path}")
    console.print("  it stays up: Ctrl-C stops it")
    while True:
        time.sleep(3600)
