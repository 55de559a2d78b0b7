"""Where a store keeps what."""

from dataclasses import dataclass
from pathlib import Path

from koopcast.stores.bucket import Bucket
from koopcast.stores.durable import TEMPORARY, temporary_sibling, writing
from koopcast.stores.lock import Lock


@dataclass(frozen=True)
class Layout:
    """Paths below the root of a store.

    - `artefacts/<kind>-<key>/`: published, the name is the commit; `.tmp-*` beside them are unfinished.
    - `partial/<key>/`: what an unfinished step left for its next attempt (checkpoints).
    - `locks/`: who works on what; `verified/`: which files were found right, by size, time and inode.
    - `runs/<pipeline>/<run-id>/`: the record of a run and what it wrote for people.
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

    @property
    def artefacts(self) -> Path:
        """Published and unfinished artefacts."""
        return self.root / "artefacts"

    @property
    def damaged(self) -> Path:
        """Artefacts that were set aside."""
        return self.root / "damaged"

    @property
    def partial(self) -> Path:
        """Scratch by key."""
        return self.root / "partial"

    @property
    def locks(self) -> Path:
        """Locks of keys, runs and chores."""
        return self.root / "locks"

    @property
    def verified(self) -> Path:
        """Memory of digests found right."""
        return self.root / "verified"

    @property
    def all_runs(self) -> Path:
        """Runs by pipeline."""
        return self.root / "runs"

    def lock(self, name: str) -> Lock:
        """Return the lock of a key, a run or a chore."""
        return Lock(self.locks / f"{name}.lock")

    def run_lock(self, pipeline: str, run_id: str) -> Lock:
        """Return the lock that a run holds as long as it lives."""
        return self.lock(f"run-{pipeline}-{run_id}")

    def gc_lock(self) -> Lock:
        """Return the lock that keeps a run from starting while garbage is collected."""
        return self.lock("gc")

    def memory(self, name: str) -> Path:
        """Return the file that remembers which files of an artefact were found right."""
        return self.verified / f"{name}.json"

    def unfinished(self, name: str) -> Path:
        """Return a fresh directory name in which an artefact can be made."""
        return temporary_sibling(self.artefacts / name, name)

    def leftovers(self, name: str) -> list[Path]:
        """Return the directories in which attempts to make an artefact ended."""
        return sorted(self.artefacts.glob(f"{TEMPORARY}{name}-*"))

    def set_aside(self, path: Path) -> Path:
        """Move what stands at an artefact's place to `damaged/`; return where it is now."""
        with writing(self.root):
            self.damaged.mkdir(exist_ok=True)
            target = self.damaged / temporary_sibling(path, path.name).name.removeprefix(TEMPORARY)
            return path.rename(target)
