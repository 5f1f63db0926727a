"""Versions stored as deltas, made without an engine: real files, real deltas, rows."""

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import database_now
from app.ids import new_id
from app.services.stored_weights import StoredWeights, recipe_of
from app.states import VersionState
from app.tables import Version
from engine.delta import write_delta

_SHAPES = {"body.bias": (64,), "body.weight": (64, 64), "head.weight": (10, 64)}


def chain_of_files(count: int, seed: int = 0) -> list[bytes]:
    """Safetensors files of one network, each a small step away from the one before."""
    random = np.random.default_rng(seed)
    weights = [random.standard_normal(shape).astype("<f4") for shape in _SHAPES.values()]
    files = []
    for _ in range(count):
        files.append(_file(weights))
        weights = [w + (1e-4 * random.standard_normal(w.shape)).astype("<f4") for w in weights]
    return files


def add_root(session: Session, stored: StoredWeights, like: Version, content: bytes) -> Version:
    """Another version of the model of `like`, stored whole."""
    sha256, size = stored.storage.put(io.BytesIO(content))
    return _add(session, like, None, sha256, size)


def add_children(
    session: Session, stored: StoredWeights, parent: Version, files: Sequence[bytes]
) -> list[Version]:
    """A line of descendants with these files, each stored as a delta from the one before."""
    made = []
    for content in files:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            before = stored.provide(recipe_of(session, parent), folder, "before")
            (folder / "after").write_bytes(content)
            summary = write_delta(before, folder / "after", folder / "delta")
            delta = stored.keep_delta(
                recipe_of(session, parent), folder / "delta", summary.child_sha256, len(content)
            )
        child = _add(session, parent, parent, summary.child_sha256, len(content))
        child.base_version_id = parent.id
        child.delta_sha256, child.delta_size = delta.sha256, delta.size
        session.flush()
        made.append(child)
        parent = child
    return made


def _add(
    session: Session, like: Version, parent: Version | None, sha256: str, size: int
) -> Version:
    version_id = new_id("ver")
    newest = select(func.max(Version.number)).where(Version.model_id == like.model_id)
    version = Version(
        id=version_id,
        tenant_id=like.tenant_id,
        model_id=like.model_id,
        number=session.scalars(newest).one() + 1,
        parent_id=parent.id if parent else None,
        root_id=parent.root_id if parent else version_id,
        state=VersionState.VERIFIED,
        weights_sha256=sha256,
        weights_size=size,
        created_at=database_now(session),
    )
    session.add(version)
    session.flush()
    return version


def _file(weights: Sequence[np.ndarray]) -> bytes:
    header, body = {}, b""
    for (name, shape), values in zip(_SHAPES.items(), weights, strict=True):
        place = [len(body), len(body) + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": place}
        body += values.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
