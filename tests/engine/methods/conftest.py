import pytest

from tiny_workload import TinyWorkload, linear_workload


@pytest.fixture
def tiny() -> TinyWorkload:
    """The workload whose steps are computed by hand."""
    return linear_workload()
