import pytest

from story import Trained, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small network trained on real data, once for all stories."""
    return train(tmp_path_factory.mktemp("trained"))
