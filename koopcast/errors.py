"""One tree of errors. Each says what happened and what to do about it.

KoopcastError
  InvalidInput              a file or an option that a person wrote (exit code 2)
    OutsideRoots            a path that leads out of the folders that KOOPCAST_ROOTS names
  DataError                 fields or observations that cannot be used
    MissingFile
    UnknownUnit
    UnknownCalendar
    EmptySelection          a time range, part or region that holds nothing
    NotFinite               NaN or infinity where the mask promises a number
    OutsideDomain           a location that the grid does not hold
    ShapeMismatch
  ComputeError              the mathematics failed on valid input
    Diverged                a state, loss or ensemble became infinite or undefined
    NotPositiveDefinite
    Underresolved           a grid or time step too coarse for the stated tolerance
    OutOfMemory             the device has not the memory for the least piece of the work
  DeviceMissing             a device that this machine does not have
  StoreError
    StoreDamaged            a digest does not match, or a file is missing
    StoreMissing            no such artefact, run or store
    StoreNotWritable        read-only or full
    StoreLocked             another run holds the lock and does not let go
  EngineError               the orchestrator cannot be reached or did not start in time
  StepFailed                a step of a run ended in an error (exit code 1)
"""

import re

from koopcast.redaction import redacted

ACTING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys, what turns a line around, and what no encoding knows: parts of names of files."""


def printable(text: str) -> str:
    r"""Return a text on one line with nothing in it that acts: an escape is written out as `\x1b`."""
    return ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class KoopcastError(Exception):
    """Base of every error that Koopcast raises on purpose; its text holds no secret and nothing that acts.

    Args:
        message: What happened: names, numbers, both sides of a mismatch.
        remedy: What to do about it, one short clause.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        message = "\n".join(map(printable, redacted(message).split("\n")))
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["KoopcastError"], tuple[str, str]]:
        return type(self), (self.message, self.remedy)


class InvalidInput(KoopcastError):
    """A file or an option that a person wrote cannot be accepted."""


class OutsideRoots(InvalidInput):
    """A path that leads out of the folders that may be read."""


class DataError(KoopcastError):
    """Fields or observations that cannot be used."""


class MissingFile(DataError):
    """A file that was named does not exist or cannot be read."""


class UnknownUnit(DataError):
    """A unit that the table does not hold."""


class UnknownCalendar(DataError):
    """A calendar that CF does not define."""


class EmptySelection(DataError):
    """A time range, part or region that holds nothing."""


class NotFinite(DataError):
    """NaN or infinity where the mask promises a number."""


class OutsideDomain(DataError):
    """A location that the grid does not hold."""


class ShapeMismatch(DataError):
    """Two arrays or grids that do not fit."""


class ComputeError(KoopcastError):
    """The mathematics failed on valid input."""


class Diverged(ComputeError):
    """A state, a loss or an ensemble became infinite or undefined."""


class NotPositiveDefinite(ComputeError):
    """A matrix that should be a covariance is not one."""


class Underresolved(ComputeError):
    """A grid or a time step is too coarse for the stated tolerance."""


class OutOfMemory(ComputeError):
    """The device has not the memory for the least piece of the work."""


class DeviceMissing(KoopcastError):
    """A device that this machine does not have."""


class StoreError(KoopcastError):
    """The store of artefacts cannot do what was asked."""


class StoreDamaged(StoreError):
    """A digest does not match, or a file is missing."""


class StoreMissing(StoreError):
    """No such artefact, run or store."""


class StoreNotWritable(StoreError):
    """The store is read-only or its disk is full."""


class StoreLocked(StoreError):
    """Another run holds the lock and does not let go."""


class EngineError(KoopcastError):
    """The orchestrator cannot be reached or did not start in time."""


class StepFailed(KoopcastError):
    """A step of a run ended in an error."""
