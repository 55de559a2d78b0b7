"""The archive of a cycle."""

from koopcast.cycles.archive.archive import TICK, Archive
from koopcast.cycles.archive.manifest import FEEDBACK, FIELDS, RESTART, START, SUFFIXES, Manifest
from koopcast.cycles.archive.mirror import Mirror

__all__ = ["FEEDBACK", "FIELDS", "RESTART", "START", "SUFFIXES", "TICK", "Archive", "Manifest", "Mirror"]
