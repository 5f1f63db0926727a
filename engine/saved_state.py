"""What a job has done so far, on disk, so that another attempt at it goes on from there."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine.whole_file import write_whole

log = logging.getLogger(__name__)

_KEY = "expunge"


@dataclass(frozen=True)
class Snapshot:
    """A method's whole state between two steps."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, JsonValue]


@dataclass
class SavedState:
    """The file of one job; without a path nothing is kept."""

    path: Path | None = None
    identity: str = ""
    """Of all that determines the job's result; the file of another job is not gone on from."""
    every: int = 50
    """Steps between two writings."""
    resumed_at: int | None = field(default=None, init=False)
    """The step that a snapshot was found of."""
    _last: int = field(default=0, init=False)

    def load(self) -> Snapshot | None:
        """The last snapshot; None where there is none, or none of this very job."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                if header.get("identity") != self.identity:
                    log.warning("%s is of another job: starting anew", self.path.name)
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("%s cannot be read, starting anew: %s", self.path.name, error)
            return None
        values = header["values"]
        self.resumed_at = self._last = values["steps"]
        return Snapshot(tensors, values)

    def is_due(self, steps: int) -> bool:
        """Whether after so many steps of the job it is time to write."""
        return self.path is not None and steps - self._last >= self.every

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot over the last one, whole or not at all; it has the value `steps`."""
        assert self.path is not None
        tensors = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in snapshot.tensors.items()
        }
        header = json.dumps({"identity": self.identity, "values": dict(snapshot.values)})
        write_whole([save(tensors, {_KEY: header})], self.path)
        self._last = int(str(snapshot.values["steps"]))
