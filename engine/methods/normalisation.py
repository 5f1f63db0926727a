"""BatchNorm's running statistics: averages over training data, so they remember it too."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.contract import owners_code
from engine.workload import InstanceSet

_BATCH = 64


@torch.no_grad()
def re_estimate(
    model: nn.Module, instances: InstanceSet, rows: Tensor, device: torch.device
) -> bool:
    """Replace all running statistics by those of the instances `rows` (int64) alone.

    Leaves the model in eval mode; returns whether it has any such layer.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return False
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
        layer.train()
    for indices in rows.split(_BATCH):
        if len(indices) > 1:
            with owners_code("the network on a batch"):
                model(instances.batch(indices).inputs.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    return True
