"""What a job will cost, said before it runs: gradient evaluations, and time as training counts it.

Plain arithmetic without torch, so that the service can show it in a preview. It is a first guess
from the sizes of the sets and the method's schedule. The service corrects it by what earlier jobs
took (`app.services.estimation`); the engine notes in the audit where it says that retraining would
have been cheaper.

The unit of time is one gradient evaluation of the owner's own training, so that what training took
turns it into seconds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from engine.methods.settings import Settings
from engine.spec import JobLoad

STEP_WEIGHT: Final = 2.0
"""Time of a gradient evaluation in an unlearning step, one of training's being 1: projection, small
batches and the looks at held-out data. The benchmark has 1.4 for convolutions up to 3 for tiny
perceptrons."""
FORWARD_WEIGHT: Final = 1 / 3
"""Time of a forward pass alone: the backward pass takes about twice as long."""
AUDIT_PASSES: Final = 2.0
"""Forward passes over the training data that an audit takes: at the parent, at the new version."""
REWIND_SHARE: Final = 0.5
"""Of a retraining that `rewind` replays before the held-out data stop gaining."""
PRIOR_RANGE: Final = (0.5, 3.0)
"""The first guess may be off by these factors: a round may end at half of its steps, and a method
that does not reach its bar takes more than one."""
FEW_JOBS: Final = 5
"""From so many earlier jobs on, the spread of what they took says how far off a guess may be."""


@dataclass(frozen=True)
class Schedule:
    """How a method spends gradient evaluations, by the names of its settings."""

    steps_per_instance: float = 3.0
    min_steps: float = 60
    """A round takes the larger of these and `steps_per_instance` times the forget instances."""
    forget_batch: float = 20
    retain_batch: float = 64
    """0, like the other batch: a step takes none, whatever the settings say."""
    preparation: float = 0
    """Instances of each of the two sets, at most, whose gradients come before the first step."""
    mask_share: float = 1
    """1: there is no mask, and so no preparation."""


_COMMON: Final = Schedule()
_DEFAULT: Final = Settings()
_SCHEDULES: Final[Mapping[str, Schedule]] = {
    "interference_aware": Schedule(
        steps_per_instance=_DEFAULT.steps_per_instance,
        min_steps=_DEFAULT.min_steps,
        forget_batch=_DEFAULT.forget_batch,
        retain_batch=_DEFAULT.retain_batch,
        preparation=24 * 16,
        mask_share=_DEFAULT.mask_share,
    ),
    "finetune": Schedule(forget_batch=0),
    "l1_sparse": Schedule(forget_batch=0),
    "gradient_ascent": Schedule(retain_batch=0),
    "ssd": Schedule(steps_per_instance=0, min_steps=0, preparation=64 * 16, mask_share=0),
}
"""Of methods that differ from the common one, which also stands in for methods of packages."""


def schedule(method: str, settings: Mapping[str, JsonValue]) -> Schedule:
    """The method's, as a caller's settings change it; what is no number is left to the method."""
    found = _SCHEDULES.get(method, _COMMON)
    names = ("steps_per_instance", "min_steps", "forget_batch", "retain_batch", "mask_share")
    changes = {
        name: value
        for name in names
        if isinstance(value := settings.get(name), int | float) and getattr(found, name)
    }
    return replace(found, **changes)


@dataclass(frozen=True)
class Effort:
    """What a job takes."""

    gradient_evaluations: float
    """Instances whose gradient is taken, each counted once a pass."""
    time: float
    """In gradient evaluations of the owner's training."""


@dataclass(frozen=True)
class Training:
    """What is known of the owner's training on all of the manifest."""

    epochs: int | None
    """How often its recipe passes the data."""
    seconds: float | None


def effort(
    method: str, load: JobLoad, settings: Mapping[str, JsonValue], epochs: int | None
) -> Effort | None:
    """What a job of `method` takes; None where that hangs on the recipe's epochs, not known."""
    if method == "retrain":
        return retraining(load, epochs)
    if method == "rewind":
        whole = retraining(load, epochs)
        return whole and _with_audit(load, REWIND_SHARE * whole.gradient_evaluations, 1.0, epochs)
    plan = schedule(method, settings)
    steps = max(plan.min_steps, plan.steps_per_instance * load.forget)
    a_step = (
        min(plan.forget_batch, load.forget)
        + min(plan.forget_batch, load.earlier)
        # Of the whole manifest: that few are retained must not make a larger request look cheaper.
        + min(plan.retain_batch, load.instances)
    )
    before = plan.preparation if plan.mask_share < 1 else 0
    prepared = min(before, load.forget) + min(before, load.instances)
    return _with_audit(load, steps * a_step + prepared, STEP_WEIGHT, epochs)


def retraining(load: JobLoad, epochs: int | None) -> Effort | None:
    """What training from scratch on the retained instances takes; None without the epochs."""
    if epochs is None:
        return None
    return _with_audit(load, float(epochs * load.retained), 1.0, epochs)


def _with_audit(load: JobLoad, evaluations: float, weight: float, epochs: int | None) -> Effort:
    """An audit's own trainings take time, and are no gradient evaluations of the method's."""
    audit = AUDIT_PASSES * FORWARD_WEIGHT * load.instances
    audit += load.audit_trainings * (epochs or 0) * load.retained
    return Effort(evaluations, weight * evaluations + audit)


def prior_seconds(planned: Effort | None, load: JobLoad, training: Training) -> float | None:
    """The first guess in seconds, at the pace of the owner's training; None where that is unknown.

    The instances of `load` are those that the training took.
    """
    if planned is None or training.seconds is None or training.epochs is None:
        return None
    return planned.time * training.seconds / (training.epochs * load.instances)


@dataclass(frozen=True)
class Correction:
    """By what to multiply a first guess, from what earlier jobs took of theirs."""

    value: float
    low: float
    high: float
    jobs: int
    """How many there were; with none, it is 1 and the range is `PRIOR_RANGE`."""


def correction(ratios: Sequence[float]) -> Correction:
    """The median of earlier jobs' ratios of what they took to their first guess.

    The range is from the 10th to the 90th percentile; with fewer than `FEW_JOBS`, the median times
    `PRIOR_RANGE` and whatever was seen outside of that.
    """
    low, high = PRIOR_RANGE
    if not ratios:
        return Correction(1.0, low, high, 0)
    middle = statistics.median(ratios)
    if len(ratios) < FEW_JOBS:
        ends = min(low * middle, *ratios), max(high * middle, *ratios)
    else:
        tenths = statistics.quantiles(ratios, n=10, method="inclusive")
        ends = tenths[0], tenths[-1]
    return Correction(middle, *ends, len(ratios))


def cheaper_to_retrain(
    method: str, load: JobLoad, settings: Mapping[str, JsonValue], epochs: int | None
) -> str | None:
    """The sentence that says that retraining would take less time, or None where it would not."""
    planned, whole = effort(method, load, settings, epochs), retraining(load, epochs)
    if method == "retrain" or planned is None or whole is None or planned.time <= whole.time:
        return None
    return (
        f"Before it ran, {method} was estimated at {planned.time / whole.time:.1f} times the cost"
        f" of training from scratch without the {load.forget} instances to forget: the method"
        " 'retrain' is likely to be cheaper."
    )
