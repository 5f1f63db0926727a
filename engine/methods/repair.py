"""How strongly to repair: more while retain data are harmed, not at all once they gain by it."""

from dataclasses import dataclass

from torch import Tensor

_HARMED = 0.98
"""Of its quality the retain probe may lose so much before repair gains weight."""
_UNHARMED = 0.99
"""Of its quality the retain probe must have so much for repair to fade."""
_RATE = 1.3
_RANGE = 16.0
_FADE = 0.1
"""Repair ends where all tasks' losses on the retain probe are by so much below the parent's: a
request to forget is none to go on training, and what is served is to stay what it was."""


@dataclass
class Repair:
    """The weight of the retain gradient, adapted at each look at the retain probe."""

    least: float
    """Where it starts, and the lowest while the retain data do not gain."""
    weight: float
    """Before it fades; up to 16 times the least."""
    fade: float = 1.0
    """The share of the weight that is left."""

    @property
    def now(self) -> float:
        """The next step's."""
        return self.weight * self.fade

    @property
    def growth(self) -> float:
        """How many times its least it weighs, before it fades."""
        return self.weight / self.least if self.least else 1.0

    def adapt(self, kept: float, losses: Tensor, parent: Tensor) -> bool:
        """Follow a look: the probe's share of quality `kept`, its losses [T] and the parent's.

        Returns whether the most repair was not enough: then forgetting itself has to give way.
        """
        harmed = kept < _HARMED
        spent = harmed and 0 < _RANGE * self.least <= self.weight
        factor = _RATE if harmed else 1 / _RATE
        self.weight = min(max(self.weight * factor, self.least), _RANGE * self.least)
        self.fade = 1.0 if kept < _UNHARMED else _left(losses, parent)
        return spent

    def redouble(self) -> None:
        """After a step that had to be taken back."""
        self.weight = min(2 * self.weight, _RANGE * self.least)


def _left(losses: Tensor, parent: Tensor) -> float:
    """1 where a task's loss is the parent's or more, 0 where all tasks are `_FADE` below theirs."""
    gains = 1 - losses / parent.clamp(min=1e-12)
    gains = gains[gains.isfinite()]
    least = float(gains.min()) if len(gains) else 0.0
    return min(max(1 - least / _FADE, 0.0), 1.0)
