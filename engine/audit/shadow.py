"""Networks retrained without the forgotten cells: what *never having seen them* looks like.

Two uses. Their own membership AUC is the honest reference of a partial-task request: a network
retrained without some labels of an instance still sees it through the other tasks, and does better
on it than on a stranger. And they sharpen the attack: the likelihood-ratio attack (LiRA, Carlini et
al., arXiv 2112.03570) asks of each instance whether its loss is low *for it*, rather than low.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import evaluation
from engine.audit.measure import Evidence
from engine.contract import fresh_model, owners_code
from engine.workload import Reporter

_FIRST_SEED = 1_000_003
"""Away from the seeds that owners and methods use, so that no shadow is a version's twin."""
_PRIOR_MODELS = 8
"""An instance's own variance is averaged with all instances', as if that many models had it."""


@dataclass(frozen=True)
class Shadows:
    """K networks that have seen neither the forgotten nor the held-out cells."""

    forgotten: Tensor
    """Losses [K, N, T], NaN outside the cells that the requests forget."""
    held_out: Tensor
    """Losses [K, M, T], NaN where there is no label."""


def train_shadows(evidence: Evidence, count: int, progress: Reporter) -> Shadows | None:
    """Train `count` networks by the owner's recipe on the retain cells, each from its own seed."""
    if not count:
        return None
    workload, device = evidence.workload, evidence.device
    cells = torch.stack([request.cells for request in evidence.requests]).any(0)
    forgotten, held_out = [], []
    for number in range(count):
        progress(number, count)
        seed = _FIRST_SEED + evidence.seed + number
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = fresh_model(workload).to(device)
            with owners_code("the workload's train"):
                workload.train(model, evidence.train, evidence.retain, seed, lambda *_: None)
        forgotten.append(evaluation.losses(workload, model, evidence.train, cells, device))
        supervision = evidence.judging.supervision
        held_out.append(evaluation.losses(workload, model, evidence.judging, supervision, device))
    progress(count, count)
    return Shadows(torch.stack(forgotten), torch.stack(held_out))


def likelihood_scores(losses: Tensor, shadows: Tensor) -> Tensor:
    """How high each loss [n] is for its instance, given its losses under the shadows [K, n].

    Lower is likelier a member's.

    The offline attack: `(phi(l) - mean) / deviation`, a Gaussian fitted to `phi` of an instance's
    shadow losses, `phi(l) = log(exp(l) - 1)` (for cross-entropy the logit of the label's
    probability, negated: what Carlini et al. found Gaussian; for other losses, log l when small and
    l when large). Losses that can be negative stay as they are.
    """
    if bool((losses < 0).any()) or bool((shadows < 0).any()):
        own, others = losses.double(), shadows.double()
    else:
        own, others = _phi(losses), _phi(shadows)
    deviations = others - others.mean(0)
    count = len(others)
    squares = (deviations**2).sum(0)
    usual = float(squares.mean()) / max(count - 1, 1)
    variance = (squares + _PRIOR_MODELS * usual) / (count - 1 + _PRIOR_MODELS)
    scale = torch.sqrt(variance) if usual > 0 else torch.ones_like(own)
    return (own - others.mean(0)) / scale


def _phi(losses: Tensor) -> Tensor:
    values = losses.double().clamp(min=1e-9)
    return values + torch.log(-torch.expm1(-values))


def distance(losses: Tensor, shadows: Tensor) -> float:
    """The mean absolute difference between losses [n] and those of the shadows [K, n]."""
    found = float((losses.double() - shadows.double()).abs().mean())
    return found if math.isfinite(found) else 0.0
