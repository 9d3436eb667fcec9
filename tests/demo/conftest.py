"""Fixtures for the tests of the page."""

import pytest

from tests.demo import models


@pytest.fixture(scope="package", autouse=True)
def models_are_given_back():
    """Unloads the models before the tests of other folders."""
    yield
    models.loaded.cache_clear()
