"""Faults around a command: it is killed, files are half written, the disk fills up, the clock jumps."""

import gzip
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import xarray as xr

from koopcast.cycles.archive import Archive
from tests.faults.disk import Disk, shim, why_no_clock, why_no_disk
from tests.faults.twin import RING, Halves, Row, Twin, judge, now, truth_of
from tests.faults.world import ROOT

HOUR = 3600
WRITER = """
import sys, time
content = sys.stdin.buffer.read(int(sys.argv[2]))
with open(sys.argv[1], "wb") as file:
    file.write(content)
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""
"""Writes so many bytes of a file, and goes on writing for ever."""


class Desk:
    """A cycle of hourly windows that a command analyses; its present is told to it.

    Args:
        folder: For all files.
        kind: Of fault.
        chance: Random moments.
    """

    def __init__(self, folder: Path, kind: str, chance: random.Random) -> None:
        self.chance, self.folder = chance, folder / kind
        self.folder.mkdir(parents=True)
        self.disk = Disk(self.folder / "disk")
        if kind == "disk":
            self.disk.mount()
        store = self.disk.place / "store" if kind == "disk" else self.folder / "store"
        (self.folder / "ring.yaml").write_text(RING)
        self.koopcast("run", str(self.folder / "ring.yaml"), "--engine", "inline", "--store", str(store))
        start = now().floor("h") - pd.Timedelta(hours=500)
        self.twin = Twin(self.folder, store, kind, truth_of(store), start, step=HOUR, cutoff=0)
        self.halves = Halves(self.twin.archive)
        self.over = 0
        """Windows that are over."""

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def koopcast(self, *arguments: str) -> None:
        """Run a command that has to succeed."""
        subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments], check=True, env=self.environment(), cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip

    def moment(self) -> pd.Timestamp:
        """Return the present of this cycle: the end of the last window that is over."""
        return self.twin.clock.label(self.over - 1)

    def start(self, *arguments: str, more: Mapping[str, str] = {}) -> subprocess.Popen[str]:
        """Start a tick."""
        command = ["cycle", str(self.twin.file), "--store", str(self.twin.store), *arguments]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *command], env=self.environment() | dict(more), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def tick(self) -> subprocess.Popen[str]:
        """Start a tick at the present."""
        return self.start("--until", f"{self.moment():%Y-%m-%dT%H:%M}")

    def advance(self, most: int = 8) -> range:
        """Let some windows pass, and return them."""
        begin = self.over
        self.over += self.chance.randint(2, most)
        return range(begin, self.over)

    def hesitate(self, process: subprocess.Popen[str]) -> None:
        """Wait for a random moment of a tick: any, or one in which it writes a window."""
        self.halves = Halves(self.twin.archive)
        if self.chance.random() < 0.3:
            time.sleep(self.chance.uniform(0, 6))
            return
        while process.poll() is None and not self.halves.are_new():
            time.sleep(0.001)
        time.sleep(self.chance.uniform(0, 0.5))

    def finish(self, row: Row) -> None:
        """Tick once more, and compare with a chain that was not disturbed."""
        delivered, self.over = self.over, max(self.over, len(self.twin.archive.labels()))
        if self.over > delivered:
            # A clock that was ahead made windows whose reports were yet to come: here they are.
            self.twin.deliver(range(delivered, self.over), f"{delivered:05}.csv")
        until = f"{self.moment():%Y-%m-%dT%H:%M}"
        for name in (self.twin.name, f"{self.twin.name}-unbroken"):
            options = ["--set", f"name={name}", "--until", until, "--store", str(self.twin.store)]
            self.koopcast("cycle", str(self.twin.file), *options)
        judge(row, self.twin, self.over, Archive(self.twin.store / "cycles" / f"{self.twin.name}-unbroken"))


def kill_command(desk: Desk, row: Row) -> bool:
    """Kill the command."""
    windows = desk.advance()
    desk.twin.deliver(windows, f"{windows.start:05}.csv")
    process = desk.tick()
    desk.hesitate(process)
    was_alive = process.poll() is None
    process.kill()
    process.communicate()
    row.in_write += desk.halves.are_new()
    return was_alive


def write_half(desk: Desk, row: Row) -> bool:
    """Kill the writer of a file after some of its bytes, tick (some are killed), and deliver it whole."""
    windows = desk.advance()
    draft = FORMATS[desk.chance.choice(list(FORMATS))](desk, windows)
    content, place = draft.read_bytes(), desk.twin.inbox / draft.name
    size = 0 if desk.chance.random() < 0.15 else desk.chance.randint(1, len(content) - 1)
    writer = subprocess.Popen(
        [sys.executable, "-S", "-c", WRITER, str(place), str(size)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(content[:size])
    writer.stdin.close()
    assert writer.stdout.readline() == b"written\n"
    was_alive = writer.poll() is None
    writer.kill()
    writer.wait()
    writer.stdout.close()
    process = desk.tick()
    if desk.chance.random() < 0.4:
        desk.hesitate(process)
        process.kill()
        row.in_write += desk.halves.are_new()
    told, _ = process.communicate(timeout=300)
    row.note += "traceback " if "Traceback" in told else ""
    shutil.copyfile(draft, place)
    return was_alive


def fill_disk(desk: Desk, row: Row) -> bool:
    """Fill the disk at some moment of a tick, and free it again."""
    windows = desk.advance()
    desk.twin.deliver(windows, f"{windows.start:05}.csv")
    if desk.chance.random() < 0.5:
        desk.disk.fill(desk.chance.randint(0, 300_000))
        process = desk.tick()
    else:
        process = desk.tick()
        desk.hesitate(process)
        desk.disk.fill(desk.chance.randint(0, 20_000))
    told, _ = process.communicate(timeout=300)
    row.in_write += desk.halves.are_new()
    desk.disk.free()
    row.torn += len(desk.twin.archive.faults())
    row.note += "traceback " if "Traceback" in told else ""
    if "Traceback" in told:
        print(told[-3000:])
    return process.returncode == 1


def jump(desk: Desk, row: Row) -> bool:
    """Tick with a clock that is hours ahead or behind."""
    windows = desk.advance(4)
    desk.twin.deliver(windows, f"{windows.start:05}.csv")
    true = int((desk.moment() - now()).total_seconds())
    wrong = true + desk.chance.choice([-1, 1]) * desk.chance.randint(1, 12) * HOUR
    clock = {"LD_PRELOAD": str(shim(desk.folder)), "CLOCK_SHIFT": str(wrong)}
    process = desk.start(more=clock)
    told, _ = process.communicate(timeout=300)
    row.note += "traceback " if "Traceback" in told else ""
    return process.returncode == 0


def _csv(desk: Desk, windows: range) -> Path:
    path = desk.folder / f"{windows.start:05}.csv"
    desk.twin.reports(windows).to_csv(path, index=False)
    return path


def _gzip(desk: Desk, windows: range) -> Path:
    path = desk.folder / f"{windows.start:05}.csv.gz"
    path.write_bytes(gzip.compress(desk.twin.reports(windows).to_csv(index=False).encode()))
    return path


def _parquet(desk: Desk, windows: range) -> Path:
    path = desk.folder / f"{windows.start:05}.parquet"
    desk.twin.reports(windows).to_parquet(path, index=False)
    return path


def _netcdf(desk: Desk, windows: range) -> Path:
    path = desk.folder / f"{windows.start:05}.nc"
    table = desk.twin.reports(windows).reset_index(drop=True).rename_axis("report")
    xr.Dataset.from_dataframe(table).to_netcdf(path, engine="netcdf4")
    return path


FORMATS: dict[str, Callable[[Desk, range], Path]] = {
    "csv": _csv, "gzip": _gzip, "parquet": _parquet, "netcdf": _netcdf,
}  # fmt: skip
FAULTS: dict[str, Callable[[Desk, Row], bool]] = {
    "command": kill_command,
    "file": write_half,
    "disk": fill_disk,
    "clock": jump,
}
WHY_NOT: dict[str, Callable[[], str | None]] = {"disk": why_no_disk, "clock": why_no_clock}
"""Kind -> why it cannot happen on this machine."""


def trial(folder: Path, kind: str, repeats: int, seed: int) -> Row:
    """Let one kind of fault happen again and again, and return what became of the archive."""
    begun = time.monotonic()
    row = Row(kind, "none", repeats)
    desk = Desk(folder, kind, random.Random(f"{kind} {seed}"))
    try:
        for number in range(repeats):
            row.hits += FAULTS[kind](desk, row)
            row.progress(number, time.monotonic() - begun)
        desk.finish(row)
    finally:
        if kind == "disk":
            desk.disk.unmount()
    row.seconds = time.monotonic() - begun
    return row
