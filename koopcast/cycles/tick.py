"""A tick: from the archive, the inbox and a moment to the windows that are due, one after another."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from koopcast.assimilation.cycle import CycleState
from koopcast.cycles.archive import RESTART, START, Archive, Manifest, Removed, digest_of
from koopcast.cycles.chain import Chain, digest
from koopcast.cycles.inbox import Inbox
from koopcast.cycles.reports import Reason
from koopcast.cycles.work import Policy, Ticked, Why, Work, late_reports
from koopcast.errors import InvalidInput, StoreDamaged
from koopcast.stores.durable import remove

LOG = logging.getLogger("koopcast.cycles")
SAME = ("variable", "time", "delivered", "station")
"""Columns by which a late report is known again."""


class Ticker:
    """Decides what is due, and does it; the caller holds the lock of the archive.

    Args:
        chain: What analyses a window.
        inbox: Where reports come from.
        archive: Where windows go.
        policy: For what comes late.
    """

    def __init__(self, chain: Chain, inbox: Inbox, archive: Archive, policy: Policy) -> None:
        self._chain, self._inbox, self._archive, self._policy = chain, inbox, archive, policy
        self._clock, self._places = chain.clock, chain.places
        self._unknown: list[str] = []
        """Windows that stay as they are although their reports differ: some are known no more."""

    def now(self, moment: pd.Timestamp) -> pd.Timestamp:
        """Return the moment that counts: of a reanalysis, the end of the last window with reports; without
        any, one at which nothing is due.
        """
        if not self._policy.is_reanalysis:
            return moment
        windows = self._inbox.windows()
        end = self._clock.due_at(windows[-1] if windows else 0)
        return min(moment, end if windows else end - pd.Timedelta(1, "ns"))

    def scan(self) -> None:
        """Read what is new in the inbox."""
        removed, manifests = self._published()
        self._inbox.scan(removed.windows + len(manifests))

    def work(self, moment: pd.Timestamp, force: str | None = None) -> tuple[list[Work], int]:
        """Return the windows to analyse, oldest first, and how many due ones are left for later.

        Args:
            moment: Windows that are due by then count.
            force: Label of a window to analyse again, with those that follow from it.
        """
        removed, manifests = self._published()
        first, published = removed.windows, removed.windows + len(manifests)
        again = self._changed(removed, manifests)
        reasons = {} if again is None else {again[0]: again[1]}
        if force is not None:
            number = self._clock.number(force)
            if number < first:
                raise InvalidInput(
                    f"window {self._clock.name(number)} is no longer kept", "force one that the archive holds"
                )
            if number < published and (again is None or number < again[0]):
                reasons[number] = "forced"
        work = []
        if reasons:
            begin = min(reasons)
            self._demand_known(begin, removed, manifests)
            work = [
                Work(number, self._clock.name(number), reasons.get(number, "follows a changed window"))
                for number in range(begin, published)
            ]
        due = self._clock.due(published, self.now(moment))
        new = due[: self._policy.max_catchup]
        if force is not None and number >= published + len(new):
            raise InvalidInput(
                f"window {self._clock.name(number)} is not analysed yet, and not due", "force one that is"
            )
        work += [Work(number, self._clock.name(number), "due") for number in new]
        return work, len(due) - len(new)

    def _published(self) -> tuple[Removed, list[Manifest]]:
        """Return what was removed, and the manifests, one for each window from the first that is kept.

        Raises:
            StoreDamaged: A window between others is not there.
        """
        removed, manifests = self._archive.removed(), list(self._archive.manifests())
        for number, manifest in enumerate(manifests, start=removed.windows):
            if manifest.label != self._clock.name(number):
                raise StoreDamaged(
                    f"the archive has window {manifest.label} where {self._clock.name(number)} should be",
                    "restore the missing window from a backup, or remove those after it; where `start` or "
                    "`step` were changed, write them as they were, or choose another name for the cycle",
                )
        return removed, manifests

    def _changed(self, removed: Removed, manifests: list[Manifest]) -> tuple[int, Why] | None:
        """Return the first window that does not stand any more: its reports or its predecessor changed."""
        late, before = self._late(removed, manifests), removed.previous
        for number, manifest in enumerate(manifests, start=removed.windows):
            if number == late:
                return number, "late reports"
            if manifest.previous != before:
                return number, "follows a changed window"
            before = manifest.digest
        return None

    def _late(self, removed: Removed, manifests: list[Manifest]) -> int | None:
        """Return the first window whose reports changed, of those that late ones can still change."""
        self._unknown = []
        if self._policy.late != "rerun":
            return None
        first = None
        for place in range(max(0, len(manifests) - self._policy.max_rerun_windows), len(manifests)):
            number, manifest = removed.windows + place, manifests[place]
            if not self._knows(number, manifest):
                first = None  # those before it cannot change without it
                self._unknown.append(manifest.label)
            elif first is None and digest(self._reports(number)) != manifest.observations:
                first = number
        return first

    def _knows(self, number: int, manifest: Manifest) -> bool:
        """Return whether the reports that a window used are known, which they may not be where what was read
        of files was lost: another machine has a new inbox.
        """
        if number >= self._inbox.since:
            return True
        reports = self._reports(number)
        if digest(reports) == manifest.observations:
            return True
        feedback = self._archive.feedback(manifest)
        return set(_keys(feedback[feedback["used"]])) <= set(_keys(reports))

    def _demand_known(self, begin: int, removed: Removed, manifests: list[Manifest]) -> None:
        """Refuse to analyse windows again from reports that are not all known.

        Raises:
            InvalidInput: Some are not.
        """
        for number, manifest in enumerate(manifests, start=removed.windows):
            if number >= begin and not self._knows(number, manifest):
                raise InvalidInput(
                    f"window {self._clock.name(begin)} cannot be analysed again: reports that window "
                    f"{manifest.label} used are known no more, since what was read of files was lost",
                    "deliver them again",
                )

    def run(
        self,
        moment: pd.Timestamp,
        force: str | None = None,
        then: Callable[[Work, Manifest], None] = lambda work, manifest: None,
    ) -> Ticked:
        """Analyse what is due, oldest first, publishing each window before the next is begun.

        Args:
            moment: Windows that are due by then count.
            force: Label of a window to analyse again.
            then: Called after each window.

        Raises:
            Diverged: The message names the window; those before it are published.
            StoreNotWritable: The disk is full; no window is torn.
        """
        # Before anything is swept: data of a window whose manifest is missing would be.
        removed, manifests = self._published()
        self._archive.sweep()
        self._inbox.scan(removed.windows + len(manifests))
        work, remaining = self.work(moment, force)
        done: list[Manifest] = []
        warnings = [
            f"window {label} stays as it is: reports that it used are known no more, since what was read of "
            "files was lost; deliver them again, and it takes late ones too"
            for label in self._unknown
        ]
        for manifest in self._done(work, then):
            done.append(manifest)
            used = int(manifest.values["observations"].get("used", 0))
            if used < self._policy.min_observations:
                warnings.append(f"window {manifest.label}: {used} reports used")
        self._archive.tidy(self._policy.max_rerun_windows)
        outside = self._inbox.totals()
        del outside["in_windows"]
        held = {manifest.label: manifest for manifest in [*manifests, *done]}
        if late := late_reports(self._inbox.sizes(), list(held.values()), removed.windows):
            outside[Reason.LATE.name.lower()] = late
        return Ticked(done, remaining, self._inbox.waiting, self._inbox.faults(), warnings, outside)

    def _done(self, work: list[Work], then: Callable[[Work, Manifest], None]) -> Iterator[Manifest]:
        state, previous = None, START
        stands = False
        for item in work:
            if stands and item.why == "follows a changed window":
                # The window before came out as it was, and so does all that follows from it.
                continue
            if state is None:
                state, previous = self._state_before(item.number)
            former = self._digest(item.label)
            if former is not None:
                self._archive.reopen(item.number)
            manifest = self._analysed(item, state, previous)
            state, previous = self._chain.restored(self._archive.restart(manifest)), manifest.digest
            stands = former == manifest.digest
            if stands:
                state = None
            then(item, manifest)
            yield manifest

    def _state_before(self, number: int) -> tuple[CycleState, str]:
        """Return the state from which a window goes on, and the digest of the manifest of the one before.

        A state that was removed is computed anew from the nearest one before it.

        Raises:
            InvalidInput: There is none, or a window between does not come out as it was.
        """
        removed, label = self._archive.removed(), self._clock.name
        if number == 0:
            return self._chain.first(), START
        kept = range(removed.windows, number)
        nearest = next((other for other in reversed(kept) if not removed.lacks_restart(other)), None)
        if nearest is None and removed.windows > 0:
            raise InvalidInput(
                f"window {label(number)} cannot be analysed again: no state before it is kept",
                "force a later window",
            )
        begin = 0 if nearest is None else nearest + 1
        state = self._chain.first() if nearest is None else self._restored(nearest)
        for other in range(begin, number):
            after = self._recomputed(other, state)
            if after is None:
                raise InvalidInput(
                    f"window {label(number)} cannot be analysed again: the state before it was removed, and "
                    f"window {label(other)} does not come out as it was (other reports, options or model)",
                    f"force {label(begin)}, which goes on from the nearest state that is kept",
                )
            state = after
        return state, self._archive.manifest(label(number - 1)).digest

    def _restored(self, number: int) -> CycleState:
        manifest = self._archive.manifest(self._clock.name(number))
        return self._chain.restored(self._archive.restart(manifest))

    def _recomputed(self, number: int, state: CycleState) -> CycleState | None:
        """Return the state that a published window left; None where that is not what comes out."""
        folder = self._archive.scratch()
        self._chain.run(number, state, self._with_late(number, self._reports(number)), folder)
        known = self._archive.manifest(self._clock.name(number)).files[RESTART]
        after = self._chain.restored(folder) if digest_of(folder / RESTART) == known else None
        remove(folder)
        return after

    def _digest(self, label: str) -> str | None:
        return self._archive.manifest(label).digest if self._archive.holds(label) else None

    def _analysed(self, item: Work, state: CycleState, previous: str) -> Manifest:
        reports = self._reports(item.number)
        folder = self._archive.scratch()
        values, fields = self._chain.run(item.number, state, self._with_late(item.number, reports), folder)
        if values["source"] == "forecast":
            LOG.warning("window %s: nothing was observed; the forecast is carried on", item.label)
        return self._archive.publish(item.label, folder, {"previous": previous, **values}, fields)

    def _reports(self, number: int) -> pd.DataFrame:
        return self._places.place(self._inbox.reports(number))

    def _with_late(self, number: int, reports: pd.DataFrame) -> pd.DataFrame:
        """Return the reports of a window with those that came too late for the windows before it."""
        if self._policy.late != "next" or number == 0:
            return reports
        first = max(self._archive.removed().windows, number - self._policy.max_rerun_windows)
        earlier = range(first, number)
        seen = {key for other in earlier for key in _keys(self._feedback(other))}
        late = [reports]
        for other in earlier:
            candidates = self._reports(other)
            fresh = np.array([key not in seen for key in _keys(candidates)], dtype=bool)
            fresh &= (candidates["reason"] == Reason.USED).to_numpy()
            late.append(candidates[fresh])
        return pd.concat(late, ignore_index=True)

    def _feedback(self, number: int) -> pd.DataFrame:
        manifest = self._archive.manifest(self._clock.name(number))
        return self._archive.feedback(manifest)


def _keys(reports: pd.DataFrame) -> list[tuple[object, ...]]:
    cells = reports["cell"].to_numpy()
    return list(zip(*(reports[name].to_numpy().tolist() for name in SAME), cells.tolist(), strict=True))
