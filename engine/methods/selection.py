"""How good a candidate is, by the calibrating half of held-out data and a retain probe alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import evaluation
from engine.audit.damage import kept_share
from engine.audit.halves import cluster_of
from engine.audit.membership import auc
from engine.audit.reference import subject_effect
from engine.audit.uis import TaskScores, uis
from engine.problem import Problem
from engine.workload import InstanceSet

_PROBE = 256
"""Retain instances on which damage is watched."""
_AUC_BAND = 0.04
_LOSS_ALLOWED = 0.01
"""Share of a task's quality that the retain probe may lose; an audit allows more."""
_HELD_OUT_KEPT = 0.97
"""Share of the held-out quality to be kept; the calibrating half cannot measure it more finely."""
_LEAST_KEPT = 0.97
"""Of its quality the retain probe must have so much for a candidate to be harmless: an audit allows
a little less, of all retain data."""
_INTACT = 0.93
"""Below this share of the retain probe's quality a step was too long."""


@dataclass(frozen=True)
class Look:
    """What a look at a candidate showed."""

    score: float
    """UIS x 100, plus what AUC, retain probe and held-out metrics miss by, in per cent; lower is
    better."""
    met: bool
    """Whether nothing more is to be gained that the calibrating half could tell."""
    probe_kept: float
    """The worst task's share of the parent's quality on the retain probe."""
    probe_losses: Tensor
    """[T]: the mean losses on the retain probe; NaN of a task that it lacks."""
    intact: bool
    """Whether enough is kept to go on from here."""
    held_out_losses: Tensor
    """[M, T], of the calibrating half."""
    forgotten_losses: Tensor
    """[N, T], NaN outside the cells forgotten now or earlier."""


@dataclass(frozen=True)
class Candidate:
    """Weights that a look was taken at, and what it said of them."""

    score: float
    met: bool
    harmless: bool
    """Whether the retain probe kept so much that an audit would not fail them for the damage."""
    intact: bool
    """Whether it kept enough to go on from there."""
    weights: Tensor
    """[D]."""

    @classmethod
    def seen(cls, look: Look, weights: Tensor) -> "Candidate":
        """The weights [D] at which the look was taken."""
        return cls(look.score, look.met, look.probe_kept >= _LEAST_KEPT, look.intact, weights)

    def beats(self, other: "Candidate") -> bool:
        """Whether it is to be kept instead: what harms least first, then the lower score."""
        mine, others = (
            (not candidate.harmless, not candidate.intact, candidate.score)
            for candidate in (self, other)
        )
        return mine < others


class Selector:
    """Looks at candidates and compares them with the parent, which it is built from."""

    def __init__(self, problem: Problem) -> None:
        """Measure the parent; `problem.model` must still have its weights."""
        self._problem = problem
        rows = problem.retain.any(1).nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=problem.generator)[:_PROBE]
        probe = torch.zeros_like(problem.retain)
        probe[rows[order]] = problem.retain[rows[order]]
        self._cells = [problem.forget, problem.retain & problem.forget.any(1, keepdim=True), probe]
        self._forgotten = problem.forget | problem.earlier
        self.held_out_losses, _, self.probe_losses, self._parent = self._measure()
        self._people = [
            (cells, _people(problem.train, cells)) for cells in (problem.forget, problem.earlier)
        ]
        known = problem.calibration.supervision
        self._strangers = _people(problem.calibration, known)
        subjects = problem.calibration.subjects
        self._luck = [
            subject_effect(losses[rows], [subjects[row] for row in rows.nonzero().squeeze(1)])
            for losses, rows in zip(self.held_out_losses.unbind(1), known.unbind(1), strict=True)
        ]

    def look(self) -> Look:
        """Measure the problem's model as it is now."""
        problem = self._problem
        held_out, losses, probe_losses, (forget, own, probe, validation) = self._measure()
        forget_0, own_0, probe_0, validation_0 = self._parent
        scores, excess, worst, worst_probe = [], 0.0, 1.0, 1.0
        for column, task in enumerate(problem.workload.tasks.values()):
            target = bool(problem.forget[:, column].any())
            before, after = (forget_0, forget) if target else (own_0, own)
            v_0, v = validation_0[column], validation[column]
            b, a = before[column], after[column]
            if v_0 is not None and v is not None:
                if b is not None and a is not None:
                    scores.append(TaskScores(target, b, a, v_0, v))
                worst = min(worst, kept_share(v_0, v, task.higher_is_better, v_0))
            p_0, p = probe_0[column], probe[column]
            if p_0 is not None and p is not None:
                unit = v_0 if v_0 is not None else p_0
                worst_probe = min(worst_probe, kept_share(p_0, p, task.higher_is_better, unit))
            known = problem.calibration.supervision[:, column]
            for cells, people in self._people:
                forgotten, strangers = losses[cells[:, column], column], held_out[known, column]
                if len(forgotten) and len(strangers):
                    error = _error(
                        (len(forgotten), people[column]),
                        (len(strangers), self._strangers[column]),
                        self._luck[column],
                    )
                    off = abs(auc(forgotten, strangers) - 0.5)
                    excess = max(excess, off - max(_AUC_BAND, error))
        missed = max(0.0, 1 - _LOSS_ALLOWED - worst_probe) + max(0.0, _HELD_OUT_KEPT - worst)
        score = uis(scores) + 100 * (excess + missed)
        return Look(
            score=score,
            met=excess == 0 and worst_probe >= 1 - _LOSS_ALLOWED,
            probe_kept=worst_probe,
            probe_losses=probe_losses,
            intact=worst_probe >= _INTACT,
            held_out_losses=held_out,
            forgotten_losses=losses,
        )

    def _measure(self) -> tuple[Tensor, Tensor, Tensor, list[list[float | None]]]:
        """Losses of the held-out and of the forgotten, the probe's means, and all sets' metrics."""
        problem = self._problem
        workload, model, device = problem.workload, problem.model, problem.device
        probe = self._cells[-1]
        losses, on_train = evaluation.losses_and_metrics(
            workload, model, problem.train, self._forgotten | probe, self._cells, device
        )
        everything = problem.calibration.supervision
        held_out, on_held_out = evaluation.losses_and_metrics(
            workload, model, problem.calibration, everything, [everything], device
        )
        forgotten = torch.where(self._forgotten, losses, math.nan)
        probe_losses = torch.where(probe, losses, math.nan).nanmean(0)
        return held_out, forgotten, probe_losses, [*on_train, *on_held_out]


def _people(instances: InstanceSet, cells: Tensor) -> list[int]:
    """How many subjects each task's cells belong to, an instance without one being its own."""
    ids, subjects = instances.ids, instances.subjects
    return [
        len({cluster_of(ids[row], subjects[row]) for row in rows.nonzero().squeeze(1).tolist()})
        for rows in cells.unbind(1)
    ]


def _error(forgotten: tuple[int, int], strangers: tuple[int, int], luck: float) -> float:
    """The standard error of the AUC of two samples of one distribution, (records, people) each.

    `luck` is the share of the losses' variance that the records of one person have in common: if
    all, people count, if nothing, records do (the design effect, Kish 1965).
    """
    variance = sum(
        (1 + (records / people - 1) * luck) / records for records, people in (forgotten, strangers)
    )
    return math.sqrt(variance / 12)
