import threading
import time

import pytest

from vertloc.batch.pipeline import read_ahead_of_work


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_items", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_items(n_items, n_threads):
    found = read_ahead_of_work(range(n_items), lambda i: 10 * i, lambda i, ready: (i, ready()), n_threads)
    assert list(found) == [(i, 10 * i) for i in range(n_items)]


def test_the_next_item_is_read_while_one_is_computed():
    is_read = threading.Event()

    def read(i):
        if i == 1:
            is_read.set()
        return i

    def work(i, ready):
        ready()
        return i or is_read.wait(timeout=20)

    assert next(read_ahead_of_work([0, 1], read, work, 1)) is True


def test_no_more_is_read_than_can_wait():
    state = {"read": 0, "done": 0, "most": 0}
    lock = threading.Lock()

    def read(i):
        with lock:
            state["read"] += 1
            state["most"] = max(state["most"], state["read"] - state["done"])
        return i

    def work(i, ready):
        ready()
        time.sleep(0.002)
        with lock:
            state["done"] += 1
        return i

    assert list(read_ahead_of_work(range(30), read, work, 2)) == list(range(30))
    assert state["most"] <= 4


def test_what_cannot_be_read_is_an_error_of_its_own_item():
    def read(i):
        if i == 1:
            raise ValueError("broken")
        return i

    def work(_, ready):
        try:
            return ready()
        except ValueError as error:
            return str(error)

    assert list(read_ahead_of_work(range(3), read, work, 2)) == [0, "broken", 2]


def test_nothing_begins_after_the_caller_has_stopped():
    begun = []

    def work(i, ready):
        begun.append(i)
        time.sleep(0.01)
        return ready()

    results = read_ahead_of_work(range(1000), lambda i: i, work, 2)
    next(results)
    results.close()
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) == count < 10
