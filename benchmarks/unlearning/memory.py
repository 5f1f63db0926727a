"""The most memory that a piece of work needed."""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass
class Peak:
    """Filled in as the block ends."""

    device: torch.device
    bytes: int | None = None
    """Beyond what was held before it; None where the system does not tell."""

    def restart(self) -> None:
        """Leave out what was needed until now and is not held any more."""
        _reset(self.device)


@contextlib.contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measures the block: on CUDA the tensors' memory, else the process's resident memory (Linux).

    What the C library holds in reserve is given back first, so that the block cannot live on it.
    """
    peak = Peak(device)
    before = _reset(device)
    yield peak
    if before is not None:
        after = (
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")
        )
        peak.bytes = max(0, after - before)


def _reset(device: torch.device) -> int | None:
    """Start a new high-water mark; the bytes held now, or None where that is not allowed."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")
        return _resident("VmRSS")
    except OSError:
        return None


def _resident(field: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")
