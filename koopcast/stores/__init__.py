"""The store of artefacts: published whole or not at all, checked when read, safe to share between runs."""

from koopcast.stores.artefact import Artefact, ArtefactRef, FileEntry, Manifest
from koopcast.stores.checkup import Report, doctor
from koopcast.stores.garbage import Collected, gc
from koopcast.stores.lock import Holder, Lock
from koopcast.stores.runs import Run, RunRecord, StepRecord
from koopcast.stores.slot import Slot
from koopcast.stores.store import Store

__all__ = [
    "Artefact",
    "ArtefactRef",
    "Collected",
    "FileEntry",
    "Holder",
    "Lock",
    "Manifest",
    "Report",
    "Run",
    "RunRecord",
    "Slot",
    "StepRecord",
    "Store",
    "doctor",
    "gc",
]
