"""Fields of a dataset from which the windows of a cycle start."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from koopcast.cycles.clock import Clock
from koopcast.errors import InvalidInput
from koopcast.fields import FieldData
from koopcast.times import components, parse_duration


@dataclass(frozen=True)
class Given:
    """Windows start around the fields that a dataset holds for the beginning of their step, where it does.

    Records with dates are found by them, those that are whole months apart by year and month. Records in
    model time follow one another from where the first window starts. Of several samples, the first counts.
    """

    fields: FieldData
    clock: Clock
    records: int
    """Of the model, in one step of the cycle."""
    history: int = 1
    """Consecutive records that make one state of the model."""

    def record(self, number: int) -> int | None:
        """Return the record, counted in the whole dataset, from which a window starts; None without one."""
        first, last = self.fields.view.times
        if self.fields.info.time.calendar is None:
            found: int | None = first + number * self.records
        else:
            moment = self.clock.label(number - 1)
            found = self._by_date.get(self._date(moment))
        return found if found is not None and first + self.history - 1 <= found < last else None

    def demand_start(self) -> None:
        """Refuse a dataset without the fields from which the first window starts.

        Raises:
            InvalidInput: It is one.
        """
        if self.record(0) is None:
            moment = self.clock.label(-1)
            times = self.fields.times().values
            raise InvalidInput(
                f"the first window starts at {moment}, for which the first guess has no "
                f"{'fields' if self.history == 1 else f'{self.history} consecutive records'} "
                f"(it has {times[0]} to {times[-1]})",
                "change `cycle: {start: ...}`, or name another dataset",
            )

    @cached_property
    def _by_date(self) -> dict[tuple[int, ...], int]:
        rows = components(self.fields.times().values)[:, : self._precision].tolist()
        return {tuple(row): record for record, row in enumerate(rows, self.fields.view.times[0])}

    def _date(self, moment: pd.Timestamp) -> tuple[int, ...]:
        parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
        return parts[: self._precision]

    @property
    def _precision(self) -> int:
        step = self.fields.info.time.step
        return 2 if isinstance(step, str) and step and parse_duration(step).months else 6
