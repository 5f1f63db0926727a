"""The service on a real port, and rows for it to serve: what tests of the service build on."""

import asyncio
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import uvicorn
from fastapi import APIRouter, FastAPI
from sqlalchemy.orm import Session
from starlette.routing import BaseRoute

from app import ledger, main
from app.auth import Scope, create_key
from app.db import Database, database_now
from app.http import Parts
from app.ids import new_id
from app.main import create_app
from app.schemas.models import Policy
from app.settings import Settings
from app.states import VersionState
from app.storage import Storage
from app.tables import (
    DEFAULT_TENANT,
    Alias,
    Instance,
    LedgerHead,
    Model,
    Tenant,
    Version,
    Worker,
)
from engine.spec import TaskDescription, TensorDescription, WorkloadDescription


@dataclass(frozen=True)
class Service:
    """A running service."""

    base_url: str
    admin_key: str
    database: Database
    parts: Parts

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """An HTTP client that calls with this key, or with the admin's."""
        headers["Authorization"] = f"Bearer {key or self.admin_key}"
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60, verify=_TLS)

    def key(self, *scopes: Scope, tenant_id: str = DEFAULT_TENANT) -> str:
        """A fresh API key with these scopes."""
        with self.database.write() as session, session.begin():
            return create_key(session, self.parts.hasher, tenant_id, "test", list(scopes))[1]


_routes: dict[int, tuple[APIRouter, BaseRoute]] = {}
"""By the identity of the router, which stays its own as long as the router is kept here."""
_TLS = ssl.create_default_context()


def _app(settings: Settings) -> FastAPI:
    """The service; what FastAPI makes of each route at its first call is made once a process."""
    app = create_app(settings)
    included = zip(main.ROUTERS, app.router.routes[-len(main.ROUTERS) :], strict=True)
    kept = [_routes.setdefault(id(pair[0]), pair)[1] for pair in included]
    app.router.routes[-len(kept) :] = kept
    return app


class _Server(uvicorn.Server):
    """Uvicorn, which ends as soon as it can: its own naps, as it goes, are a tenth of a second."""

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            for _ in range(20):
                await asyncio.sleep(0.005)
                if self.should_exit:
                    break
            ticks += 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(0.005)
        await self.lifespan.shutdown()


def serve(settings: Settings) -> Iterator[Service]:
    """A running service with these settings and an admin's key; ends when the iterator does."""
    app = _app(settings)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    parts = app.state.parts
    with parts.database.write() as session, session.begin():
        key = create_key(session, parts.hasher, DEFAULT_TENANT, "admin", [Scope.ADMIN])[1]
    yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", key, parts.database, parts)
    server.should_exit = True
    thread.join(20)
    listener.close()


TASKS = ("digit", "parity")
TENSORS = {"body.weight": ("F32", (2, 3)), "steps": ("I64", (1,))}


def described() -> WorkloadDescription:
    """The description of a network so small that its weights fit on a line."""
    return WorkloadDescription(
        workload="digits",
        tasks=tuple(
            TaskDescription(
                name=name, kind="classification", metric="accuracy", higher_is_better=True
            )
            for name in TASKS
        ),
        tensors={
            name: TensorDescription(dtype=dtype, shape=shape)
            for name, (dtype, shape) in TENSORS.items()
        },
        parameters=6,
    )


def weights_bytes(fill: float = 0.5) -> bytes:
    """A safetensors file of that network, every weight being `fill`."""
    body = np.full(6, fill, "<f4").tobytes()
    header = {
        "body.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "steps": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body + bytes(8)


@dataclass(frozen=True)
class Registered:
    """A model with version 1 in service, and what it was trained on."""

    model_id: str
    name: str
    version_id: str
    instances: tuple[str, ...]


def add_worker(session: Session, name: str = "worker-1") -> None:
    """A live worker that has the workload `digits`."""
    now = database_now(session)
    session.add(
        Worker(
            name=name,
            workloads=["arrays", "digits"],
            methods=["interference_aware", "retrain"],
            started_at=now,
            seen_at=now,
        )
    )


def register_model(
    session: Session,
    storage: Storage,
    name: str = "digits-model",
    *,
    instances: int = 10,
    subjects: int = 5,
    tenant_id: str = DEFAULT_TENANT,
    policy: Policy | None = None,
) -> Registered:
    """A described model with version 1, written as rows: no worker, no torch.

    Instances are `i-0`, `i-1`...; instance n belongs to subject `s-<n modulo subjects>`; each
    teaches all of `TASKS`.
    """
    now = database_now(session)
    sha256, size = storage.put(io.BytesIO(weights_bytes()))
    model = Model(
        id=new_id("mod"),
        tenant_id=tenant_id,
        name=name,
        workload="digits",
        workload_options={},
        policy=(policy or Policy()).model_dump(mode="json"),
        description=described().model_dump(mode="json"),
        created_at=now,
    )
    session.add(model)
    session.flush()
    version_id = new_id("ver")
    session.add(
        Version(
            id=version_id,
            tenant_id=tenant_id,
            model_id=model.id,
            number=1,
            root_id=version_id,
            state=VersionState.VERIFIED,
            weights_sha256=sha256,
            weights_size=size,
            training_seconds=10.0,
            created_at=now,
        )
    )
    session.flush()
    session.add(Alias(model_id=model.id, name="production", version_id=version_id, moved_at=now))
    ids = tuple(f"i-{n}" for n in range(instances))
    session.add_all(
        Instance(
            root_id=version_id,
            instance_id=instance_id,
            subject=f"s-{n % subjects}",
            tasks=list(TASKS),
        )
        for n, instance_id in enumerate(ids)
    )
    session.flush()
    return Registered(model.id, name, version_id, ids)


def add_tenant(session: Session, name: str) -> str:
    """The id of a new tenant with an empty ledger."""
    tenant = Tenant(id=new_id("ten"), name=name, created_at=database_now(session))
    session.add(tenant)
    session.flush()
    session.add(LedgerHead(tenant_id=tenant.id, seq=0, hash=ledger.GENESIS))
    return tenant.id
