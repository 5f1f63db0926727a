"""The engine's errors: one root, each message names the thing, the value and what to do."""


class EngineError(Exception):
    """Anything that ends a run with one clear sentence and leaves the parent untouched."""


class InvalidSpec(EngineError):
    """The specification asks for something that cannot be done."""


class WorkloadError(EngineError):
    """The workload is missing, raises, or returns something of the wrong shape."""


class WorkloadUnavailable(WorkloadError):
    """The workload could not have its files or its memory; another attempt may."""


class CheckpointError(EngineError):
    """Weights that do not fit the workload's network."""


class Diverged(EngineError):
    """A loss or a weight became NaN or infinite."""
