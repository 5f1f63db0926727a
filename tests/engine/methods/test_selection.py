import math

import torch

from engine.methods.selection import Candidate

WEIGHTS = torch.zeros(2)


def candidate(score: float, *, harmless: bool = True) -> Candidate:
    return Candidate(score, met=False, harmless=harmless, weights=WEIGHTS)


def test_the_lower_score_is_kept_among_the_harmless() -> None:
    assert candidate(1.0).beats(candidate(2.0))
    assert not candidate(2.0).beats(candidate(1.0))


def test_weights_that_harm_the_retain_data_are_kept_only_where_all_do() -> None:
    assert candidate(9.0).beats(candidate(1.0, harmless=False))
    assert not candidate(1.0, harmless=False).beats(candidate(9.0))
    assert candidate(1.0, harmless=False).beats(candidate(math.inf, harmless=False))
