"""What the demo found, as tables for people and as `demo.json` for programs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from expunge.answers import DeletionRequest, Job, Preview
from expunge.cli.tables import audit_table


@dataclass(frozen=True)
class Carried:
    """A request that reached its end, with the job that served it."""

    title: str
    preview: Preview
    request: DeletionRequest
    job: Job

    @property
    def seconds(self) -> float | None:
        """The engine's time."""
        return self.job.cost.seconds if self.job.cost else None

    @property
    def share_of_retraining(self) -> float | None:
        """The engine's time over that of training from scratch."""
        return self.job.cost.share_of_retraining if self.job.cost else None

    def show(self, console: Console) -> None:
        """The table, the cost, and in plain words what did not work."""
        request = self.request
        console.print(audit_table(request.audit or (), title=f"{self.title}: {request.state}"))
        seconds = "-" if self.seconds is None else f"{self.seconds:.1f} s"
        share = self.share_of_retraining
        told = "" if share is None else f", {share:.0%} of what training took"
        console.print(f"  {seconds}{told}")
        for exception in request.exceptions:
            console.print(f"  [yellow]{exception.task}: {exception.verdict}[/]: {exception.reason}")

    def plain(self) -> dict[str, Any]:
        """For `demo.json`."""
        return {
            "title": self.title,
            "preview": self.preview.model_dump(mode="json"),
            "request": self.request.model_dump(mode="json"),
            "job": self.job.model_dump(mode="json"),
            "seconds": self.seconds,
            "share_of_retraining": self.share_of_retraining,
        }


def write_report(file: Path, content: Mapping[str, Any]) -> None:
    """Write `demo.json`."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def metrics_line(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Each task's test metric at the first version and at the new one."""
    return ", ".join(f"{task} {before[task]:.3g} -> {after[task]:.3g}" for task in after)
