"""The model card: `README.md` as the Hugging Face Hub reads it, YAML in front of Markdown.

https://huggingface.co/docs/hub/model-cards. JSON is YAML, so every value in front is written as
JSON and nothing in a name can break out of its place.
"""

import json
from collections.abc import Iterator

from app.documents.facts import Facts
from app.schemas.receipts import STATEMENT
from engine.spec import WEIGHTS_FILE, CellAudit


def render(facts: Facts) -> str:
    """The card's text."""
    parts = [_front(facts), _head(facts), _training(facts), _forgotten(facts)]
    if facts.audit is not None:
        parts.append(_audit(facts))
    parts += [_limits(facts), _files(facts)]
    return "\n".join(parts)


def _front(facts: Facts) -> str:
    tags = ["expunge", "machine-unlearning", f"workload:{facts.workload}"]
    lines = [
        "---",
        f"library_name: {json.dumps('expunge')}",
        f"model_name: {json.dumps(facts.model)}",
        f"tags: {json.dumps(tags)}",
    ]
    metrics = sorted({task.metric for task in facts.description.tasks})
    lines.append(f"metrics: {json.dumps(metrics)}")
    results = list(_results(facts))
    if results:
        index = [{"name": f"{facts.model}, version {facts.number}", "results": results}]
        lines.append(f"model-index: {json.dumps(index)}")
    return "\n".join([*lines, "---", ""])


def _results(facts: Facts) -> Iterator[dict[str, object]]:
    """One result a task: its metric on held-out data, in the form of `model-index`."""
    kinds = {task.name: task.kind for task in facts.description.tasks}
    for task, cell in measured_tasks(facts).items():
        assert cell.validation is not None
        yield {
            "task": {"type": kinds.get(task, task), "name": task},
            "dataset": {"type": facts.workload, "name": f"held-out data of {facts.workload}"},
            "metrics": [{"type": cell.metric, "value": cell.validation.after, "name": cell.metric}],
        }


def measured_tasks(facts: Facts) -> dict[str, CellAudit]:
    """By task, a cell of the audit that says how well the task does on held-out data."""
    found: dict[str, CellAudit] = {}
    for cell in facts.audit.cells if facts.audit else ():
        if cell.validation is not None:
            found.setdefault(cell.task, cell)
    return found


def _head(facts: Facts) -> str:
    made = (
        f"It was made from version {facts.parent.number} by the method `{facts.method}`"
        f" (seed {facts.seed}), to carry out {_count(len(facts.receipts), 'deletion request')}."
        if facts.method and facts.parent
        else "Its owner trained and registered it."
    )
    tasks = "".join(
        f"| `{task.name}` | {task.kind} | {task.metric} "
        f"({'higher' if task.higher_is_better else 'lower'} is better) |\n"
        for task in facts.description.tasks
    )
    return f"""# {facts.model}, version {facts.number}

{made}

| | |
| --- | --- |
| version | `{facts.version}` |
| made at | {facts.created_at:%Y-%m-%d %H:%M:%S} UTC |
| network | workload `{facts.workload}`, {facts.description.parameters:,} parameters |
| weights | `{WEIGHTS_FILE}`, {facts.weights_size:,} bytes, sha256 `{facts.weights_sha256}` |

| task | kind | metric |
| --- | --- | --- |
{tasks}"""


def _training(facts: Facts) -> str:
    return f"""## Training data

Training began with {_count(facts.instances, "instance")}, listed in the manifest of the version
`{facts.root}`. The manifest stays with the service: it names instances, not what is in them.
"""


def _forgotten(facts: Facts) -> str:
    if not any(facts.forgotten.values()):
        return """## What was forgotten

Nothing: these weights still rest on all of their training data.
"""
    rows = "".join(f"| `{task}` | {count:,} |\n" for task, count in facts.forgotten.items())
    text = f"""## What was forgotten

How many instances no longer teach a task, in this version and those that it was made from:

| task | instances |
| --- | --- |
{rows}"""
    if facts.receipts:
        text += "\nReceipts of the requests that were carried out in this version:\n\n"
        text += "| request | receipt | sha256 |\n| --- | --- | --- |\n"
        for one in facts.receipts:
            text += f"| `{one.request}` | `{one.receipt}` | `{one.sha256}` |\n"
    return text


def _audit(facts: Facts) -> str:
    audit = facts.audit
    assert audit is not None
    rows = ""
    for cell in audit.cells:
        auc = f"{cell.auc.after.value:.3f}" if cell.auc else ""
        span = f"{cell.auc.after.low:.3f} to {cell.auc.after.high:.3f}" if cell.auc else ""
        held_out = f"{cell.validation.after:.4g}" if cell.validation else ""
        asked = "forget" if cell.target else "keep"
        rows += f"| `{cell.request_id}` | `{cell.task}` | {asked} | {cell.verdict} |"
        rows += f" {held_out} | {auc} | {span} |\n"
    return f"""## Audit

Verdict: **{audit.verdict}**. Unlearning Impact Score {audit.uis_before:.1f} before,
{audit.uis_after:.1f} after (lower is better). Reference: {audit.reference}.
A membership AUC of 0.5 cannot tell a forgotten instance from one never seen.

| request | task | asked | verdict | held-out metric | membership AUC | interval |
| --- | --- | --- | --- | --- | --- | --- |
{rows}"""


def _limits(facts: Facts) -> str:
    told = (
        STATEMENT
        if facts.audit
        else "Nothing was audited: what the weights can do is known to their owner alone."
    )
    return f"""## Limits

{told} Copies of earlier versions still hold what this one has forgotten: delete them.
"""


def _files(facts: Facts) -> str:
    return f"""## Files

| file | what it is |
| --- | --- |
| `{WEIGHTS_FILE}` | the weights |
| `ml-bom.cdx.json` | CycloneDX bill of materials |
| `model.sig` | OpenSSF model signature over all files: `expunge versions verify FOLDER` |
"""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
