"""Fixtures of the analysis tests."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def run_as_written(untraced):
    """Runs functions eagerly, as encoders, scorers and the like are called only a few times each in these tests."""
