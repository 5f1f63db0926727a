"""The audit put to the test: three networks with a known answer, and draws with nothing to find."""

import copy

import torch
from torch import nn

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.cases import Case, draw
from benchmarks.unlearning.checks import Controls, FalseFailures
from benchmarks.unlearning.forget_sets import parse
from benchmarks.unlearning.original import original
from benchmarks.unlearning.rows import Scope
from benchmarks.unlearning.runs import reference
from engine import evaluation
from engine.audit import Evidence, ForgottenCells, audit
from engine.audit.halves import Subset, cluster_of
from engine.gradients import flat_gradient, trainable
from engine.methods.adam import Adam
from engine.spec import Thresholds, Verdict

_FORGET_SET = "random:0.1"
"""Of more, retraining itself loses what an audit calls damage, and rightly fails."""
_RUIN_STEPS = 60
_RUIN_RATE = 5e-3


def controls(bench: Bench, scope: Scope, seed: int) -> Controls:
    """The audit's verdicts on a copy, a ruined and a retrained network, at 10 % forgotten."""
    case = draw(bench, scope, parse(_FORGET_SET), seed)
    return Controls(
        workload=bench.choice.label,
        options=bench.choice.shown,
        scope=scope,
        seed=seed,
        copied=_verdict(case, copy.deepcopy(case.original)),
        ruined=_verdict(case, _ruined(case)),
        retrained=_verdict(case, reference(case)[0]),
    )


def false_failures(bench: Bench, draws: int) -> FalseFailures:
    """How often the audit fails a network that has seen none of the data.

    In each draw the test split, which the network never saw, is cut at random into a forget set, a
    retain set and the held-out data to judge by; a subject is never in two. The network audited
    differs from its parent in the last bit of one weight, so as not to be a copy.
    """
    parent = original(bench, 0)
    after = copy.deepcopy(parent)
    with torch.no_grad():
        weight = trainable(after)[0].view(-1)
        weight[0] = torch.nextafter(weight[0], weight[0] + 1)
    clusters: dict[str, list[int]] = {}
    for row, (name, subject) in enumerate(zip(bench.test.ids, bench.test.subjects, strict=True)):
        clusters.setdefault(cluster_of(name, subject), []).append(row)
    verdicts = [
        _of_strangers(bench, parent, after, list(clusters.values()), s) for s in range(draws)
    ]
    return FalseFailures(
        workload=bench.choice.label,
        options=bench.choice.shown,
        draws=draws,
        failed=verdicts.count("fail"),
        inconclusive=verdicts.count("inconclusive"),
    )


def _of_strangers(
    bench: Bench, parent: nn.Module, after: nn.Module, clusters: list[list[int]], seed: int
) -> Verdict:
    bench.pulse(seed, seed + 1)
    order = torch.randperm(len(clusters), generator=torch.Generator().manual_seed(seed)).tolist()
    half = len(order) // 2
    ours, theirs = order[:half], order[half:]
    train = _subset(bench, [clusters[position] for position in ours])
    judging = _subset(bench, [clusters[position] for position in theirs])
    # Half of the training side is asked to be forgotten.
    gone = {row for position in ours[: half // 2] for row in clusters[position]}
    members = torch.tensor([row in gone for row in train.positions.tolist()])
    cells = train.supervision & members[:, None]
    request = ForgottenCells("strangers", cells, cells.any(1), frozenset(bench.workload.tasks))
    retain = train.supervision & ~cells
    evidence = Evidence(
        bench.workload, train, retain, judging, [request], Thresholds(), bench.device
    )
    return audit(evidence, parent, after, lambda *_: None).verdict


def _subset(bench: Bench, clusters: list[list[int]]) -> Subset:
    rows = sorted(row for cluster in clusters for row in cluster)
    return Subset(bench.test, torch.tensor(rows))


def _ruined(case: Case) -> nn.Module:
    """The original after ascending the loss of its forget cells without bound."""
    bench, model = case.bench, copy.deepcopy(case.original)
    cells = case.steps[0]
    rows = cells.any(1).nonzero().squeeze(1)
    weights = trainable(model)
    optimizer = Adam(weights)
    for step in range(_RUIN_STEPS):
        indices = rows[torch.arange(step * 20, step * 20 + 20) % len(rows)]
        outputs, batch = evaluation.forward(model, bench.train, indices, bench.device)
        losses = evaluation.cell_losses(bench.workload, outputs, batch, cells[indices])
        loss = evaluation.task_mean(losses, cells[indices].to(bench.device))
        optimizer.step(-flat_gradient(loss, weights), _RUIN_RATE)
    return model


def _verdict(case: Case, model: nn.Module) -> Verdict:
    bench, cells = case.bench, case.steps[0]
    tasks = zip(bench.workload.tasks, bench.targets(case.scope), strict=True)
    named = frozenset(name for name, target in tasks if target)
    evidence = Evidence(
        bench.workload,
        bench.train,
        bench.train.supervision & ~cells,
        bench.judging,
        [ForgottenCells("control", cells, cells.any(1), named)],
        Thresholds(),
        bench.device,
    )
    return audit(evidence, case.original, model, lambda *_: None).verdict
