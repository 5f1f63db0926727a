"""A case: what is to be forgotten of which original, in one request or in several in a row."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.forget_sets import ForgetSet
from benchmarks.unlearning.original import memorisation, original
from benchmarks.unlearning.rows import Key, Row, Scope, key_of
from engine.problem import Problem
from engine.workload import Reporter


@dataclass(frozen=True)
class Case:
    """The same for all methods."""

    bench: Bench
    scope: Scope
    forget_set: ForgetSet
    seed: int
    steps: list[Tensor]
    """The cells of each request, bool [N, T] each, disjoint."""
    original: nn.Module

    @property
    def is_sequence(self) -> bool:
        """Whether the requests come in a row."""
        return self.forget_set.kind == "sequence"

    def forgotten(self, position: int) -> Tensor:
        """All cells that are forgotten once the request at `position` is done, bool [N, T]."""
        return torch.stack(self.steps[: position + 1]).any(0)

    def ratio(self, position: int) -> float:
        """The share of training instances with such a cell."""
        return float(self.forgotten(position).any(1).float().mean())

    def row(self, position: int, method: str) -> Row:
        """A row that still lacks its measurements."""
        bench = self.bench
        return Row(
            workload=bench.choice.label,
            scope=self.scope,
            forget_set=self.forget_set.name,
            ratio=self.ratio(position),
            seed=self.seed,
            method=method,
            stop="own",
            options=bench.choice.shown,
            request=position + 1 if self.is_sequence else None,
            device=bench.device.type,
        )

    def problem(
        self,
        position: int,
        model: nn.Module,
        settings: dict[str, object],
        progress: Reporter | None = None,
    ) -> Problem:
        """The request at `position` for a method that changes `model`."""
        bench = self.bench
        forgotten = self.forgotten(position)
        return Problem(
            workload=bench.workload,
            model=model,
            train=bench.train,
            retain=bench.train.supervision & ~forgotten,
            forget=self.steps[position],
            earlier=forgotten & ~self.steps[position],
            calibration=bench.calibration,
            settings=settings,  # type: ignore[arg-type]
            generator=torch.Generator().manual_seed(self.seed + 1000 * position),
            seed=self.seed,
            device=bench.device,
            progress=progress or bench.pulse,
        )


def case_key(bench: Bench, scope: Scope, forget_set: ForgetSet, seed: int, method: str) -> Key:
    """The key of a method's rows on a case that need not be drawn for it."""
    choice = bench.choice
    return key_of(choice.label, choice.shown, scope, forget_set.name, seed, method)


def draw(bench: Bench, scope: Scope, forget_set: ForgetSet, seed: int) -> Case:
    """Train or load the original of `seed` and draw the forget set by the same seed."""
    steps = forget_set.draw(
        bench.train, bench.targets(scope), seed, partial(memorisation, bench, seed)
    )
    return Case(bench, scope, forget_set, seed, steps, original(bench, seed))
