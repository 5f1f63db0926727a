import pytest

from expunge.answers import Estimate
from expunge.cli.estimates import told


def estimate(**members: object) -> Estimate:
    return Estimate.model_validate({"method": "scrub", "basis": "prior", **members})


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({}, "scrub; a first guess, no such job has finished yet"),
        (
            {
                "seconds": 84.4,
                "seconds_low": 5.21,
                "seconds_high": 600,
                "gradient_evaluations": 15300,
                "share_of_retraining": 0.0126,
                "retraining_seconds": 7200.0,
                "basis": "past_jobs",
                "past_jobs": 12,
                "past_jobs_of": "model",
            },
            "scrub, about 84 s (5.2 s to 10 min), 15300 gradient evaluations,"
            " 1.3% of retraining's 2.0 h; from 12 earlier jobs of this model",
        ),
        (
            {"share_of_retraining": 1.5, "past_jobs": 1, "past_jobs_of": "any"},
            "scrub, 150.0% of retraining; from 1 earlier job of other workloads",
        ),
        (
            {"gradient_evaluations": 8, "past_jobs": 2, "past_jobs_of": "kin"},
            "scrub, 8 gradient evaluations; from 2 earlier jobs",
        ),
    ],
)
def test_an_estimate_is_one_sentence(members: dict[str, object], sentence: str) -> None:
    assert told(estimate(**members)) == sentence
