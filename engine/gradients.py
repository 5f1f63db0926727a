"""Gradients as flat vectors over a network's trainable weights, D of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The weights that may change, in the model's own order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def flat_gradient(loss: Tensor, weights: Sequence[nn.Parameter], *, keep: bool = False) -> Tensor:
    """The gradient of a scalar, [D]; zero for weights that it does not depend on.

    `keep` leaves the graph standing for another gradient through the same outputs.
    """
    if not loss.requires_grad:
        return flatten([torch.zeros_like(weight) for weight in weights])
    gradients = torch.autograd.grad(loss, weights, retain_graph=keep, materialize_grads=True)
    return flatten(gradients)


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """One vector [D] of all elements."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def pieces(vector: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a vector [D], the inverse of `flatten`: views in the weights' shapes."""
    parts = vector.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


@torch.no_grad()
def assign(weights: Sequence[Tensor], vector: Tensor) -> None:
    """Write a vector [D] into the weights."""
    for weight, piece in zip(weights, pieces(vector, weights), strict=True):
        weight.copy_(piece)


def specific_weights(forget_square: Tensor, retain_square: Tensor, share: float) -> Tensor:
    """Which weights speak of the forget set rather than of the rest: bool [D].

    True for the `share` of the weights with the largest ratio of mean squared gradients, forget
    [D] over retain [D] (the saliency of Selective Synaptic Dampening, arXiv 2308.07707).
    """
    # Relative to the mean, so that weights no gradient reaches compare equal instead of at random.
    ratio = forget_square / (retain_square + 1e-8 * retain_square.mean() + 1e-30)
    wanted = max(1, round(share * len(ratio)))
    return ratio >= ratio.kthvalue(len(ratio) - wanted + 1).values
