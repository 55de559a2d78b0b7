"""What an archive lets go: old windows, states from which nothing goes on, and what dead writers left."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from koopcast.cycles.archive.keeping import Keeping
from koopcast.cycles.archive.manifest import FIELDS, RESTART, Manifest
from koopcast.cycles.archive.months import Months, month_of
from koopcast.cycles.archive.place import MONTHS, WINDOWS, Place
from koopcast.cycles.archive.removed import REMOVED, read_removed
from koopcast.cycles.clock import LABEL, later, negative
from koopcast.errors import StoreDamaged

MONTH_DATA = re.compile(r"\d{4}-\d{2}-")
"""Folders of data that are of months."""


class Retention:
    """Removes from an archive; the caller holds the lock. What goes is on record before it goes.

    Args:
        place: Of the archive.
        months: Of the archive.
        keeping: What is kept.
    """

    def __init__(self, place: Place, months: Months, keeping: Keeping) -> None:
        self._place, self._months, self._keeping = place, months, keeping

    def sweep(self, manifests: Iterable[Manifest]) -> list[str]:
        """Remove what dead writers left, and data that no manifest names.

        Args:
            manifests: Of all windows that are kept.

        Raises:
            StoreDamaged: The manifest of a month is missing that holds the only fields of its windows.
        """
        first = read_removed(self._place.root).first
        for label in self._place.names(WINDOWS):
            if label < first:
                self._place.unpublish(f"{WINDOWS}/{label}.json")
        for name in self._place.names(MONTHS):
            if name < month_of(first):
                self._place.unpublish(f"{MONTHS}/{name}.json")
        held, months = list(manifests), self._months.read()
        named = {manifest.data for manifest in held} | {month.data for month in months.values()}
        nameless = {folder[:7] for folder in self._place.strangers(named) if MONTH_DATA.match(folder)}
        for manifest in held:
            name = month_of(manifest.label)
            if name in nameless - months.keys() and not self._place.has(manifest, FIELDS):
                raise StoreDamaged(
                    f"'{self._place.uri}/{MONTHS}/{name}.json' is missing: it names the data where the "
                    f"fields of window {manifest.label} lie",
                    "restore it from a backup",
                )
        return self._place.sweep(named, first)

    def reopen(self, number: int) -> None:
        """Note that windows from `number` on are analysed again, whatever was cleared of them before."""
        removed = read_removed(self._place.root)
        if number < removed.cleared:
            self._place.write_json(REMOVED, replace(removed, cleared=number).values())

    def tidy(self, manifests: Sequence[Manifest], changeable: int) -> None:
        """Drop, thin out and bring together as the options say.

        Args:
            manifests: Of all windows, in the order of time.
            changeable: Last windows that late reports can still change.
        """
        if not manifests:
            return
        manifests = manifests[self._drop(manifests, changeable) :]
        self._thin_out(manifests, changeable)
        if self._keeping.compact == "month" and self._keeping.form == "windows":
            settled = manifests[: max(0, len(manifests) - changeable)]
            growing = {month_of(one.label) for one in (*manifests[len(settled) :], manifests[-1])}
            self._months.bring_together([one for one in settled if month_of(one.label) not in growing])
        self._place.remember()

    def _drop(self, manifests: Sequence[Manifest], changeable: int) -> int:
        """Drop whole months of windows that are too old, and return how many windows those were."""
        if self._keeping.keep is None:
            return 0
        oldest = later(pd.to_datetime(manifests[-1].label, format=LABEL), negative(self._keeping.keep))
        needed = manifests[max(0, len(manifests) - changeable - 1)].label
        limit = min(month_of(oldest.strftime(LABEL)), month_of(needed))
        count = sum(month_of(one.label) < limit for one in manifests)
        if count:
            removed = read_removed(self._place.root)
            record = replace(
                removed,
                windows=removed.windows + count,
                first=manifests[count].label,
                previous=manifests[count - 1].digest,
            )
            self._place.write_json(REMOVED, record.values())
            self.sweep(manifests[count:])
        return count

    def _thin_out(self, manifests: Sequence[Manifest], changeable: int) -> None:
        """Remove the states of windows from which nothing goes on, but for every n-th."""
        record, keeping = read_removed(self._place.root), self._keeping
        stop = record.windows + len(manifests) - max(keeping.restart_keep, changeable + 2)
        if keeping.restart_every > 1 and stop > 0:
            record = record.thinned(keeping.restart_every, stop)
        if record.cleared >= record.stop:
            return
        self._place.write_json(REMOVED, record.values())
        numbered = enumerate(manifests, start=record.windows)
        gone = [one for number, one in numbered if number >= record.cleared and record.lacks_restart(number)]
        self._place.take_out(gone, RESTART, everywhere=True)
        self._place.write_json(REMOVED, replace(record, cleared=record.stop).values())
