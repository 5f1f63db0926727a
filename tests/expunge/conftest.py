from collections.abc import Iterator

import pytest

from scripted_server import Script, scripted
from signed_receipts import Signed, signed_receipt


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as running:
        yield running


@pytest.fixture(scope="session")
def signed() -> Signed:
    return signed_receipt()
