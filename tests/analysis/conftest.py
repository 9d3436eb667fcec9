"""What the tests of analysis share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def run_as_written(untraced):
    """The encoders, scorers and so on of these tests are called a few times each."""
