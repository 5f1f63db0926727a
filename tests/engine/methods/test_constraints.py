import pytest
import torch

from engine.methods.constraints import Constraints

CELLS = torch.ones(2, 1, dtype=torch.bool)


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
