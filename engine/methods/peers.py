"""With whom a request's people are compared: each whole subject with unseen subjects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.problem import Problem


@dataclass(frozen=True)
class Peers:
    """For one task: the subjects who teach it no more, and the unseen ones to compare them with."""

    leaving: tuple[Tensor, ...]
    """Rows of the training data, int64 [n_i] for each subject; empty where people say nothing."""
    unseen: tuple[Tensor, ...]
    """Rows of the calibrating half, int64 [m_j] for each."""

    @classmethod
    def of(cls, problem: Problem, column: int, labelled: Tensor) -> "Peers":
        """Those of the task at `column`; `labelled` is bool [M], of the calibrating half.

        None are found where the calibrating half knows fewer than two unseen subjects, or mostly
        one record of each: then every instance is compared by itself.
        """
        subjects = problem.train.subjects
        teaching = problem.retain[:, column].nonzero().squeeze(1).tolist()
        staying = {subjects[row] for row in teaching}
        gone = (problem.forget | problem.earlier)[:, column]
        leaving = _rows_of(subjects, gone, staying)
        unseen = _rows_of(problem.calibration.subjects, labelled, staying)
        records = sum(map(len, unseen))
        if len(unseen) < 2 or records < 2 * len(unseen):
            return cls((), ())
        return cls(leaving, unseen)


def _rows_of(
    subjects: Sequence[str | None], chosen: Tensor, staying: set[str | None]
) -> tuple[Tensor, ...]:
    """The chosen rows of each known subject who does not stay."""
    rows: dict[str, list[int]] = {}
    for row in chosen.nonzero().squeeze(1).tolist():
        subject = subjects[row]
        if subject is not None and subject not in staying:
            rows.setdefault(subject, []).append(row)
    return tuple(torch.tensor(found) for found in rows.values())
