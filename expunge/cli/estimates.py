"""What a job would take, as one sentence."""

from expunge.answers import Estimate

_WHOSE = {"model": "of this model", "workload": "of this workload", "any": "of other workloads"}


def told(estimate: Estimate) -> str:
    """Time with its range, beside retraining's, and what the estimate rests on."""
    parts = [estimate.method]
    if estimate.seconds is not None:
        parts.append(f"about {_time(estimate.seconds)}")
        if estimate.seconds_low is not None and estimate.seconds_high is not None:
            parts[-1] += f" ({_time(estimate.seconds_low)} to {_time(estimate.seconds_high)})"
    if estimate.gradient_evaluations is not None:
        parts.append(f"{estimate.gradient_evaluations} gradient evaluations")
    if estimate.share_of_retraining is not None:
        parts.append(f"{estimate.share_of_retraining:.1%} of retraining")
        if estimate.retraining_seconds is not None:
            parts[-1] += f"'s {_time(estimate.retraining_seconds)}"
    return ", ".join(parts) + f"; {_basis(estimate)}"


def _basis(estimate: Estimate) -> str:
    if not estimate.past_jobs:
        return "a first guess, no such job has finished yet"
    jobs = "1 earlier job" if estimate.past_jobs == 1 else f"{estimate.past_jobs} earlier jobs"
    return f"from {jobs} {_WHOSE.get(estimate.past_jobs_of or '', '')}".rstrip()


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
