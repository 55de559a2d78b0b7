"""What is made ahead comes in order, once, and its errors with it."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from koopcast.prefetch import ahead


def numbers(stop: int, made: list[int]) -> Iterator[int]:
    for number in range(stop):
        made.append(number)
        yield number


def test_items_come_in_order_and_each_once() -> None:
    assert list(ahead(numbers(50, []), depth=2)) == list(range(50))
    assert list(ahead(iter(()))) == []


def test_no_more_is_made_than_the_depth_allows() -> None:
    made: list[int] = []
    with closing(ahead(numbers(50, made), depth=2)) as items:
        assert next(items) == 0
        time.sleep(0.2)
        # Two stand in the queue, one waits in the thread's hand.
        assert len(made) <= 4


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def faulty() -> Iterator[int]:
        yield 1
        raise ValueError("torn block")

    items = ahead(faulty())
    assert next(items) == 1
    with pytest.raises(ValueError, match="torn block"):
        next(items)


def test_closing_ends_the_thread() -> None:
    items = ahead(numbers(10**9, []), depth=2)
    next(items)
    items.close()
    assert not any(thread.name == "koopcast-ahead" and thread.is_alive() for thread in threading.enumerate())
