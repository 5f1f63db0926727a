"""The metric of retained inputs: move a layer where the retain data hardly reach it.

A linear layer's update `dW` moves its output on an instance with input `x` by `dW x`; over the
retain data the mean squared movement is `tr(dW A dW')` with `A = E[x x']`. The direction that
descends a gradient `G` most for a given movement of the retained outputs is `G (A + damping)^-1`:
large along inputs that the retain data do not use, small along those that they all share. It is the
input factor of K-FAC (arXiv 1503.05671) taken over retain data alone, and a soft form of keeping
updates in the complement of the others' input subspace (gradient projection memory, arXiv
2103.09762), which is the idea of the task subspaces of arXiv 2605.19042.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine import evaluation
from engine.workload import InstanceSet

DAMPING = 0.1
"""As a share of the mean variance of a layer's inputs; the smaller, the harder the restriction."""
_WIDEST = 2048
"""Inputs of a layer up to which all their covariances are kept; of a convolution with more, those
of its channels, and of a linear layer with more, none."""
_INSTANCES = 1024
_BATCH = 64
_GRID = 8
"""Places a side, evenly spread, at which a convolution's inputs are sampled in each instance."""


@dataclass(frozen=True)
class _Layer:
    """Where a layer's weights lie in the flat vector, and the inverse of its inputs' covariance."""

    weight: slice
    bias: slice | None
    outputs: int
    inverse: Tensor
    """[I, I], of mean eigenvalue about 1; a bias is the weight of one more input, always 1."""

    def apply(self, direction: Tensor, result: Tensor) -> None:
        gradient = direction[self.weight].view(self.outputs, -1)
        if self.bias is not None:
            gradient = torch.cat([gradient, direction[self.bias, None]], 1)
        places = gradient.shape[1] // len(self.inverse)
        if places > 1:  # of a kernel, each on its own
            moved = torch.einsum(
                "oip,ij->ojp", gradient.view(self.outputs, -1, places), self.inverse
            ).reshape(self.outputs, -1)
        else:
            moved = gradient @ self.inverse
        if self.bias is not None:
            result[self.bias] = moved[:, -1]
            moved = moved[:, :-1]
        result[self.weight] = moved.flatten()


class RetainedInputs:
    """Turns directions [D] over a network's weights; those of other kinds of layers stay."""

    def __init__(
        self,
        model: nn.Module,
        weights: Sequence[nn.Parameter],
        train: InstanceSet,
        rows: Tensor,
        device: torch.device,
    ) -> None:
        """Measure the inputs of the linear and convolutional layers on at most 1024 of `rows`.

        `weights` are the trainable weights in the order of the flat vector; `rows` int64, in the
        order in which to take them.
        """
        places: dict[Tensor, slice] = {}
        start = 0
        for weight in weights:
            places[weight] = slice(start, start + weight.numel())
            start += weight.numel()
        covariances = _Covariances()
        with covariances.watching(model, places), torch.no_grad():
            for indices in rows[:_INSTANCES].split(_BATCH):
                evaluation.forward(model, train, indices, device)
        inverses = _Inverses()
        self._layers = [
            _Layer(
                places[module.weight],
                None if module.bias is None or not _biased(module, places) else places[module.bias],
                module.weight.shape[0],
                inverses.of(covariance),
            )
            for module, covariance in covariances.means().items()
        ]

    def __call__(self, direction: Tensor) -> Tensor:
        """The direction in the metric, [D]."""
        result = direction.clone()
        for layer in self._layers:
            layer.apply(direction, result)
        return result


class _Covariances:
    """Uncentred covariances of the inputs of layers, gathered as a network runs."""

    def __init__(self) -> None:
        self._sums: dict[nn.Linear | nn.Conv2d, Tensor] = {}
        self._counts: dict[nn.Linear | nn.Conv2d, int] = {}

    @contextmanager
    def watching(self, model: nn.Module, places: Mapping[Tensor, slice]) -> Iterator[None]:
        """Gather while the block runs, from the layers whose weights have a place."""

        def gather(module: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> None:
            assert isinstance(module, nn.Linear | nn.Conv2d)
            seen = _seen(module, arguments[0].detach().float(), _biased(module, places))
            self._sums[module] = self._sums.get(module, 0.0) + seen.T @ seen
            self._counts[module] = self._counts.get(module, 0) + len(seen)

        handles = [
            module.register_forward_hook(gather)
            for module in model.modules()
            if _is_watched(module, places)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def means(self) -> dict[nn.Linear | nn.Conv2d, Tensor]:
        return {module: total / self._counts[module] for module, total in self._sums.items()}


def _is_watched(module: nn.Module, places: Mapping[Tensor, slice]) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.weight in places and module.groups == 1
    return isinstance(module, nn.Linear) and module.weight in places and not _is_wide(module)


def _is_wide(module: nn.Linear | nn.Conv2d) -> bool:
    return module.weight[0].numel() > _WIDEST


def _biased(module: nn.Linear | nn.Conv2d, places: Mapping[Tensor, slice]) -> bool:
    """Whether the bias is one more input; where only channels are watched it stays as it is."""
    return module.bias is not None and module.bias in places and not _is_wide(module)


def _seen(module: nn.Linear | nn.Conv2d, inputs: Tensor, biased: bool) -> Tensor:
    """The inputs that the layer's weights were multiplied with, a sample of them, [S, I]."""
    if isinstance(module, nn.Linear):
        seen = inputs.reshape(-1, inputs.shape[-1])
    elif _is_wide(module):
        seen = _at_grid(inputs).flatten(2).transpose(1, 2).reshape(-1, inputs.shape[1])
    else:
        seen = _patches(module, inputs)
    return torch.cat([seen, seen.new_ones(len(seen), 1)], 1) if biased else seen


def _at_grid(maps: Tensor) -> Tensor:
    """At most 8 x 8 evenly spread places of maps [B, C, H, W, ...]."""
    rows, columns = (_spread(size, maps.device) for size in maps.shape[2:4])
    return maps[:, :, rows][:, :, :, columns]


def _spread(size: int, device: torch.device) -> Tensor:
    return torch.linspace(0, size - 1, min(size, _GRID), device=device).round().long()


def _patches(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The patches under the kernel at a sample of its places, [S, C kh kw]."""
    if isinstance(module.padding, tuple):
        vertical, horizontal = module.padding
        inputs = functional.pad(inputs, (horizontal, horizontal, vertical, vertical))
    kernels = inputs
    for dimension, (size, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True), start=2
    ):
        # A view: only the chosen places are ever copied.
        kernels = kernels.unfold(dimension, dilation * (size - 1) + 1, stride)[..., ::dilation]
    chosen = _at_grid(kernels)  # [B, C, P, Q, kh, kw]
    return chosen.permute(0, 2, 3, 1, 4, 5).reshape(-1, module.weight[0].numel())


class _Inverses:
    """One inverse for all layers with the same inputs, as the tasks' heads often have."""

    def __init__(self) -> None:
        self._known: list[tuple[Tensor, Tensor]] = []

    def of(self, covariance: Tensor) -> Tensor:
        """`(A / a + damping)^-1` with a the mean of the variances, [I, I]."""
        for seen, inverse in self._known:
            if torch.equal(seen, covariance):
                return inverse
        inverse = _inverse(covariance)
        self._known.append((covariance, inverse))
        return inverse


def _inverse(covariance: Tensor) -> Tensor:
    mean = covariance.diagonal().mean().clamp(min=1e-30)
    damped = covariance / mean
    damped.diagonal().add_(DAMPING)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))
