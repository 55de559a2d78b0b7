"""What an archive keeps, and in which form."""

from dataclasses import dataclass
from typing import Literal

from koopcast.times import Duration

Form = Literal["windows", "icechunk"]


@dataclass(frozen=True)
class Keeping:
    """What an archive keeps, and in which form."""

    form: Form = "windows"
    """A zarr store a window, or one icechunk repository."""
    compact: Literal["month", "never"] = "month"
    """Whether the fields of completed months are brought together."""
    restart_every: int = 1
    """Every n-th window keeps its state for ever."""
    restart_keep: int = 10
    """Last windows that keep their state."""
    keep: Duration | None = None
    """Time after which windows are dropped, by whole months; None: never."""
