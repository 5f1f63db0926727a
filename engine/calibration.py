"""Where to stop forgetting: the loss that an instance would have, had the model never seen it.

Held-out losses are a sample of the losses of unseen instances. Spreading the forget instances over
their quantiles, each at its own rank, asks for the one set of losses that a membership test cannot
tell from the held-out ones; pushing towards it from both sides keeps anything from being maximised
without bound.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BAND = 0.1
"""Distance from its target, as a share of the mean held-out loss, from which an instance is pushed
at full weight."""
_MULTIPLIER_RATE = 0.2
LOWEST_MULTIPLIER = 0.2
HIGHEST_MULTIPLIER = 4.0
"""Of a task's weight of forgetting, which starts at 1."""


def mid_ranks(losses: Tensor) -> Tensor:
    """Each loss's place among the n, as a share: `(r - .5) / n` for rank r from 1; [n] to [n]."""
    order = losses.argsort(stable=True)
    places = torch.empty_like(losses)
    places[order] = (torch.arange(len(losses)).to(losses) + 0.5) / len(losses)
    return places


def targets(held_out: Tensor, places: Tensor) -> Tensor:
    """The loss to aim at, [n]: the quantiles of the held-out losses [M] at `places` [n] in 0..1."""
    return torch.quantile(held_out.double(), places.double()).to(held_out)


def subject_targets(held_out: Sequence[Tensor], losses: Sequence[Tensor]) -> list[Tensor]:
    """The losses to aim at for whole subjects, each of [n_i], from unseen subjects' [m_j].

    The records of one subject share their luck, so a subject is one draw and not many: by the place
    of its mean loss among the forgotten subjects' it gets the losses of the unseen subject at the
    same place among its own kind (between two, a mixture), and within these its records get the
    quantiles of their own ranks. A single subject gets those of the median one. Subjects of one
    record each get what `targets` gives.
    """
    ordered = sorted(held_out, key=lambda subject: float(subject.mean()))
    levels = mid_ranks(torch.stack([subject.mean() for subject in losses]))
    found = []
    for mine, level in zip(losses, levels.tolist(), strict=True):
        position = level * (len(ordered) - 1)
        below = int(position)
        places = mid_ranks(mine)
        low, high = (
            targets(ordered[index], places) for index in (below, min(below + 1, len(ordered) - 1))
        )
        found.append(torch.lerp(low, high, position - below))
    return found


def no_higher(losses: Tensor, bound: Tensor) -> Tensor:
    """The losses [M], none of their quantiles above the same one of `bound` [M].

    NaN stands in both for an instance without a label, and stays.
    """
    order = losses.argsort()
    result = torch.empty_like(losses)
    result[order] = torch.minimum(losses[order], bound.sort().values)
    return result


def two_sided_weights(target: Tensor, loss: Tensor, scale: float) -> Tensor:
    """Ascent weights in -1..1, [n]: positive where the loss is still too low, negative beyond it.

    `clip((target - loss) / (BAND scale), -1, 1)`, with `scale` the task's mean held-out loss.
    """
    return ((target - loss) / max(BAND * scale, 1e-12)).clamp(-1, 1)


def next_multiplier(multiplier: float, shortfall: float, scale: float) -> float:
    """The task's forget weight for the next step, in .2..4.

    It grows while the mean shortfall (target - loss) is positive: `m exp(.2 shortfall / scale)`,
    the exponent held within .2 so that one wild batch cannot swing it.
    """
    relative = torch.tensor(shortfall / max(scale, 1e-12)).clamp(-1, 1)
    return float(
        (multiplier * torch.exp(_MULTIPLIER_RATE * relative)).clamp(
            LOWEST_MULTIPLIER, HIGHEST_MULTIPLIER
        )
    )
