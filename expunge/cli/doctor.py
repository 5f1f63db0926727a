"""`expunge doctor`: what is in order on this machine, and what to do about the rest."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Final, Literal

import typer

from expunge.cli.context import AsJson, Place, place_of
from expunge.cli.output import console, print_json
from expunge.client import Client
from expunge.errors import ExpungeError, Unreachable

State = Literal["ok", "warning", "failed"]
_SIGNS: Final = {
    "ok": "[green]ok     [/]",
    "warning": "[yellow]warning[/]",
    "failed": "[red]failed [/]",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    told: str
    todo: str = ""


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at this installation; exit code 1 if something does not work."""
    place = place_of(context)
    findings: list[Finding] = []
    for finding in _findings(place):
        findings.append(finding)
        if not as_json:
            console().print(f"{_SIGNS[finding.state]} [bold]{finding.what}[/]: {finding.told}")
            if finding.todo:
                console().print(f"        -> {finding.todo}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    failed = [finding.what for finding in findings if finding.state == "failed"]
    if failed:
        raise ExpungeError(f"not in order: {', '.join(failed)}")


def _findings(place: Place) -> Iterator[Finding]:
    yield Finding("Python", "ok", sys.version.split()[0])
    yield _packages()
    yield _torch()
    yield from _installation(place)
    yield from _service(place)


def _packages() -> Finding:
    missing = []
    for requirement in requires("expunge") or ():
        if "extra ==" in requirement:
            continue
        name = requirement.partition(";")[0].split("[")[0]
        name = name.split(">")[0].split("<")[0].split("=")[0].split("!")[0].strip()
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", "failed", f"missing: {', '.join(missing)}", "pip install expunge"
        )
    return Finding("packages", "ok", f"expunge {version('expunge')} and what it needs")


def _torch() -> Finding:
    if find_spec("torch") is None:
        return Finding(
            "torch",
            "warning",
            "not installed: no worker can run here",
            "pip install 'expunge[worker]', or run workers elsewhere",
        )
    code = (
        "import torch; c = torch.cuda; "
        "print(torch.__version__, '|', c.get_device_name(0) if c.is_available() else 'CPU', "
        "'|', torch.get_num_threads(), 'threads')"
    )
    done = _run("-c", code)
    if done.returncode:
        return Finding("torch", "failed", _last(done), "reinstall torch")
    return Finding("torch", "ok", done.stdout.strip().replace(" | ", ", "))


def _installation(place: Place) -> Iterator[Finding]:
    os.environ["EXPUNGE_STATE_DIR"] = str(place.state)
    done = _run("-m", "app", "check")
    if done.returncode:
        schema = "schema" in _last(done) or "database" in _last(done)
        todo = "expunge db upgrade" if schema else "restore it from a backup"
        yield Finding("installation", "failed", _last(done), todo)
    else:
        yield Finding("installation", "ok", _last(done))


def _service(place: Place) -> Iterator[Finding]:
    try:
        url, api_key = place.resolve()
        with Client(url, api_key, timeout=10) as client:
            readiness = client.health.ready()
            told = ", ".join(f"{name} {result}" for name, result in readiness.checks.items())
            if readiness.status != "ok":
                yield Finding("service", "failed", f"{url}: {told}", "see its log")
                return
            yield Finding("service", "ok", f"{url}: {told}")
            yield _workers(client)
            who = client.keys.whoami()
            yield Finding("API key", "ok", f"{who.principal}: {', '.join(who.scopes)}")
    except Unreachable as error:
        yield Finding("service", "failed", str(error), "expunge up")
    except ExpungeError as error:
        yield Finding("service", "failed", str(error), "")


def _workers(client: Client) -> Finding:
    count = client.health.live_workers()
    if not count:
        return Finding("workers", "failed", "none is alive: jobs wait", "expunge worker")
    return Finding("workers", "ok", f"{count} alive")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, *arguments),
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
