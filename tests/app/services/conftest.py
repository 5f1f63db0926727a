from collections.abc import Iterator

import pytest

from app.http import Parts
from app.settings import Settings
from running_service import Registered, register_model


@pytest.fixture
def parts(settings: Settings) -> Iterator[Parts]:
    """What the service's process shares, on each database, without the service."""
    made = Parts(settings)
    yield made
    made.database.dispose()


@pytest.fixture
def model(parts: Parts) -> Registered:
    """A model with version 1 in service."""
    with parts.database.write() as session, session.begin():
        return register_model(session, parts.storage)
