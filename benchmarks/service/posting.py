"""How quickly deletion requests are taken, against a bare INSERT behind the same framework."""

import itertools
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.service import bare
from benchmarks.service.databases import Databases
from benchmarks.service.installation import MODEL, Installation, install
from benchmarks.service.load import Body, Load, post
from benchmarks.service.processes import OURS, Server, free_port, serving, uvicorn
from benchmarks.service.rows import Row

PATH = "/v1/deletion-requests"
CALLERS = (1, 8)
SHARE = 0.6
INSTANCES = 2000
MODELS = 10


def measure(databases: Databases, folder: Path, *, turns: int, seconds: float) -> Iterator[Row]:
    """One process of each, in turns: one caller, then several at once."""
    ours = install(folder / "ours", databases.create(), instances=INSTANCES, models=MODELS)
    other = install(folder / "bare", databases.create(), instances=1)
    port, bare_port = free_port(), free_port()
    with (
        serving(uvicorn(OURS, port), port, ours.environment) as server,
        serving(uvicorn(bare.FACTORY, bare_port), bare_port, other.environment) as bare_server,
    ):
        bodies = _Bodies()
        for callers in CALLERS:
            mine, its, ratios = Load(), Load(), list[float]()
            for turn in range(turns + 1):
                a = _post(server, bodies, ours.headers, callers, seconds)
                b = _post(bare_server, bodies, {}, callers, seconds)
                if turn:  # the first one warms up
                    mine.add(a)
                    its.add(b)
                    ratios.append(a.throughput / b.throughput)
            yield from _rows(databases.kind, callers, mine, its, statistics.median(ratios), ours)


def _post(
    server: Server, bodies: Body, headers: Mapping[str, str], callers: int, seconds: float
) -> Load:
    """What callers met, and what the server's process worked meanwhile."""
    before = server.processor_seconds
    load = post(server.port, PATH, bodies, headers, callers, seconds)
    return replace(load, processor_seconds=server.processor_seconds - before)


class _Bodies:
    """Requests that differ: another instance of the next model each time, with a key."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self) -> tuple[bytes, Mapping[str, str]]:
        number = next(self._numbers)
        model, instance = number % MODELS, number // MODELS % INSTANCES
        content = {
            "model": MODEL if model == 0 else f"{MODEL}-{model + 1}",
            "instances": [f"i-{instance}"],
            "reason": "gdpr_art_17_1_b",
            "external_id": f"TICKET-{number}",
        }
        return json.dumps(content).encode(), {"Idempotency-Key": f"benchmark-{number}"}


def _rows(
    kind: str, callers: int, ours: Load, its: Load, ratio: float, where: Installation
) -> Iterator[Row]:
    who = "1 caller" if callers == 1 else f"{callers} callers"
    yield Row(
        name=f"POST throughput, {who}, {kind}",
        ours=ours.throughput,
        reference=its.throughput,
        ratio=ratio,
        target=SHARE,
        sense="at least",
        unit="requests/s",
        section="post",
        note=f"{len(ours.latencies)} and {len(its.latencies)} requests;"
        f" {len(where.model_ids)} models",
    )
    times = [
        (
            "processor time",
            (ours.processor_time, its.processor_time),
            "of the server's process for one request; what else runs disturbs it least",
        ),
        ("p50", (ours.quantile(0.5), its.quantile(0.5)), ""),
        ("p99", (ours.quantile(0.99), its.quantile(0.99)), ""),
    ]
    for told, (mine, reference), note in times:
        yield Row(
            name=f"POST {told}, {who}, {kind}",
            ours=1000 * mine,
            reference=1000 * reference,
            ratio=mine / reference,
            target=1 / SHARE,
            unit="ms",
            section="post",
            note=note,
        )
