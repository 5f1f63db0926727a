"""An installation to measure: a migrated database, a key, models with a version in service."""

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app import migrate
from app.auth import KeyHasher, Scope, create_key
from app.db import Database, database_now
from app.ids import new_id
from app.schemas.models import Policy
from app.settings import Settings
from app.states import VersionState
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, Alias, Instance, Model, Version, Worker
from engine.spec import TaskDescription, TensorDescription, WorkloadDescription

TASKS = ("digit", "parity")
MODEL = "digits-model"
ALL_AUTOMATIC = Policy(max_automatic_share=1.0)


@dataclass(frozen=True)
class Installation:
    """Where it lives and how it is called."""

    settings: Settings
    key: str
    model_ids: tuple[str, ...]
    """Of the models `digits-model`, `digits-model-2`, ...; each has the same instances."""
    version_ids: tuple[str, ...]
    instances: int
    """Of each model: `i-0`, `i-1`, ...; instance n belongs to subject `s-n`."""

    @property
    def environment(self) -> dict[str, str]:
        """What tells the service's processes where everything is."""
        return {
            "EXPUNGE_STATE_DIR": str(self.settings.state_dir),
            "EXPUNGE_DATABASE_URL": self.settings.database,
        }

    @property
    def headers(self) -> dict[str, str]:
        """What shows the key."""
        return {"Authorization": f"Bearer {self.key}"}


def install(
    folder: Path, url: str, *, instances: int, models: int = 1, weights_bytes: int = 64
) -> Installation:
    """A fresh installation in an empty database, its weights being random bytes of that size."""
    settings = Settings(state_dir=folder, database_url=url)
    database = Database(settings.database)
    migrate.upgrade(database)
    stored = LocalStorage(settings.storage).put(io.BytesIO(_weights(weights_bytes)))
    found: list[tuple[str, str]] = []
    with database.write() as session, session.begin():
        hasher = KeyHasher(settings.api_key_pepper)
        key = create_key(session, hasher, DEFAULT_TENANT, "benchmark", [Scope.ADMIN])[1]
        now = database_now(session)
        session.add(
            Worker(
                name="worker-1",
                workloads=["digits"],
                methods=["interference_aware", "retrain"],
                started_at=now,
                seen_at=now,
            )
        )
        for number in range(1, models + 1):
            model = Model(
                id=new_id("mod"),
                tenant_id=DEFAULT_TENANT,
                name=MODEL if number == 1 else f"{MODEL}-{number}",
                workload="digits",
                workload_options={},
                policy=ALL_AUTOMATIC.model_dump(mode="json"),
                description=_described().model_dump(mode="json"),
                created_at=now,
            )
            taught = [
                {"instance_id": f"i-{n}", "subject": f"s-{n}", "tasks": list(TASKS)}
                for n in range(instances)
            ]
            version = put_in_service(session, model, stored, taught)
            found.append((model.id, version.id))
    database.dispose()
    ids = tuple(zip(*found, strict=True))
    return Installation(settings, key, ids[0], ids[1], instances)


def put_in_service(
    session: Session,
    model: Model,
    stored: tuple[str, int],
    taught: Sequence[Mapping[str, object]],
) -> Version:
    """A new model's first version, verified, in service, and with its manifest.

    `stored` are the digest and the size of its weights, `taught` what each instance's row says.
    """
    sha256, size = stored
    version = Version(
        id=new_id("ver"),
        tenant_id=model.tenant_id,
        model_id=model.id,
        number=1,
        state=VersionState.VERIFIED,
        weights_sha256=sha256,
        weights_size=size,
        training_seconds=10.0,
        created_at=model.created_at,
    )
    version.root_id = version.id
    session.add(model)
    session.flush()
    session.add(version)
    session.flush()
    moved = model.created_at
    session.add(Alias(model_id=model.id, name="production", version_id=version.id, moved_at=moved))
    session.execute(insert(Instance), [{**row, "root_id": version.id} for row in taught])
    return version


def _described() -> WorkloadDescription:
    return WorkloadDescription(
        workload="digits",
        tasks=tuple(
            TaskDescription(
                name=name, kind="classification", metric="accuracy", higher_is_better=True
            )
            for name in TASKS
        ),
        tensors={"weight": TensorDescription(dtype="U8", shape=(64,))},
        parameters=64,
    )


def _weights(size: int) -> bytes:
    header = {"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + secrets.token_bytes(size)
