"""What comes next is made in a thread while the present is used."""

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
DEPTH = 3
"""Items that are made ahead."""
PATIENCE = 0.1
"""Seconds after which the thread looks whether it is still wanted."""


def ahead(items: Iterable[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield `items` in order, up to `depth` of them made ahead in a thread; an error in it is raised here.

    Closing the generator ends the thread.
    """
    queue: Queue[Future[T] | None] = Queue(depth)
    is_over = threading.Event()

    def put(entry: Future[T] | None) -> None:
        while not is_over.is_set():
            try:
                queue.put(entry, timeout=PATIENCE)
            except Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                made: Future[T] = Future()
                made.set_result(item)
                put(made)
                if is_over.is_set():
                    return
            put(None)
        except Exception as error:
            failed: Future[T] = Future()
            failed.set_exception(error)
            put(failed)

    thread = threading.Thread(target=produce, name="koopcast-ahead", daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not None:
            yield entry.result()
    finally:
        is_over.set()
        while thread.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                thread.join(PATIENCE)
