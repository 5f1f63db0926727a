"""Retained instances that are nearly a forgotten one: what they teach will not be forgotten."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.audit.measure import Evidence, ForgottenCells
from engine.workload import InstanceSet

NEAR = 0.25
"""An instance has a near-duplicate where its nearest retained neighbour is nearer than this share
of the usual distance: the median of the retain set's own nearest-neighbour distances. The median
stands firm where up to half of the retain set has twins itself; a quarter of it is rare by chance,
as in d dimensions the share of neighbours so near falls with .25 to the power d."""
_MOST_RETAINED = 4096
_MOST_FORGOTTEN = 1024
_FEWEST = 20
"""Fewer retained instances than this give no usual distance."""
_DIMENSIONS = 256
"""Of the space to measure in; the numbers of larger inputs are hashed into it with random signs,
which keeps squared distances to within a tenth (Weinberger et al., arXiv 0902.2206)."""
_ROWS = 256


def near_duplicates(evidence: Evidence) -> list[list[int]]:
    """Of each request, rows of its instances with a near-duplicate that still teaches a same task.

    By the distance of the inputs, each number standardised over the retain set. Exact copies, by
    digest, are left out. At most 4096 retained and 1024 forgotten instances a request are compared,
    chosen at random but always the same.
    """
    known: dict[tuple[int, ...], _Neighbourhood | None] = {}
    found = []
    for request in evidence.requests:
        targets = tuple(request.cells.any(0).nonzero().squeeze(1).tolist())
        if targets not in known:
            known[targets] = _neighbourhood(evidence, targets)
        around = known[targets]
        found.append([] if around is None else around.of(evidence.train, request))
    return found


@dataclass(frozen=True)
class _Neighbourhood:
    """What still teaches one of some tasks, and how far from each other that usually is."""

    inputs: Tensor
    """[R, D], standardised by the next two."""
    mean: Tensor
    deviation: Tensor
    usual: float
    digests: Set[str]
    """Of all of it."""

    def of(self, train: InstanceSet, request: ForgottenCells) -> list[int]:
        """The request's instances that are nearer to some of it than is usual."""
        forgotten = _sample(request.cells.any(1), _MOST_FORGOTTEN)
        ours = (_inputs(train, forgotten) - self.mean) / self.deviation
        near = _nearest(ours, self.inputs, itself=False) < NEAR * self.usual
        return [row for row in forgotten[near].tolist() if train.digests[row] not in self.digests]


def _neighbourhood(evidence: Evidence, targets: Sequence[int]) -> _Neighbourhood | None:
    """None where too little teaches these tasks to say what is usual, or there are no tasks."""
    train, teaching = evidence.train, evidence.retain[:, list(targets)].any(1)
    retained = _sample(teaching, _MOST_RETAINED)
    if len(retained) < _FEWEST:
        return None
    inputs = _inputs(train, retained)
    mean, deviation = inputs.mean(0), inputs.std(0)
    # A number that hardly varies would weigh as much as one that tells instances apart.
    deviation = deviation.clamp(min=max(1e-3 * float(deviation.max()), 1e-12))
    inputs = (inputs - mean) / deviation
    usual = float(_nearest(inputs, inputs, itself=True).median())
    digests = {train.digests[row] for row in teaching.nonzero().squeeze(1).tolist()}
    return _Neighbourhood(inputs, mean, deviation, usual, digests)


def _sample(chosen: Tensor, most: int) -> Tensor:
    rows = chosen.nonzero().squeeze(1)
    if len(rows) <= most:
        return rows
    generator = torch.Generator().manual_seed(0)
    return rows[torch.randperm(len(rows), generator=generator)[:most]].sort().values


def _inputs(instances: InstanceSet, rows: Tensor) -> Tensor:
    """The inputs as vectors, [R, D], hashed where they are long."""
    parts = []
    for indices in rows.split(_ROWS):
        flat = instances.batch(indices).inputs.detach().cpu().float().flatten(1)
        if flat.shape[1] > _DIMENSIONS:
            flat = _hashed(flat)
        parts.append(flat)
    return torch.cat(parts)


def _hashed(vectors: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    length = vectors.shape[1]
    place = torch.randint(_DIMENSIONS, (length,), generator=generator)
    sign = torch.randint(2, (length,), generator=generator) * 2.0 - 1
    return torch.zeros(len(vectors), _DIMENSIONS).index_add_(1, place, vectors * sign)


def _nearest(points: Tensor, others: Tensor, *, itself: bool) -> Tensor:
    """The distance from each point to the nearest of the others, [P]."""
    found = []
    for number, chunk in enumerate(points.split(_ROWS)):
        distances = torch.cdist(chunk, others, compute_mode="donot_use_mm_for_euclid_dist")
        if itself:
            own = torch.arange(len(chunk))
            distances[own, number * _ROWS + own] = math.inf
        found.append(distances.min(1).values)
    return torch.cat(found)
