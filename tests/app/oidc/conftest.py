"""A real issuer on loopback, and a service that trusts it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_service import Service, serve
from token_issuer import Issuer, running_issuer, trusting_settings


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[Issuer]:
    """Of a whole test module, whose one key nobody rotates."""
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def trusting(
    shared_issuer: Issuer, tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path
) -> Iterator[Service]:
    """A service that trusts the module's issuer with the scopes of plain claims."""
    folder = tmp_path_factory.mktemp("trusting")
    file = shutil.copy(_migrated_sqlite, folder / "expunge.db")
    yield from serve(trusting_settings(folder, f"sqlite:///{file}", shared_issuer.trust()))
