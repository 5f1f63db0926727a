"""Mini-batches without replacement, for as long as one asks."""

import torch
from torch import Tensor


class Sampler:
    """Draws from a fixed set of rows; each comes once before any comes again."""

    def __init__(self, rows: Tensor, size: int, generator: torch.Generator) -> None:
        """Draw `size` of `rows` (int64 [N]) at a time, all of them if they are fewer."""
        self.rows = rows
        self.size = min(size, len(rows))
        self.generator = generator
        self.waiting = rows[:0]

    def draw(self) -> Tensor:
        """The next `size` rows, int64."""
        if len(self.waiting) < self.size:
            order = torch.randperm(len(self.rows), generator=self.generator)
            fresh = self.rows[order]
            again = torch.isin(fresh, self.waiting)
            # Those still waiting come first; their next turn comes last, never in the same batch.
            self.waiting = torch.cat([self.waiting, fresh[~again], fresh[again]])
        drawn, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return drawn
