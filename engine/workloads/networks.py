"""Small multi-task networks: a perceptron for vectors, a residual net and a U-Net for images.

GroupNorm throughout: it keeps no running statistics, so nothing of the training data stays behind
outside the weights, and a batch's make-up cannot reach an output.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from engine.workloads.heads import VectorHeads


class MultiTaskMLP(nn.Module):
    """Vectors [B, F] through shared hidden layers to {task: [B, *shape]}."""

    def __init__(
        self, features: int, hidden: Sequence[int], heads: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Hidden layers of these widths, each with a ReLU; `heads` as for `VectorHeads`."""
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.backbone = nn.Sequential(*layers)
        self.heads = VectorHeads(features, heads)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        outputs: dict[str, Tensor] = self.heads(self.backbone(inputs))
        return outputs
