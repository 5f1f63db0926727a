"""What a model registry is told of a version: flat text by name, such as MLflow's tags."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.version_facts import receipts_of
from app.tables import Audit, Model, Version

_LONGEST = 5000
"""Characters that MLflow takes as the value of a model version's tag."""
_DIGEST = 65
"""Characters of a digest and its comma."""


def tags_of(session: Session, model: Model, version: Version) -> dict[str, str]:
    """The tags, sorted by name; what does not apply to the version is left out."""
    receipts = receipts_of(session, version)
    named = receipts[: _LONGEST // _DIGEST]
    parent = session.get(Version, version.parent_id) if version.parent_id else None
    tags = {
        "expunge.model": model.name,
        "expunge.model_id": model.id,
        "expunge.version": version.id,
        "expunge.version_number": str(version.number),
        "expunge.state": version.state,
        "expunge.parent": version.parent_id,
        "expunge.parent_number": str(parent.number) if parent else None,
        "expunge.method": version.method,
        "expunge.job": version.job_id,
        "expunge.verdict": session.scalar(
            select(Audit.verdict).where(Audit.version_id == version.id)
        ),
        "expunge.weights_sha256": version.weights_sha256,
        "expunge.receipts": str(len(receipts)),
        "expunge.receipt_sha256": ",".join(one.sha256 for one in named) or None,
    }
    return {name: value for name, value in sorted(tags.items()) if value is not None}
