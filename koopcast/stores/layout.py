"""Where a store keeps what."""

from dataclasses import dataclass
from pathlib import Path

from koopcast.stores.artefact import ArtefactRef
from koopcast.stores.bucket import Bucket
from koopcast.stores.durable import TEMPORARY, remove, sync, temporary_sibling, writing
from koopcast.stores.lease import Lease
from koopcast.stores.lock import Lock

ARTEFACTS, LOCKS, RUNS = "artefacts", "locks", "runs"
"""Folders, of the same names on an object store."""


@dataclass(frozen=True)
class Layout:
    """Paths below the root of a store.

    - `artefacts/<kind>-<key>/`: published, the name is the commit; `.tmp-*` beside them are unfinished.
    - `partial/<key>/`: what an unfinished step left for its next attempt (checkpoints).
    - `locks/`: who works on what; `verified/`: which files were found right, by size, time and inode.
    - `runs/<pipeline>/<run-id>/`: the record of a run and what it wrote for people.
    - `incoming/`: artefacts on their way from an object store.
    - `damaged/`: artefacts set aside because their files no longer match their digests.
    """

    root: Path
    """Folder of the store; of one on an object store, the folder of this machine that caches it."""
    bucket: Bucket | None = None
    """The object store behind the folder."""

    @property
    def uri(self) -> str:
        """Address by which the store is opened again."""
        return str(self.root) if self.bucket is None else self.bucket.uri

    def address(self, ref: ArtefactRef) -> str:
        """Return where an artefact is published."""
        return f"{self.uri}/{ARTEFACTS}/{ref.name}"

    @property
    def artefacts(self) -> Path:
        """Published and unfinished artefacts."""
        return self.root / ARTEFACTS

    @property
    def damaged(self) -> Path:
        """Artefacts that were set aside."""
        return self.root / "damaged"

    @property
    def partial(self) -> Path:
        """Scratch by key."""
        return self.root / "partial"

    @property
    def incoming(self) -> Path:
        """Artefacts on their way from the object store."""
        return self.root / "incoming"

    @property
    def locks(self) -> Path:
        """Locks of keys, runs and chores."""
        return self.root / LOCKS

    @property
    def verified(self) -> Path:
        """Memory of digests found right."""
        return self.root / "verified"

    @property
    def all_runs(self) -> Path:
        """Runs by pipeline."""
        return self.root / RUNS

    def lock(self, name: str) -> Lock | Lease:
        """Return the lock of a key, a run or a chore, which holds wherever the store is shared."""
        local = self.lock_here(name)
        return local if self.bucket is None else Lease(local, self.bucket, f"{LOCKS}/{name}.lock")

    def lock_here(self, name: str) -> Lock:
        """Return a lock of this folder alone."""
        return Lock(self.locks / f"{name}.lock")

    def run_lock(self, pipeline: str, run_id: str) -> Lock | Lease:
        """Return the lock that a run holds as long as it lives."""
        return self.lock(f"run-{pipeline}-{run_id}")

    def gc_lock(self) -> Lock | Lease:
        """Return the lock that keeps a run from starting while garbage is collected."""
        return self.lock("gc")

    def memory(self, name: str) -> Path:
        """Return the file that remembers which files of an artefact were found right."""
        return self.verified / f"{name}.json"

    def unfinished(self, name: str) -> Path:
        """Return a fresh directory name in which an artefact can be made."""
        return temporary_sibling(self.artefacts / name, name)

    def put_in_place(self, draft: Path, name: str) -> Path:
        """Publish a directory as an artefact, in one step and in place of a former one; return its path."""
        target, former = self.artefacts / name, self.unfinished(name)
        lock = self.lock_here(f"place-{name}")
        lock.acquire()
        try:
            self.artefacts.mkdir(exist_ok=True)
            if target.exists():
                target.rename(former)
            draft.rename(target)
            sync(target.parent)
            sync(self.root)
        finally:
            lock.release()
        remove(former)
        return target

    def leftovers(self, name: str) -> list[Path]:
        """Return the directories in which attempts to make an artefact ended."""
        return sorted(self.artefacts.glob(f"{TEMPORARY}{name}-*"))

    def set_aside(self, path: Path) -> Path:
        """Move what stands at an artefact's place to `damaged/`; return where it is now."""
        with writing(self.root):
            self.damaged.mkdir(exist_ok=True)
            target = self.damaged / temporary_sibling(path, path.name).name.removeprefix(TEMPORARY)
            return path.rename(target)
