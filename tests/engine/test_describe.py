import torch
from safetensors import safe_open

from engine.checkpoint import write_weights
from engine.describe import describe
from engine.spec import TaskDescription, TensorDescription
from engine.workloads.digits import DigitsWorkload
from engine.workloads.scenes import ScenesWorkload
from tiny_workload import linear_workload


def test_tasks_are_told_in_the_workloads_order() -> None:
    description = describe(ScenesWorkload())
    assert description.workload == "scenes"
    assert description.tasks[1] == TaskDescription(
        name="depth", kind="depth", metric="rmse", higher_is_better=False
    )
    assert [task.name for task in description.tasks] == ["segmentation", "depth", "normals"]


def test_tensors_are_those_of_a_weights_file(tmp_path) -> None:
    workload = DigitsWorkload(hidden=16)
    model = workload.build_model()
    description = describe(workload)
    written = write_weights(model.state_dict(), tmp_path / "w")
    with safe_open(written.path, "pt") as file:
        found = {
            key: TensorDescription(
                dtype=file.get_slice(key).get_dtype(), shape=tuple(file.get_slice(key).get_shape())
            )
            for key in file.keys()  # noqa: SIM118 - a safe_open is no mapping
        }
    assert description.tensors == found
    assert description.parameters == sum(torch.numel(p) for p in model.parameters())


def test_the_recipes_epochs_are_told_where_the_workload_tells_them() -> None:
    assert describe(DigitsWorkload(epochs=7)).epochs == 7
    assert describe(ScenesWorkload()).epochs == 60
    assert describe(linear_workload()).epochs is None
