"""Rules on the number of kept Fourier modes that operators share."""

from collections.abc import Iterator

from koopcast.mapping import Signature
from koopcast.spec import Problem

DEFAULT_MODES = 16
"""Kept modes of each axis where they are left open and the grid holds as many."""


def kept_modes(modes: int | None, signature: Signature) -> tuple[int, ...]:
    """Return the modes of each axis, at most half the points where they are left open."""
    if modes is not None:
        return (modes,) * len(signature.axes)
    return tuple(max(1, min(DEFAULT_MODES, size // 2)) for size in signature.shape)


def faulty_modes(option: str, modes: int | None, signature: Signature) -> Iterator[Problem]:
    """Yield why the grid cannot hold the modes, where it cannot."""
    limit = max(1, min(signature.shape) // 2)
    if modes is not None and modes > limit:
        yield Problem(
            (option,), f"{modes} is above {limit}, the Nyquist limit of grid {signature.shape}; lower it"
        )
