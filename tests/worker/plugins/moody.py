"""A workload that misbehaves on demand, found by the engine through a real entry point."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from torch import nn


class MoodyWorkload:
    """Good for a description only."""

    name = "moody"
    tasks = {  # noqa: RUF012
        "only": SimpleNamespace(
            name="only", kind="regression", metric_name="error", higher_is_better=False
        )
    }

    def __init__(self, mood: str = "well", seconds: float = 0.0, trace: str = "") -> None:
        self.mood = mood
        self.seconds = seconds
        self.trace = trace

    def build_model(self) -> nn.Module:
        if self.trace:
            with Path(self.trace).open("a") as trace:
                trace.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        if self.mood == "raise":
            raise RuntimeError("a bad day")
        if self.mood == "unmounted":
            raise PermissionError("the share is not mounted")
        if self.mood == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == "leak":
            self.hoard = bytearray(64 << 30)
        if self.mood == "ignore-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        if self.mood == "chatter":
            print("not a line of the engine's", "x" * 200_000, flush=True)
            print("\0 \N{SNOWMAN}", file=sys.stderr, flush=True)
        return nn.Linear(2, 1)
