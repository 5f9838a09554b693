"""A fingerprint of models, data and global state, for tests that nothing has changed."""

from typing import Any

import pytest

from tests.fingerprint import fingerprint_of


@pytest.fixture(scope="session")
def fingerprint() -> Any:
    """A function of models and tensors: equal results mean that nothing was touched, bit for bit."""
    return fingerprint_of
