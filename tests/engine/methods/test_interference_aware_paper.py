import pytest
import torch

from engine.methods.baseline import Sgd
from engine.methods.interference_aware_paper import Factored, confine, unlearn
from engine.projection import complement
from tiny_workload import ONE_STEP, linear_problem, maps_workload, problem, weight


def test_a_task_whose_direction_another_has_taken_does_not_move_the_weights():
    retain = torch.zeros(4, 2, dtype=torch.bool)
    retain[1] = True
    job = linear_problem("both", ONE_STEP, retain)
    unlearn(job)
    # left takes (1, 0, 1) and ascends (2, 0, 2); right points the same way and has nothing left.
    # The retain gradient (0, 6, 0) is at a right angle to it already.
    assert weight(job) == pytest.approx([2.2, 1.0, 0.2])


def test_inside_the_span_of_a_retain_gradient_nothing_is_forgotten():
    job = linear_problem("left", ONE_STEP)
    unlearn(job)
    # One direction, and the retain gradient has a part along it.
    assert weight(job) == pytest.approx([2.0, 1.0, 0.0], abs=1e-5)


def test_a_confined_forget_gradient_stays_orthogonal_to_retain_gradients():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.zeros(3, 6)), torch.nn.Parameter(torch.zeros(3))]
    basis = torch.linalg.qr(torch.randn(6, 4, generator=generator)).Q.T
    bases = [basis, torch.zeros(0, 3)]
    forget, *retain = torch.randn(4, 21, generator=generator)
    inside = torch.stack([confine(row, weights, bases) for row in retain])
    step = complement(confine(forget, weights, bases), inside)
    assert step.norm() > 0.1
    assert torch.stack(retain) @ step == pytest.approx(torch.zeros(3), abs=1e-5)
    assert step[18:].tolist() == [0, 0, 0]


def test_factors_move_a_weight_by_the_projected_gradient():
    weights = [torch.nn.Parameter(torch.ones(2, 2))]
    mover = Factored(weights, [torch.tensor([[0.6, 0.8]])], Sgd)
    mover.step(torch.tensor([1.0, 0.0, 0.0, 1.0]), 0.5)
    expected = 1 - 0.5 * torch.tensor([[0.36, 0.48], [0.48, 0.64]])
    assert torch.allclose(weights[0], expected)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_updates_have_low_rank_and_biases_stay(optimizer: str):
    workload = maps_workload()
    torch.manual_seed(0)
    model = workload.build_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forget = torch.zeros(12, 3, dtype=torch.bool)
    forget[:3, 0] = True
    settings = {"rank": 2, "min_steps": 3, "steps_per_instance": 0.1, "optimizer": optimizer}
    unlearn(problem(workload, model, forget, {**settings, "learning_rate": 0.05}))
    moved = model.shared[0].weight.detach() - before["shared.0.weight"]
    assert 1 <= int(torch.linalg.matrix_rank(moved.flatten(1), rtol=1e-4)) <= 2
    assert torch.equal(model.shared[0].bias.detach(), before["shared.0.bias"])
    # The head of another task has no part in the request.
    assert torch.equal(model.depth.weight.detach(), before["depth.weight"])
