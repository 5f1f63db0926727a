from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from engine.errors import Diverged, WorkloadError
from engine.tasks.classification import Classification
from engine.tasks.regression import Regression
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.networks import MultiTaskMLP
from engine.workloads.recipe import Recipe, fit
from engine.workloads.tensor_instances import TensorInstances, all_supervised


class Points:
    """Twelve points in the plane: on which side, and how high."""

    name = "points"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.inputs = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))

    @property
    def tasks(self) -> Mapping[str, Task]:
        return {"side": Classification("side", 2), "height": Regression("height", 0.0, 1.0)}

    def build_model(self) -> nn.Module:
        torch.manual_seed(0)
        return MultiTaskMLP(2, (16,), {"side": (2,), "height": ()})

    def instances(self, split: Split) -> InstanceSet:
        return TensorInstances(
            ids=[str(row) for row in range(12)],
            subjects=[None] * 12,
            inputs=self.inputs,
            targets={"side": (self.inputs[:, 0] > 0).long(), "height": self.inputs[:, 1]},
            supervision=all_supervised(12, 2),
        )

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        return fit(self, model, instances, supervision, self.recipe, seed, progress)


def _trained(supervision: Tensor, seed: int = 0, epochs: int = 3) -> tuple[nn.Module, int]:
    points = Points(Recipe(epochs=epochs, batch_size=4, learning_rate=1e-2))
    model = points.build_model()
    spent = points.train(model, points.instances("train"), supervision, seed, lambda step, of: None)
    return model, spent


def _weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_it_learns_and_counts_every_instance_once_an_epoch() -> None:
    model, spent = _trained(all_supervised(12, 2), epochs=80)
    points = Points(Recipe(epochs=1))
    batch = points.instances("train").batch(torch.arange(12))
    outputs = model(batch.inputs)
    assert spent == 80 * 12
    assert (outputs["side"].argmax(1) == batch.targets["side"]).all()
    assert points.tasks["height"].loss(outputs["height"], batch.targets["height"]).mean() < 0.1


def test_an_instance_without_a_supervised_cell_is_never_drawn() -> None:
    supervision = all_supervised(12, 2)
    supervision[:5] = False
    assert _trained(supervision)[1] == 3 * 7


def test_a_cell_that_is_not_supervised_contributes_nothing() -> None:
    supervision = all_supervised(12, 2)
    supervision[:, 1] = False
    model, _ = _trained(supervision)
    untouched = Points(Recipe(epochs=1)).build_model().state_dict()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, untouched[key]) == ("to_height" in key)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (_weights(_trained(all_supervised(12, 2), seed)[0]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_progress_runs_from_zero_to_the_last_step() -> None:
    points = Points(Recipe(epochs=2, batch_size=4))
    seen: list[tuple[int, int]] = []
    instances = points.instances("train")
    points.train(
        points.build_model(), instances, instances.supervision, 0, lambda *step: seen.append(step)
    )
    assert seen == [(0, 6), (3, 6), (6, 6)]


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(WorkloadError, match="no supervised instance is left"):
        _trained(torch.zeros(12, 2, dtype=torch.bool))


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    points = Points(Recipe(epochs=1))
    points.inputs[3] = torch.inf
    instances = points.instances("train")
    with pytest.raises(Diverged, match="became NaN or infinite"):
        points.train(
            points.build_model(), instances, instances.supervision, 0, lambda step, of: None
        )
