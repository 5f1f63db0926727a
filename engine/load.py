"""How much a job has to do, counted on the matrices that the engine works on."""

from engine.manifest import Cells
from engine.spec import JobLoad, Thresholds


def load_of(cells: Cells, thresholds: Thresholds) -> JobLoad:
    """What the planner estimates a job's cost from."""
    listed = cells.retain | cells.forget | cells.earlier
    return JobLoad(
        instances=int(listed.any(1).sum()),
        forget=int(cells.forget.any(1).sum()),
        earlier=int(cells.earlier.any(1).sum()),
        retained=int(cells.retain.any(1).sum()),
        audit_trainings=thresholds.trainings,
    )
