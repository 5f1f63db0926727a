"""A workload in plain data, so that the service can check uploads without torch."""

from engine.checkpoint import describe_tensors
from engine.contract import check_tasks, fresh_model
from engine.spec import TaskDescription, WorkloadDescription
from engine.workload import Workload, epochs_of


def describe(workload: Workload) -> WorkloadDescription:
    """The tasks, the state dict's entries, the number of weights, and the recipe's epochs."""
    check_tasks(workload)
    model = fresh_model(workload)
    return WorkloadDescription(
        workload=workload.name,
        tasks=tuple(
            TaskDescription(
                name=name,
                kind=task.kind,
                metric=task.metric_name,
                higher_is_better=task.higher_is_better,
            )
            for name, task in workload.tasks.items()
        ),
        tensors=describe_tensors(model.state_dict()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epochs=epochs_of(workload),
    )
