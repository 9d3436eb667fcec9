"""A budget that many threads share."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from glow_tf.runtime.budget import Budget


def has_room(budget, size):
    try:
        with budget.reserved(size, 0):
            return True
    except TimeoutError:
        return False


def test_sizes_are_reserved_up_to_the_limit_and_released():
    budget = Budget(10)
    with budget.reserved(6):
        assert has_room(budget, 4) and not has_room(budget, 5)
        with pytest.raises(TimeoutError, match="a size of 5 within 0.05 s"), budget.reserved(5, 0.05):
            pass
        # Nobody waits any longer.
        assert has_room(budget, 4)
    assert has_room(budget, 10)
    with pytest.raises(ZeroDivisionError), budget.reserved(10):
        raise ZeroDivisionError
    assert has_room(budget, 10)


def test_a_single_size_always_has_room():
    budget = Budget(10)
    with budget.reserved(1000):
        assert not has_room(budget, 1)
    with budget.reserved(1):
        assert not has_room(budget, 1000)


def test_the_limit_can_be_changed():
    budget = Budget(10)
    with budget.reserved(10):
        budget.limit = 12
        assert has_room(budget, 2) and not has_room(budget, 3)


def test_whoever_came_first_is_served_first():
    """A large size that waits is not overtaken by small ones, for which there would be room."""
    budget, order = Budget(3), []

    def reserve(size):
        with budget.reserved(size):
            order.append(size)

    with ThreadPoolExecutor(2) as threads:
        with budget.reserved(1):
            large = threads.submit(reserve, 3)
            patience = time.monotonic() + 30
            while has_room(budget, 1):
                assert time.monotonic() < patience
            small = threads.submit(reserve, 1)
            assert not order
        large.result()
        small.result()
    assert order == [3, 1]


def test_no_more_is_reserved_at_a_time_however_many_ask():
    budget, lock, reserved, most = Budget(5), threading.Lock(), 0, 0

    def reserve(size):
        nonlocal reserved, most
        with budget.reserved(size):
            with lock:
                reserved += size
                most = max(most, reserved)
            time.sleep(0.001)
            with lock:
                reserved -= size

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(reserve, [1, 2, 3, 4, 5] * 20))
    assert reserved == 0 and 4 <= most <= 5


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals for threads here")
def test_ctrl_c_ends_the_wait_and_leaves_the_turn_to_the_next():
    code = """
import signal, threading, time
from glow_tf.runtime.budget import Budget

# Programs in the background of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
budget = Budget(1)
with budget.reserved(1):
    main = threading.get_ident()
    threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    try:
        with budget.reserved(1):
            raise SystemExit("reserved twice")
    except KeyboardInterrupt:
        pass
with budget.reserved(1, 5):
    print("free")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "free\n"), done.stderr
