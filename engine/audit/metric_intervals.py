"""How far the metrics of a report may be off by the luck of the few instances they are of."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine import evaluation
from engine.audit.jackknife import interval, without_a_group
from engine.audit.measure import Evidence, Scores
from engine.audit.strangers import clusters
from engine.spec import Interval
from engine.workload import InstanceSet

_GROUPS = 10
"""Of the jackknife: each costs the metrics once more, but no pass of the network."""

Intervals = list[Interval | None]
"""One a task; None where the metric is not defined on some part of the instances."""


@dataclass(frozen=True)
class MetricIntervals:
    """Of a version's metrics on what is a sample; the retain set is all there is."""

    forget: list[Intervals]
    """One a request."""
    validation: Intervals


def metric_intervals(
    evidence: Evidence, model: nn.Module, forget: list[Scores], validation: Scores
) -> MetricIntervals:
    """Around the metrics measured already; at the thresholds' confidence, each for itself."""
    return MetricIntervals(
        [
            _intervals(evidence, model, evidence.train, evidence.asked(request), scores)
            for request, scores in zip(evidence.requests, forget, strict=True)
        ],
        _intervals(evidence, model, evidence.judging, evidence.judging.supervision, validation),
    )


def _intervals(
    evidence: Evidence, model: nn.Module, instances: InstanceSet, cells: Tensor, scores: Scores
) -> Intervals:
    rows = cells.any(1).nonzero().squeeze(1)
    cell_sets = []
    for choice in without_a_group(clusters(instances, rows), _GROUPS):
        chosen = torch.zeros_like(cells)
        chosen[rows[choice]] = cells[rows[choice]]
        cell_sets.append(chosen)
    if not cell_sets:
        return [None] * len(scores)
    parts = evaluation.metrics(evidence.workload, model, instances, cell_sets, evidence.device)
    return [
        interval(score, [part[column] for part in parts], evidence.thresholds.confidence)
        for column, score in enumerate(scores)
    ]
