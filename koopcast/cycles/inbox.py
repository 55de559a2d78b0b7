"""The inbox of a cycle: files that come late, twice, half written or out of order, read once each."""

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int
from pydantic import TypeAdapter

from koopcast.cycles.archive.records import Count
from koopcast.cycles.clock import NOWHERE, Clock
from koopcast.cycles.delivery import NEVER_READ, Delivery, content_of, state_of
from koopcast.cycles.feed import TableInboxSpec
from koopcast.cycles.readers import read_delivery
from koopcast.cycles.reports import Reason, counts, deduplicate, reject
from koopcast.errors import KoopcastError, StoreDamaged
from koopcast.grids import FieldsInfo
from koopcast.sources.paths import demand_inside, matches
from koopcast.stores.durable import sync, temporary_sibling, write_whole

FORMAT = 2
"""Of what is kept of files that were read."""
_DELIVERIES = TypeAdapter(list[Delivery])
_WINDOW: TypeAdapter[int] = TypeAdapter(Count)


class Inbox:
    """Reads the files of a cycle once each, and keeps their reports by window.

    Args:
        spec: Options.
        fields: The grid.
        clock: The windows.
        folder: Where what was read is kept.
    """

    def __init__(self, spec: TableInboxSpec, fields: FieldsInfo, clock: Clock, folder: Path) -> None:
        self._spec, self._clock, self._folder = spec, clock, folder
        self._layout, self._fields = spec.layout(fields), fields
        self._ledger = folder / "ledger.json"
        self._windows = f"{clock.start} {clock.step} {clock.begin} {clock.length} {clock.closed}"
        options = f"{FORMAT} {spec.model_dump_json()} {self._windows}"
        self._key = hashlib.sha256(options.encode()).hexdigest()[:16]
        self._head = {"format": FORMAT, "axes": list(self._layout.axes), "variables": dict(fields.variables)}
        self.deliveries: dict[str, Delivery] = {}
        """Path -> what is known of the file, as of the last scan."""
        self.since = 0
        """Windows before this one were published when what had been read was lost: their reports may be known
        no more."""
        self.waiting: list[str] = []
        """Files that are too young to be read."""

    def scan(self, published: int = 0) -> None:
        """Read the files that are new or have changed; the caller holds the lock of the archive.

        What was read stays where its file is gone, or cannot be read any more, also what was read by other
        options: tidying up an inbox changes no window.

        Args:
            published: Windows that the archive holds, or held.
        """
        # What another process read, while this one waited for the lock, may have left the inbox since.
        self.deliveries, since = self._read_ledger()
        self.since = published if since is None else since
        self._folder.mkdir(parents=True, exist_ok=True)
        found = {path: replace(known, fault="") for path, known in self.deliveries.items() if known.digest}
        self.waiting = []
        for path in self._files():
            known = self.deliveries.get(str(path), Delivery(str(path), NEVER_READ, 0, "", self._key))
            try:
                state = state_of(path)
            except OSError as error:
                # What is gone is no fault, but for a link that leads nowhere.
                if not isinstance(error, FileNotFoundError) or path.is_symlink():
                    found[str(path)] = replace(known, fault=_told(error))
                continue
            if (known.bytes, known.modified) == state:
                found[str(path)] = known
            elif abs(time.time() - state[1] * 1e-9) < self._spec.settle:
                # A file from the future, by a clock that was set back, is not waited for.
                self.waiting.append(str(path))
            elif (delivery := self._read(path, state)) is not None:
                found[str(path)] = delivery.after(known)
            else:
                self.waiting.append(str(path))
        present = {delivery.digest for delivery in found.values() if delivery.key == self._key}
        found = {
            path: delivery
            for path, delivery in found.items()
            if delivery.key == self._key or delivery.digest not in present
        }
        if found != self.deliveries or self.since != since:
            self.deliveries = found
            entries = [asdict(delivery) for delivery in found.values()]
            ledger = {**self._head, "windows": self._windows, "since": self.since, "files": entries}
            write_whole(self._ledger, json.dumps(ledger, indent=1))

    def reports(self, number: int) -> pd.DataFrame:
        """Return the reports of a window, sorted, each in a class; the same whatever the order of arrival."""
        parts = [
            self._kept(delivery, number) for delivery in self._readable() if str(number) in delivery.windows
        ]
        if not parts:
            return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in self._columns().items()})
        whole = pd.concat(parts, ignore_index=True).drop(columns="window")
        return deduplicate(whole, self._layout.axes, self._spec.duplicates)

    def _kept(self, delivery: Delivery, number: int) -> pd.DataFrame:
        path = self._cache(delivery)
        begin, end = self._clock.bounds(number)
        after, until = (">=", "<") if self._clock.closed == "left" else (">", "<=")
        try:
            reports = pd.read_parquet(path, filters=[("time", after, begin), ("time", until, end)])
        except (OSError, ValueError) as error:
            raise StoreDamaged(
                f"'{path}' cannot be read ({str(error)[:200]})",
                f"restore it from a backup; or remove it, and the next tick reads '{delivery.path}' again",
            ) from error
        known = reports["variable"].isin(list(self._layout.variables)).to_numpy()
        reject(reports, Reason.UNKNOWN_VARIABLE, ~known)
        return reports

    def windows(self) -> list[int]:
        """Return the windows that have reports."""
        return sorted(self.sizes())

    def sizes(self) -> dict[int, int]:
        """Return window -> reports that were delivered for it."""
        result: dict[int, int] = {}
        for delivery in self.deliveries.values():
            for number, count in delivery.windows.items():
                result[int(number)] = result.get(int(number), 0) + count
        return result

    def totals(self) -> dict[str, int]:
        """Return the reports of all files by class as far as no window saw them: `in_windows` for the
        others.
        """
        result = {"in_windows": sum(self.sizes().values())}
        for delivery in self.deliveries.values():
            for name, count in delivery.rejected.items():
                result[name] = result.get(name, 0) + count
        return result

    def faults(self) -> dict[str, str]:
        """Return the files of which nothing could be read, and why."""
        return {delivery.path: delivery.fault for delivery in self.deliveries.values() if delivery.fault}

    def _readable(self) -> list[Delivery]:
        """Return what could be read; a file that came twice is there twice, its reports as duplicates."""
        return [self.deliveries[path] for path in sorted(self.deliveries) if self.deliveries[path].digest]

    def _files(self) -> list[Path]:
        patterns = [self._spec.path] if isinstance(self._spec.path, str) else self._spec.path
        found: dict[Path, None] = {}
        for pattern in patterns:
            found.update(dict.fromkeys(matches(pattern)))
        return [path for path in found if not path.name.startswith(".")]

    def _read(self, path: Path, state: tuple[int, int]) -> Delivery | None:
        """Return what a file brings; None for one that is gone, or changes while it is read."""
        blank = Delivery(path=str(path), bytes=state[0], modified=state[1], digest="", key=self._key)
        try:
            digest = content_of(path)
            delivery, reports = self._delivery(path, replace(blank, digest=digest))
            if state_of(path) != state:
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            return replace(blank, bytes=0, modified=0, fault=_told(error))
        if not delivery.fault:
            # A disk that is full is no fault of the file: without its reports no window may be analysed.
            self._keep(reports, self._cache(delivery))
        return delivery

    def _delivery(self, path: Path, blank: Delivery) -> tuple[Delivery, pd.DataFrame]:
        """Return what a file brings, and its reports of some window."""
        try:
            table, lost = read_delivery(demand_inside(path), self._layout)
            reports = self._layout.reports(table)
        except KoopcastError as error:
            return replace(blank, fault=str(error)), pd.DataFrame()
        except Exception as error:
            # A reader of a foreign format may raise anything; one bad file must not stop the cycle.
            return replace(blank, fault=_told(error)), pd.DataFrame()
        self._spec.judge(reports)
        window = self._clock.numbers(reports["time"].to_numpy().astype("datetime64[ns]"))
        reject(reports, Reason.NO_WINDOW, window == NOWHERE)
        reports["window"] = window
        inside = reports[window != NOWHERE]
        delivery = replace(
            blank,
            rows=len(reports) + sum(lost.values()),
            rejected=counts(reports["reason"].to_numpy()[window == NOWHERE]) | lost,
            windows=_sizes(window),
        )
        return delivery, inside

    def _counted(self, delivery: Delivery) -> Delivery:
        """Return what is known of a file that was read for other windows: its reports by those of now."""
        if not delivery.digest:
            return delivery
        times = pd.read_parquet(self._cache(delivery), columns=["time"])["time"].to_numpy()
        windows = _sizes(self._clock.numbers(times.astype("datetime64[ns]")))
        nowhere = Reason.NO_WINDOW.name.lower()
        others = {name: count for name, count in delivery.rejected.items() if name != nowhere}
        rest = delivery.rows - sum(windows.values()) - sum(others.values())
        return replace(delivery, windows=windows, rejected={**others, nowhere: rest} if rest else others)

    def _keep(self, reports: pd.DataFrame, path: Path) -> None:
        if path.exists():
            return
        temporary = temporary_sibling(path)
        reports.sort_values("window", kind="stable").to_parquet(temporary, index=False, compression="zstd")
        sync(temporary)
        temporary.replace(path)

    def _cache(self, delivery: Delivery) -> Path:
        return self._folder / f"{delivery.key}-{delivery.digest}.parquet"

    def _columns(self) -> dict[str, str]:
        numbers = dict.fromkeys((*self._layout.axes, "height", "value", "error"), "float64")
        texts = dict.fromkeys(("variable", "station", "qc"), "str")
        return {
            "time": "datetime64[ns]",
            **numbers,
            **texts,
            "received_at": "datetime64[ns]",
            "reason": "int8",
        }

    def _read_ledger(self) -> tuple[dict[str, Delivery], int | None]:
        """Return what was read before, what was read by other options as what is to be read again; and the
        window since which nothing of it was lost, None where something is.

        A ledger that is damaged, or of a model with other axes or variables, is made again.
        """
        try:
            held = json.loads(self._ledger.read_text(encoding="utf-8"))
            if any(held.get(name, value) != value for name, value in self._head.items()):
                return {}, None
            since = _WINDOW.validate_python(held.get("since", 0), strict=True)
            # Earlier versions wrote one key for all files.
            found = _DELIVERIES.validate_python([{"key": held.get("key"), **item} for item in held["files"]])
            there = [item for item in found if not item.digest or self._cache(item).exists()]
            if held.get("windows", self._windows) != self._windows:
                there = [self._counted(item) for item in there]
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return {}, None
        known = {
            item.path: item if item.key == self._key else replace(item, bytes=NEVER_READ) for item in there
        }
        return known, since if len(there) == len(found) else None


def _sizes(window: Int[np.ndarray, " report"]) -> dict[str, int]:
    """Return window -> reports, of those that are of one."""
    numbers, sizes = np.unique(window[window != NOWHERE], return_counts=True)
    return {str(number): int(size) for number, size in zip(numbers, sizes, strict=True)}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
