"""Retained instances that are nearly a forgotten one: what they teach will not be forgotten."""

import math

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


def near_duplicates(evidence: Evidence, request: ForgottenCells) -> list[int]:
    """Rows of the request's instances with a near-duplicate that still teaches a same task.

    By the distance of the inputs, each number standardised over the retain set. Exact copies, by
    digest, are left out. At most 4096 retained and 1024 forgotten instances are compared, chosen at
    random but always the same.
    """
    targets = request.cells.any(0)
    generator = torch.Generator().manual_seed(0)
    retained = _sample(evidence.retain[:, targets].any(1), _MOST_RETAINED, generator)
    forgotten = _sample(request.cells.any(1), _MOST_FORGOTTEN, generator)
    if len(retained) < _FEWEST or not len(forgotten):
        return []
    theirs, ours = (_inputs(evidence.train, rows) for rows in (retained, forgotten))
    mean, deviation = theirs.mean(0), theirs.std(0)
    # A number that hardly varies would weigh as much as one that tells instances apart.
    deviation = deviation.clamp(min=max(1e-3 * float(deviation.max()), 1e-12))
    theirs, ours = (theirs - mean) / deviation, (ours - mean) / deviation
    usual = float(_nearest(theirs, theirs, itself=True).median())
    near = _nearest(ours, theirs, itself=False) < NEAR * usual
    digests, teaching = evidence.train.digests, evidence.retain[:, targets].any(1)
    copies = {digests[row] for row in teaching.nonzero().squeeze(1).tolist()}
    return [row for row in forgotten[near].tolist() if digests[row] not in copies]


def _sample(chosen: Tensor, most: int, generator: torch.Generator) -> Tensor:
    rows = chosen.nonzero().squeeze(1)
    if len(rows) <= most:
        return rows
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
