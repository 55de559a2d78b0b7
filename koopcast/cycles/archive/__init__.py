"""The archive of a cycle."""

from koopcast.cycles.archive.archive import TICK, Archive
from koopcast.cycles.archive.keeping import Form, Keeping
from koopcast.cycles.archive.manifest import (
    FEEDBACK,
    FIELDS,
    RESTART,
    START,
    SUFFIXES,
    Manifest,
    digest_of,
)
from koopcast.cycles.archive.mirror import Mirror
from koopcast.cycles.archive.removed import Removed

__all__ = [
    "FEEDBACK",
    "FIELDS",
    "RESTART",
    "START",
    "SUFFIXES",
    "TICK",
    "Archive",
    "Form",
    "Keeping",
    "Manifest",
    "Mirror",
    "Removed",
    "digest_of",
]
