import torch
from torch import nn

from engine.gradients import flat_gradient, flatten, specific_weights, trainable


def test_flat_gradients_follow_the_order_of_the_trainable_weights() -> None:
    model = nn.Linear(2, 1)
    weights = trainable(model)
    loss = 3 * model.weight[0, 1] + 2 * model.bias[0]
    assert flat_gradient(loss, weights).tolist() == [0, 3, 2]
    assert torch.equal(flatten(weights), torch.cat([model.weight.flatten(), model.bias]))


def test_frozen_weights_are_left_out() -> None:
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    assert [tuple(weight.shape) for weight in trainable(model)] == [(1, 2)]


def test_a_loss_that_depends_on_nothing_has_no_gradient() -> None:
    weights = trainable(nn.Linear(2, 1))
    assert flat_gradient(torch.tensor(1.0), weights).tolist() == [0, 0, 0]


def test_weights_that_speak_of_the_forget_set_are_chosen_by_their_ratio() -> None:
    chosen = specific_weights(
        torch.tensor([4.0, 1.0, 9.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0]), share=0.5
    )
    assert chosen.tolist() == [True, False, True, False]
