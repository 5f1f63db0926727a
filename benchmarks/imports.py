"""How long an import takes, and how much memory: `python -m benchmarks.imports --rows 1000000`.

One service process is sent a file of 1 000 rows and then one of `--rows`; a JSON line each tells
the seconds and how far the process' peak of resident memory was raised (from Linux's /proc). The
import is read, looked up, written and sealed in constant memory where the second is as the first.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import insert

from app import migrate
from app.auth import KeyHasher, Scope, create_key
from app.db import Database, database_now
from app.ids import new_id
from app.schemas.models import Policy
from app.settings import Settings
from app.states import VersionState
from app.tables import DEFAULT_TENANT, Alias, Instance, Model, Version
from engine.spec import TaskDescription, WorkloadDescription

_BATCH = 20_000
_FEW = 1_000


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database-url", default="", help="default: SQLite in a fresh folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder), database_url=chosen.database_url)
        database = Database(settings.database)
        migrate.upgrade(database)
        _register(database, chosen.rows)
        with database.write() as session, session.begin():
            hasher = KeyHasher(settings.api_key_pepper)
            key = create_key(session, hasher, DEFAULT_TENANT, "benchmark", [Scope.ADMIN])[1]
        kind = database.engine.dialect.name
        database.dispose()
        with _served(settings) as (url, pid):
            for rows in (_FEW, chosen.rows):
                _measure(kind, url, key, pid, rows, Path(folder) / "rows.csv")


def _measure(kind: str, url: str, key: str, pid: int, rows: int, file: Path) -> None:
    with file.open("w") as out:
        out.write("instance\n")
        out.writelines(f"img-{n:07d}\n" for n in range(rows))
    before = _peak(pid)
    start = time.perf_counter()
    with file.open("rb") as opened:
        answer = httpx.post(
            f"{url}/v1/deletion-requests:import",
            headers={"Authorization": f"Bearer {key}"},
            data={"model": "benchmark", "format": "csv"},
            files={"rows": opened},
            timeout=3600,
        )
    seconds = time.perf_counter() - start
    answer.raise_for_status()
    told = {
        "database": kind,
        "rows": rows,
        "bytes": file.stat().st_size,
        "seconds": round(seconds, 2),
        "peak_mib": round(_peak(pid) / 1024, 1),
        "raised_mib": round((_peak(pid) - before) / 1024, 1),
        "instances": answer.json()["instance_count"],
        "state": answer.json()["state"],
    }
    print(json.dumps(told), flush=True)


def _peak(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@contextmanager
def _served(settings: Settings) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "warning"],
        env=os.environ
        | {
            "EXPUNGE_STATE_DIR": str(settings.state_dir),
            "EXPUNGE_DATABASE_URL": settings.database,
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _register(database: Database, instances: int) -> None:
    """A model whose manifest has twice as many instances: half of it may go without approval."""
    task = TaskDescription(
        name="digit", kind="classification", metric="accuracy", higher_is_better=True
    )
    description = WorkloadDescription(workload="none", tasks=(task,), tensors={}, parameters=0)
    with database.write() as session, session.begin():
        now = database_now(session)
        model = Model(
            id=new_id("mod"),
            tenant_id=DEFAULT_TENANT,
            name="benchmark",
            workload="none",
            workload_options={},
            policy=Policy().model_dump(mode="json"),
            description=description.model_dump(mode="json"),
            created_at=now,
        )
        session.add(model)
        session.flush()
        version_id = new_id("ver")
        version = Version(
            id=version_id,
            tenant_id=DEFAULT_TENANT,
            model_id=model.id,
            number=1,
            root_id=version_id,
            state=VersionState.VERIFIED,
            weights_sha256="0" * 64,
            weights_size=0,
            created_at=now,
        )
        session.add(version)
        session.flush()
        session.add(
            Alias(model_id=model.id, name="production", version_id=version_id, moved_at=now)
        )
        for start in range(0, 2 * instances, _BATCH):
            rows = [
                {
                    "root_id": version_id,
                    "instance_id": f"img-{n:07d}",
                    "subject": f"person-{n // 10}",
                    "tasks": ["digit"],
                }
                for n in range(start, min(start + _BATCH, 2 * instances))
            ]
            session.execute(insert(Instance), rows)


if __name__ == "__main__":
    main()
