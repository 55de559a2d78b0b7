"""Faults of what stands around a run: worker, run, server, database, all at once; and of its surroundings."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from flows.processes import wait_until
from koopcast.cycles.archive import Archive
from tests.faults.database import Postgres, kill_tree
from tests.faults.disk import Disk
from tests.faults.twin import Feeder, Halves, Row, Twin, judge, now
from tests.faults.world import ENDED, World

PATIENCE = 120.0
"""Seconds that a run may take to end once all is well again."""
RUN_SECONDS = 8.0
"""About what a run takes: kills fall anywhere in it, and some time before and after."""


class Trial:
    """A cycle of windows of a second on a living server, and the faults that befall it."""

    def __init__(
        self, world: World, store: Path, truth: np.ndarray, kind: str, chance: random.Random
    ) -> None:
        self.world, self.chance = world, chance
        start = now().ceil("s")
        name = f"{kind}-{world.database.name}"
        # A run may take a minute on a busy machine: windows of a torn file can still be changed after two.
        reruns = 200 if kind == "file" else 40
        self.twin = Twin(world.folder / name, store, name, truth, start, reruns=reruns)
        if not world.deployed:
            world.koopcast("deploy", str(self.twin.file), "--store", str(store))
            world.deployed = world.deployment(f"cycle/{name}")
        self.will_tear = threading.Event()
        self.torn = range(0), ""
        self.feeder = Feeder(self.twin, deliver=self._deliver)
        self.current = ""
        self.furthest = start
        self.halves = Halves(self.twin.archive)

    def tick(self) -> str:
        """Return a run that is not over: the one before, or a new one."""
        if not self.current or self.world.state(self.current) in ENDED:
            self.current = self.run()
        return self.current

    def run(self, scheduled: datetime | None = None, **parameters: str) -> str:
        """Ask for a run of this cycle; one deployment is enough for all."""
        own = {"cycle": str(self.twin.file), "store": str(self.twin.store)}
        return self.world.create_run(self.world.deployed, scheduled, **own, **parameters)

    def _deliver(self, windows: range, name: str) -> None:
        if not self.will_tear.is_set():
            self.twin.deliver(windows, name)
            return
        content = self.twin.reports(windows).to_csv(index=False).encode()
        (self.twin.inbox / name).write_bytes(content[: self.chance.randint(1, len(content) - 1)])
        self.torn = windows, name
        self.will_tear.clear()

    def hesitate(self) -> None:
        """Wait for a random moment of the run: any, or one in which it writes a window."""
        self.halves = Halves(self.twin.archive)
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, RUN_SECONDS))
            return
        end = time.monotonic() + 3 * RUN_SECONDS
        while time.monotonic() < end and not self.halves.are_new():
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, 0.04))

    def finish(self, row: Row) -> None:
        """Let a last run see all windows, and compare with a chain that was not disturbed."""
        wait_until(lambda: now() >= self.furthest, lambda: True, PATIENCE)
        self.feeder.stop()
        until = now().floor("s")
        windows = self.twin.due_by(until)
        text = f"{until:%Y-%m-%dT%H:%M:%S}"
        begun = time.monotonic()
        last = self.run(until=text)
        state = self.world.await_end(last, 5 * PATIENCE)
        row.note += f"last run {state} after {time.monotonic() - begun:.0f} s"
        name = f"{self.twin.name}-unbroken"
        arguments = ["cycle", str(self.twin.file), "--set", f"name={name}", "--until", text]
        self.world.koopcast(*arguments, "--store", str(self.twin.store))
        judge(row, self.twin, windows, Archive(self.twin.store / "cycles" / name))


def kill_run(trial: Trial) -> bool:
    """Kill the process of a run; its worker tells the server."""
    process = None
    while process is None:
        process = trial.world.await_process(trial.tick())
    trial.hesitate()
    return kill_tree(process)


def kill_worker(trial: Trial) -> bool:
    """Kill the worker, not its run, and start another."""
    trial.tick()
    trial.hesitate()
    was_alive = trial.world.kill_worker("one")
    trial.world.start_worker("one")
    return was_alive


def kill_server(trial: Trial) -> bool:
    """Kill the server, and start it again."""
    trial.tick()
    trial.hesitate()
    was_alive = trial.world.kill_server()
    trial.world.start_server()
    return was_alive


def kill_database(trial: Trial) -> bool:
    """Kill PostgreSQL, and start it again under a server that goes on."""
    trial.tick()
    trial.hesitate()
    assert isinstance(trial.world.database, Postgres)
    was_alive = trial.world.database.kill()
    time.sleep(trial.chance.uniform(0, 4))
    trial.world.database.start()
    trial.world.await_server()
    return was_alive


def leave_server_down(trial: Trial) -> bool:
    """Kill the server, and leave it down while many windows fall due."""
    trial.tick()
    trial.hesitate()
    was_alive = trial.world.kill_server()
    time.sleep(trial.chance.uniform(3, 8))
    trial.world.start_server()
    return was_alive


def cut_power(trial: Trial) -> bool:
    """Kill worker, run, server and database at once, and start them again."""
    run = trial.tick()
    trial.world.await_process(run)
    trial.hesitate()
    was_alive = trial.world.kill_worker("one")
    for process in trial.world.runs().values():
        kill_tree(process)
    was_alive = trial.world.kill_server() and was_alive
    if isinstance(trial.world.database, Postgres):
        was_alive = trial.world.database.kill() and was_alive
        trial.world.database.start()
    trial.world.start_server()
    trial.world.start_worker("one")
    return was_alive


def two_at_once(trial: Trial) -> bool:
    """Have two workers and now and then a command work on one archive at the same moment."""
    if "two" not in trial.world.workers:
        trial.world.start_worker("two")
    pair = [trial.run() for _ in range(2)]
    if trial.chance.random() < 0.25:
        trial.world.python("-m", "flows.cli", "cycle", str(trial.twin.file), "--store", str(trial.twin.store))
    time.sleep(trial.chance.uniform(0, 2))
    ends = [trial.world.await_end(run, PATIENCE) for run in pair]
    return "COMPLETED" in ends


def jump(trial: Trial) -> bool:
    """Run as of a moment that is hours before, or a few windows ahead of, the present."""
    if trial.chance.random() < 0.5:
        past = datetime.now(UTC) - timedelta(hours=trial.chance.uniform(1, 9))
        run = trial.run(scheduled=past)
    else:
        ahead = now() + pd.Timedelta(seconds=trial.chance.uniform(1, 20))
        trial.furthest = max(trial.furthest, ahead)
        run = trial.run(until=f"{ahead:%Y-%m-%dT%H:%M:%S}")
    return trial.world.await_end(run, PATIENCE) == "COMPLETED"


def write_half(trial: Trial) -> bool:
    """Deliver some bytes of a file, let a run see them, and deliver the file whole."""
    trial.will_tear.set()
    if not wait_until(lambda: not trial.will_tear.is_set(), lambda: True, PATIENCE):
        return False
    is_seen = trial.world.await_end(trial.run(), PATIENCE) == "COMPLETED"
    trial.twin.deliver(*trial.torn)
    return is_seen


def fill_disk(trial: Trial) -> bool:
    """Fill the disk of the store at some moment of a run, and free it when the run has failed."""
    run = trial.tick()
    trial.hesitate()
    disk = Disk(trial.twin.store.parent)
    disk.fill(trial.chance.randint(0, 20_000))
    state = trial.world.await_end(run, PATIENCE)
    if state == "COMPLETED":
        state = trial.world.await_end(trial.run(), PATIENCE)
    disk.free()
    return state == "FAILED"


FAULTS: dict[str, Callable[[Trial], bool]] = {
    "worker": kill_worker,
    "run": kill_run,
    "server": kill_server,
    "database": kill_database,
    "down": leave_server_down,
    "power": cut_power,
    "two": two_at_once,
    "clock": jump,
    "file": write_half,
    "disk": fill_disk,
}
"""Kind -> what happens once; it returns whether it hit what it was to hit."""
AT_MOST = {"power": 5}
"""Kind -> repeats at most: after a power cut everything starts anew, which takes a minute."""


def trial(world: World, store: Path, truth: np.ndarray, kind: str, repeats: int, seed: int) -> Row:
    """Let one kind of fault happen again and again, and return what became of the archive."""
    begun = time.monotonic()
    repeats = min(repeats, AT_MOST.get(kind, repeats))
    row = Row(kind, world.database.name, repeats)
    attempt = Trial(world, store, truth, kind, random.Random(f"{kind} {seed}"))
    try:
        for number in range(repeats):
            row.hits += FAULTS[kind](attempt)
            row.in_write += attempt.halves.are_new()
            print(
                f"{kind} {number + 1}/{repeats}",
                f"{time.monotonic() - begun:.0f} s",
                row.hits,
                row.in_write,
                flush=True,
            )
        attempt.finish(row)
    finally:
        attempt.feeder.stop()
    row.seconds = time.monotonic() - begun
    return row
