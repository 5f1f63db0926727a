from rich.console import Console

from expunge.answers import CellAudit
from expunge.cli.tables import audit_table


def test_what_nobody_labelled_is_a_dash_in_the_audit_s_table() -> None:
    cell = CellAudit.model_validate(
        {
            "request_id": "req_1",
            "task": "depth",
            "target": False,
            "metric": "rmse",
            "higher_is_better": False,
            "forget": None,
            "retain": {"before": 0.5, "after": 0.51},
            "validation": {"before": 0.7, "after": 0.69},
            "auc": None,
            "verdict": "pass",
            "reason": "Keeps 99.0% of its retain quality.",
        }
    )
    console = Console(width=120, record=True)
    console.print(audit_table([cell], "a request"))
    (row,) = [line for line in console.export_text().splitlines() if "depth" in line]
    cells = [part.strip() for part in row.strip("\u2502 ").split("\u2502")]
    assert cells == ["depth (kept)", "rmse", "-", "0.5 -> 0.51", "0.7 -> 0.69", "-", "pass"]
