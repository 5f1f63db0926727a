import pytest
import torch

from engine.errors import WorkloadError
from engine.workloads.scenes import ScenesWorkload


def test_a_room_is_the_same_whatever_the_size() -> None:
    small, large = (ScenesWorkload(size=n).instances("train") for n in (4, 10))
    assert small.digests == large.digests[:4]


def test_the_splits_share_no_room_and_no_home() -> None:
    workload = ScenesWorkload(size=20)
    splits = [workload.instances(split) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [20, 10, 10]
    assert len({digest for split in splits for digest in split.digests}) == 40
    homes = [set(split.subjects) for split in splits]
    assert len(set.union(*homes)) == 4 + 2 + 2


def test_inputs_and_targets_fit_the_network() -> None:
    workload = ScenesWorkload(size=4, resolution=16, width=8)
    batch = workload.instances("train").batch(torch.arange(3))
    outputs = workload.build_model()(batch.inputs)
    assert list(outputs) == list(workload.tasks) == ["segmentation", "depth", "normals"]
    for name, task in workload.tasks.items():
        loss = task.loss(outputs[name], batch.targets[name])
        assert loss.shape == (3,)
        assert loss.isfinite().all()


def test_training_lowers_every_tasks_loss() -> None:
    workload = ScenesWorkload(size=8, resolution=16, width=8, epochs=15)
    torch.manual_seed(0)
    model = workload.build_model()
    instances = workload.instances("train")
    batch = instances.batch(torch.arange(8))

    def loss() -> torch.Tensor:
        outputs = model(batch.inputs)
        means = [t.loss(outputs[n], batch.targets[n]).mean() for n, t in workload.tasks.items()]
        return torch.stack(means).detach()

    before = loss()
    assert workload.train(model, instances, instances.supervision, 0, lambda *_: None) == 15 * 8
    assert (loss() < 0.9 * before).all()


def test_a_width_that_the_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(WorkloadError, match="option 'width' must be a multiple of 8, not 12"):
        ScenesWorkload(width=12)
