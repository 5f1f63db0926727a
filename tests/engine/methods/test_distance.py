import math

import pytest
import torch

from engine.errors import Diverged
from engine.methods.distance import cell_distances, output_distance
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression
from engine.tasks.segmentation import Segmentation


def test_of_labels_it_is_the_divergence_from_the_teacher():
    teacher, output = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = output_distance(Classification("c", 2), output, teacher)
    assert found.tolist() == pytest.approx([expected])


def test_of_a_map_of_labels_it_is_the_mean_over_pixels():
    teacher, output = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    teacher[0, 0, 0, 0] = math.log(3.0)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 4
    found = output_distance(Segmentation("s", 2), output, teacher)
    assert found.tolist() == pytest.approx([expected])


def test_of_independent_labels_each_counts_by_itself():
    teacher, output = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    found = output_distance(Multilabel("m", 2), output, teacher)
    assert found.tolist() == pytest.approx([expected])


def test_of_numbers_it_is_the_squared_difference():
    found = output_distance(Regression("r", 0, 1), torch.tensor([1.0, 2]), torch.tensor([3.0, 2]))
    assert found.tolist() == [4, 0]


def test_cells_that_are_not_asked_for_are_zero_and_what_is_not_finite_ends_the_job(tiny):
    outputs = {"left": torch.tensor([1.0, math.nan]), "right": torch.tensor([2.0, 2.0])}
    teacher = {"left": torch.zeros(2), "right": torch.zeros(2)}
    cells = torch.tensor([[True, False], [False, True]])
    assert cell_distances(tiny, outputs, teacher, cells).tolist() == [[1, 0], [0, 4]]
    with pytest.raises(Diverged, match="task 'left' became NaN"):
        cell_distances(tiny, outputs, teacher, ~cells)
