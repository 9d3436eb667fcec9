"""Of several implementations, the fastest that works is kept."""

import pytest

from tools.peers.fastest import Fastest


@pytest.fixture
def ways(monkeypatch):
    """Makes functions that take the given seconds per call, ten times that for the first one, and a list of calls."""
    clock, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def make(**seconds):
        def way(name):
            def run():
                clock[0] += seconds[name] * (1 if name in calls else 10)
                calls.append(name)
                return seconds[name]

            return run

        return {name: way(name) for name in seconds}, calls

    return make


def test_the_fastest_is_kept(ways):
    functions, calls = ways(eager=2.0, compiled=1.0)
    fastest = Fastest(functions)
    assert fastest.note == "" and not calls
    assert fastest() == 1.0
    assert fastest.note == "compiled, 1 s; eager 2 s"
    del calls[:]
    assert fastest() == 1.0 and calls == ["compiled"]


def test_a_way_that_fails_is_left_out_and_told(ways):
    def broken():
        raise RuntimeError("Triton\nis not installed")

    fastest = Fastest({"compiled": broken, **ways(eager=2.0)[0]})
    assert fastest() == 2.0
    assert fastest.note == "eager, 2 s; compiled fails: RuntimeError: Triton is not installed"


def test_where_none_works_the_error_is_raised():
    def broken():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Fastest({"eager": broken, "compiled": broken})()
