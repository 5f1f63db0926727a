import pytest
import torch

from engine.methods.constraints import Constraints
from engine.methods.peers import Peers

CELLS = torch.ones(2, 1, dtype=torch.bool)
HELD_OUT = torch.tensor([[1.0], [3.0]])


def constraints() -> Constraints:
    """Two cells of one task, both far below the loss that they have to reach."""
    nothing = torch.zeros_like(CELLS)
    return Constraints(
        asked=CELLS,
        earlier=nothing,
        forgotten=CELLS,
        kept=nothing,
        kept_losses=torch.zeros(2, 1),
        targets=torch.full((2, 1), 10.0),
        held_out=HELD_OUT,
        peers=(Peers((), ()),),
        scales=torch.ones(1),
        multipliers=[1.0],
    )


def test_the_weight_of_forgetting_follows_the_shortfall_up_to_its_ceiling() -> None:
    found = constraints()
    found.adapt(torch.arange(2), torch.zeros(2, 1))
    assert found.multipliers[0] > 1
    found.limit(0.1)
    assert found.ceiling == pytest.approx(0.4)
    found.adapt(torch.arange(2), torch.zeros(2, 1))
    assert found.multipliers == [pytest.approx(0.4)]


def test_the_ceiling_stays_within_the_bounds_of_any_multiplier() -> None:
    found = constraints()
    found.limit(1e-3)
    assert found.ceiling == pytest.approx(0.2)
    found.limit(1e3)
    assert found.ceiling == pytest.approx(4.0)


def test_targets_follow_the_held_out_losses_but_not_far_beyond_the_parents() -> None:
    now = torch.zeros(2, 1)
    found = constraints()
    found.aim(1.2 * HELD_OUT, now)
    assert found.targets.flatten().tolist() == pytest.approx([1.8, 3.0])
    assert found.scales.item() == pytest.approx(2.4)
    found.aim(10 * HELD_OUT, now)
    assert found.targets.flatten().tolist() == pytest.approx([1.875, 3.125])

    found.asked, found.earlier = found.earlier, found.asked
    found.aim(10 * HELD_OUT, now)
    assert found.targets.flatten().tolist() == pytest.approx([1.5, 2.5])
    found.aim(HELD_OUT / 10, now)
    assert found.targets.flatten().tolist() == pytest.approx([0.15, 0.25])


def test_a_whole_subject_is_compared_with_unseen_subjects_and_the_rest_with_instances() -> None:
    cells = torch.ones(3, 1, dtype=torch.bool)
    held_out = torch.tensor([[1.0], [1.0], [3.0], [3.0], [80.0], [80.0]])
    found = Constraints(
        asked=cells,
        earlier=torch.zeros_like(cells),
        forgotten=cells,
        kept=torch.zeros_like(cells),
        kept_losses=torch.zeros(3, 1),
        targets=torch.zeros(3, 1),
        held_out=held_out,
        peers=(Peers((torch.tensor([0, 2]),), torch.arange(6).view(3, 2).unbind(0)),),
        scales=torch.ones(1),
        multipliers=[1.0],
    )
    found.aim(held_out, torch.zeros(3, 1))
    assert found.targets.flatten().tolist() == pytest.approx([3.0, 3.0, 3.0])
    found.peers = (Peers((), ()),)
    found.aim(held_out, torch.zeros(3, 1))
    assert found.targets.max() > 60
