"""Parameters of tests that take too long for all of them to run every time."""

from collections.abc import Iterable

import pytest


def mostly_slow(cases: Iterable, quick: Iterable) -> list:
    """The cases of a test, tuples where it takes several parameters, all marked slow but those in `quick`."""
    quick = list(quick)
    assert quick
    return [case if case in quick else slow(case) for case in cases]


def slow(case):
    """A case of a test, marked slow."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
