"""Marks for test parameters, as running all of them every time would take too long."""

from collections.abc import Iterable

import pytest


def mostly_slow(cases: Iterable, quick: Iterable) -> list:
    """Marks all cases of a test as slow except those in `quick`; with several parameters, cases are tuples."""
    quick = list(quick)
    assert quick
    return [case if case in quick else slow(case) for case in cases]


def slow(case):
    """Marks a case of a test as slow."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
