"""Two networks on the same evidence, with what else an audit may have trained to compare them."""

from dataclasses import dataclass, field

from engine.audit.measure import Evidence, Measured
from engine.audit.metric_intervals import MetricIntervals
from engine.audit.relearn import Probe
from engine.audit.shadow import Shadows
from engine.spec import Interval


@dataclass(frozen=True)
class Comparison:
    """A version and its parent."""

    evidence: Evidence
    before: Measured
    after: Measured
    confidence: float
    """Of the intervals of one cell."""
    identical: bool
    """Whether the weights are the same, byte for byte."""
    probe: Probe | None = None
    """How the version relearns; None where it was not probed."""
    shadows: Shadows | None = None
    """Networks that never saw the forgotten cells; None where policy pays for none."""
    intervals: MetricIntervals | None = None
    """Of the version's metrics; None where nobody asked."""
    held_out_kept: dict[int, Interval | None] = field(default_factory=dict, init=False)
    """The share of each task's held-out quality that is kept, once a cell has asked for it: the
    same for every request."""
