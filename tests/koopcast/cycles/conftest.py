"""A twin on a ring: a small true model, and reports of its own run, window after window."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.inflation import MultiplicativeSpec
from koopcast.assimilation.initial import ClimatologySpec
from koopcast.cycles.archive import Archive, Keeping, Mirror
from koopcast.cycles.chain import Chain
from koopcast.cycles.clock import Clock, negative
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.tick import Ticker
from koopcast.cycles.work import Policy
from koopcast.fields import FieldData
from koopcast.generation import Run, SystemDynamics, evolve
from koopcast.integrators.rk4 import RK4Spec
from koopcast.stores import lease
from koopcast.stores.bucket import Bucket
from koopcast.stores.lease import Lease
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.times import parse_duration

POINTS = 6
START = pd.Timestamp("2020-01-31T06:00")
STEP = parse_duration("PT6H")


@dataclass(frozen=True)
class Twin:
    """What a cycle is made of, in a folder of its own."""

    setup: Run
    truth: FieldData
    folder: Path
    members: bool = False
    """Whether the archive keeps them."""
    leads: tuple[int, ...] = (1,)

    def chain(self) -> Chain:
        method = ETKFSpec(members=8, inflation=MultiplicativeSpec(factor=1.05), rotation=True)
        clock = Clock(START, STEP, negative(STEP), STEP, parse_duration("PT0S"))
        dynamics = SystemDynamics(self.setup)
        kept = {"leads": self.leads, "members": self.members}
        return Chain(dynamics, method, ClimatologySpec(), self.truth, clock, 1, 0, **kept)

    def label(self, number: int) -> str:
        return self.chain().clock.name(number)

    def at(self, number: int) -> pd.Timestamp:
        return self.chain().clock.label(number)

    def deliver(self, windows: range, name: str = "all.csv", minutes: int = 0) -> Path:
        """Write reports of some windows, so many minutes before their label, where every cycle looks."""
        values = self.truth.tensor().numpy()[0, :, :, 0]
        parts = []
        for window in windows:
            noisy = values[window + 1] + np.random.default_rng([5, window]).standard_normal(POINTS)
            time = self.at(window) - pd.Timedelta(minutes=minutes)
            parts.append(pd.DataFrame({"time": time, "state": range(POINTS), "value": noisy}))
        (self.folder / "inbox").mkdir(exist_ok=True)
        path = self.folder / "inbox" / name
        pd.concat(parts).to_csv(path, index=False)
        return path

    def local(self, name: str = "archive", **keeping: object) -> Archive:
        return Archive(self.folder / name / "cycle", None, Keeping(**keeping))

    def copy(self, other: "Twin", name: str = "archive", **keeping: object) -> Archive:
        """A copy of the archive of another twin, and the reports that it saw."""
        shutil.copytree(other.folder / "archive", self.folder / name)
        shutil.rmtree(self.folder / name / "cycle" / "inbox")
        shutil.copytree(other.folder / "inbox", self.folder / "inbox", dirs_exist_ok=True)
        return self.local(name, **keeping)

    def mirrored(self, uri: str, machine: str, **keeping: object) -> Archive:
        root = self.folder / machine / "cycle"
        return Archive(root, Mirror(Bucket(uri), "cycles/twin", root), Keeping(**keeping))

    def ticker(self, archive: Archive, **policy: object) -> Ticker:
        (self.folder / "inbox").mkdir(exist_ok=True)
        spec = TableInboxSpec.model_validate(
            {"kind": "table", "path": str(self.folder / "inbox/*.csv"), "settle": 0,
             "variables": {"X": {"bounds": [-30, 30]}}}
        )  # fmt: skip
        chain = self.chain()
        inbox = Inbox(spec, self.truth.info, chain.clock, archive.inbox)
        return Ticker(chain, inbox, archive, Policy(**{"max_catchup": 10**6, **policy}))

    def tick(
        self, archive: Archive, number: int, force: str | None = None, wait: float = 0.0, **policy: object
    ) -> list[str]:
        """Tick as the only writer up to a window; return the labels of those that were analysed."""
        lock = archive.lock()
        lock.acquire(timeout=wait, on_wait=lambda holder, waited: None)
        try:
            archive.open({})
            done = self.ticker(archive, **policy).run(self.at(number), force).done
        finally:
            lock.release()
        return [manifest.label for manifest in done]


def ring() -> tuple[Run, FieldData]:
    """Return a true model and its own run."""
    setup = Run(Lorenz96Spec(points=POINTS), RK4Spec(), samples=1, steps=600, burn_in=100)
    return setup, evolve(setup, seed=1, dtype="float64")


@pytest.fixture(scope="session")
def make_twin() -> Callable[[Path], Twin]:
    """What makes a twin in a folder."""
    return partial(Twin, *ring())


@pytest.fixture
def twin(make_twin: Callable[[Path], Twin], tmp_path: Path) -> Twin:
    """The twin in a new folder."""
    return make_twin(tmp_path)


@pytest.fixture
def suspended(
    twin: Twin, bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Archive, Archive, Lease]]:
    """What makes two machines on one bucket, given how they keep archives; the first holds the lock, which it
    does not renew, so that the second takes over after a second.
    """

    def make(**keeping: object) -> tuple[Archive, Archive, Lease]:
        monkeypatch.setattr(lease, "HEARTBEAT", 3600.0)
        monkeypatch.setattr(lease, "LEASE", 1.0)
        slow, quick = (twin.mirrored(bucket_uri, machine, **keeping) for machine in "ab")
        lock = slow.lock()
        assert isinstance(lock, Lease)
        assert lock.try_acquire()
        slow.open({})
        return slow, quick, lock

    return make


def content(archive: Archive) -> dict[str, str]:
    """Digest of every published file of an archive, without what is of this machine alone."""
    archive.pull()
    mirror = archive._place.mirror
    named = {one.data for one in [*archive.manifests(), *archive._months.read().values()]}
    if mirror is not None:
        shutil.rmtree(archive.root / "data")
        for name in named:
            objects = mirror._bucket.tags(f"{mirror._prefix}/data/{name}")
            mirror._bucket.download(
                {it: archive.root / it.removeprefix(f"{mirror._prefix}/") for it in objects}
            )
    own = {"inbox", "locks", "status.html", "tags.json", "fields.icechunk"}
    paths = (path.relative_to(archive.root) for path in sorted(archive.root.rglob("*")) if path.is_file())
    return {
        str(path): hashlib.sha256((archive.root / path).read_bytes()).hexdigest()
        for path in paths
        if path.parts[0] not in own and (path.parts[0] != "data" or path.parts[1] in named)
    }


@pytest.fixture(name="content")
def content_fixture():
    """The function `content`."""
    return content
