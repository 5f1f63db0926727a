"""The networks that are trained from scratch, once, and kept: originals and halves' networks."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.rows import Clock
from engine.checkpoint import load_weights, write_weights
from engine.evaluation import losses

_WEIGHTS = "weights.safetensors"
_COST = "cost.json"


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float
    gradients: int
    peak_bytes: int | None
    clock: Clock = "wall"


class Watch:
    """Measures from its making on: the processor's time if one thread on the CPU does the work."""

    def __init__(self, device: torch.device) -> None:
        """Starts now."""
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self.clock: Clock = "processor" if alone else "wall"
        self._device = device
        self._start = self._now()

    def seconds(self) -> float:
        """Since the start, once the device has done what it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._now() - self._start

    def _now(self) -> float:
        return time.process_time() if self.clock == "processor" else time.perf_counter()


def original(bench: Bench, seed: int) -> nn.Module:
    """The network that `seed` trains on the whole training split, in eval mode."""
    return _trained(bench, bench.cache / f"seed-{seed}" / "original", bench.train.supervision, seed)


def load_kept(bench: Bench, folder: Path) -> tuple[nn.Module, Cost] | None:
    """A network kept in `folder` with its cost; None where there is none."""
    if not (folder / _COST).exists():
        return None
    model = bench.workload.build_model()
    load_weights(model, folder / _WEIGHTS)
    cost = Cost(**json.loads((folder / _COST).read_text(encoding="utf-8")))
    return model.to(bench.device).eval(), cost


def keep(folder: Path, model: nn.Module, cost: Cost) -> None:
    """Write a network and its cost; the cost last, so that what is there is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(model.state_dict(), folder / _WEIGHTS)
    (folder / _COST).write_text(json.dumps(asdict(cost)) + "\n", encoding="utf-8")


def memorisation(bench: Bench, seed: int) -> Tensor:
    """How much of each training instance is learnt by heart, [N].

    Two networks are trained, each on a random half of the training split; an instance's score is
    its loss under the one that did not see it less its loss under the original, summed over tasks
    in units of the task's mean unseen loss. One pair of networks stands in for the many of
    "What Neural Networks Memorize and Why" (Feldman and Zhang, NeurIPS 2020, arXiv 2008.03703).
    """
    supervision, workload, device = bench.train.supervision, bench.workload, bench.device
    seen = losses(workload, original(bench, seed), bench.train, supervision, device)
    first = torch.zeros(len(bench.train), dtype=torch.bool)
    shuffled = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))
    first[shuffled[: len(first) // 2]] = True
    unseen = torch.full_like(seen, torch.nan)
    for name, half in (("first", first), ("second", ~first)):
        folder = bench.cache / f"seed-{seed}" / f"{name}-half"
        model = _trained(bench, folder, supervision & half[:, None], seed)
        held_out = supervision & ~half[:, None]
        found = losses(workload, model, bench.train, held_out, device)
        unseen = torch.where(held_out, found, unseen)
    scale = unseen.nanmean(0).abs().clamp(min=1e-12)
    return ((unseen - seen) / scale).nan_to_num(0).sum(1)


def _trained(bench: Bench, folder: Path, supervision: Tensor, seed: int) -> nn.Module:
    kept = load_kept(bench, folder)
    if kept is not None:
        return kept[0]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = bench.workload.build_model().to(bench.device)
        watch = Watch(bench.device)
        gradients = bench.workload.train(model, bench.train, supervision, seed, bench.pulse)
    keep(folder, model, Cost(watch.seconds(), gradients, None, watch.clock))
    return model.eval()
