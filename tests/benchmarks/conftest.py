from collections.abc import Iterator

import pytest
import torch

from benchmarks.unlearning.bench import Bench, Choice, set_up


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Digits with a short training, and an empty cache."""
    choice = Choice("digits", "digits", {"hidden": 32, "epochs": 15})
    return set_up(choice, torch.device("cpu"), tmp_path_factory.mktemp("cache"))
