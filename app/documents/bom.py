"""The bill of materials: CycloneDX 1.6 with a `machine-learning-model` and its `data`.

https://cyclonedx.org/docs/1.6/json/
"""

import uuid
from typing import Any

from app.documents.card import measured_tasks
from app.documents.facts import Facts
from app.schemas.receipts import STATEMENT
from engine.spec import Interval
from expunge.canonical import canonical_json

MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
_SERIALS = uuid.UUID("6f9a1a3e-0d0a-5b57-9d0e-5f6f4f3f4a11")
"""The namespace of serial numbers: each is a UUID version 5 of the version's id and digest."""
_DATA = "training-data"


def render(facts: Facts) -> bytes:
    """The BOM as canonical JSON."""
    serial = uuid.uuid5(_SERIALS, f"{facts.version} {facts.weights_sha256}")
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": f"{facts.created_at:%Y-%m-%dT%H:%M:%SZ}",
            "tools": {"components": [{"type": "application", "name": "expunge"}]},
            "component": _model(facts),
        },
        "components": [_data(facts)],
        "dependencies": [{"ref": facts.version, "dependsOn": [_DATA]}, {"ref": _DATA}],
    }
    return canonical_json(bom)


def _model(facts: Facts) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": facts.version,
        "name": facts.model,
        "version": str(facts.number),
        "hashes": [{"alg": "SHA-256", "content": facts.weights_sha256}],
        "modelCard": _card(facts),
        "properties": _properties(facts),
    }
    if facts.parent is not None:
        component["pedigree"] = {
            "ancestors": [
                {
                    "type": "machine-learning-model",
                    "bom-ref": facts.parent.id,
                    "name": facts.model,
                    "version": str(facts.parent.number),
                    "hashes": [{"alg": "SHA-256", "content": facts.parent.sha256}],
                }
            ]
        }
    return component


def _card(facts: Facts) -> dict[str, Any]:
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": ", ".join(f"{t.name} ({t.kind})" for t in facts.description.tasks),
            "modelArchitecture": f"workload {facts.workload}",
            "datasets": [{"ref": _DATA}],
        }
    }
    metrics = list(_metrics(facts))
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if facts.audit is not None:
        card["considerations"] = {"technicalLimitations": [STATEMENT, *facts.audit.notes]}
    return card


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    """Held-out quality of each task, then the membership AUC of each cell that was forgotten."""
    found = []
    for task, cell in measured_tasks(facts).items():
        assert cell.validation is not None
        found.append(
            {
                "type": cell.metric,
                "value": repr(cell.validation.after),
                "slice": f"{task}, held-out data",
                **_interval(cell.validation_interval),
            }
        )
    return found + [
        {
            "type": "membership inference AUC",
            "value": repr(cell.auc.after.value),
            "slice": f"{cell.task}, forgotten by {cell.request_id}",
            **_interval(cell.auc.after),
        }
        for cell in (facts.audit.cells if facts.audit else ())
        if cell.target and cell.auc is not None
    ]


def _interval(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {}
    bounds = {"lowerBound": repr(interval.low), "upperBound": repr(interval.high)}
    return {"confidenceInterval": bounds}


def _properties(facts: Facts) -> list[dict[str, str]]:
    """What has no field of its own in CycloneDX."""
    named = {
        "expunge:version": facts.version,
        "expunge:workload": facts.workload,
        "expunge:parameters": str(facts.description.parameters),
        "expunge:method": facts.method,
        "expunge:seed": None if facts.seed is None else str(facts.seed),
        "expunge:verdict": facts.audit.verdict if facts.audit else None,
    }
    found = [{"name": name, "value": value} for name, value in named.items() if value is not None]
    return found + [
        {"name": f"expunge:receipt:{one.receipt}", "value": f"sha256:{one.sha256}"}
        for one in facts.receipts
    ]


def _data(facts: Facts) -> dict[str, Any]:
    properties = {"expunge:instances": facts.instances} | {
        f"expunge:forgotten:{task}": count for task, count in facts.forgotten.items()
    }
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": f"manifest of {facts.root}",
        "data": [{"type": "dataset", "name": f"training data of {facts.model}"}],
        "properties": [{"name": name, "value": str(value)} for name, value in properties.items()],
    }
