"""How long work reports where it stands, without knowing who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """One report: `done` of `total` units (epoch, cycle, block), with figures worth showing."""

    unit: str
    done: int
    total: int
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""
    """Something to be said once, in words."""


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("koopcast_progress", default=None)


def report(unit: str, done: int, total: int, **figures: float) -> None:
    """Tell the listener, if there is one, that `done` of `total` units are behind us."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(unit, done, total, figures))


def say(note: str) -> None:
    """Tell the listener, if there is one, what a person should know of the work."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress("note", 0, 0, note=note))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the reports of the enclosed work to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
