"""Fields of completed months, brought together: one store a month opens faster than one a window.

    <root>/months/<month>.json      which windows, by the digests of their manifests; the digests of its files
    <root>/data/<month>-<digest>/   the fields of all of them along `time`

A window whose manifest is the one that the month names has its fields there; one that was analysed again has
its own, until the month is brought together anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import dask.array as da
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from koopcast.cycles.archive.content import TIME, Arrays, arrays_digest, arrays_of, read_arrays, timed
from koopcast.cycles.archive.manifest import FIELDS, Manifest
from koopcast.cycles.archive.place import MONTHS, Place, data_name, digests_below
from koopcast.cycles.archive.records import MonthRecord, demand
from koopcast.cycles.clock import LABEL
from koopcast.errors import StoreDamaged
from koopcast.stores.arrays import open_fields, write_fields
from koopcast.stores.files import read_json


@dataclass(frozen=True)
class Month:
    """A month that was brought together."""

    name: str
    windows: Mapping[str, str]
    """Label -> digest of the manifest, in the order of time."""
    data: str
    files: Mapping[str, str]
    is_cleared: bool
    """Whether the windows' own fields are removed."""

    def holds(self, manifest: Manifest) -> bool:
        """Return whether the fields of a window lie here, as it is published."""
        return self.windows.get(manifest.label) == manifest.digest


def month_of(label: str) -> str:
    """Return the calendar month of a label: 2009-10."""
    return f"{label[:4]}-{label[4:6]}"


class Months:
    """The months of an archive.

    Args:
        place: Of the archive.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._opened: dict[str, xr.Dataset] = {}

    def read(self) -> dict[str, Month]:
        """Return the months by name.

        Raises:
            StoreDamaged: One cannot be read.
        """
        return {name: self._read(name) for name in self._place.names(MONTHS)}

    def find(self, name: str) -> Month | None:
        """Return a month; None where it is not brought together."""
        return self._read(name) if (self._place.root / MONTHS / f"{name}.json").is_file() else None

    def _read(self, name: str) -> Month:
        path, remedy = self._place.root / MONTHS / f"{name}.json", "restore it from a backup"
        try:
            values = read_json(path)
        except StoreDamaged as error:
            raise StoreDamaged(error.message, remedy) from error
        held = demand(MonthRecord, values, path, remedy)
        return Month(name, held.windows, held.data, held.files, held.is_cleared)

    def open(self, month: Month) -> xr.Dataset:
        """Return the fields of a month, lazily."""
        if month.data not in self._opened:
            path = self._place.data(month.data, month.files, [FIELDS]) / FIELDS
            self._opened[month.data] = open_fields(path)
        return self._opened[month.data]

    def bring_together(self, settled: Sequence[Manifest]) -> None:
        """Bring the fields of whole months together; the caller holds the lock.

        A month whose windows hold other fields than one another, since options changed within it, stays
        apart.

        Args:
            settled: Windows of complete months that no late report can change, in the order of time.
        """
        known = self.read()
        for name, windows in groupby(settled, key=lambda manifest: month_of(manifest.label)):
            manifests, month = list(windows), known.get(name)
            named = {manifest.label: manifest.digest for manifest in manifests}
            if len(named) > 1 and (month is None or month.windows != named):
                month = self._publish(name, manifests, month)
            if month is not None:
                self._clear(month, [one for one in manifests if month.holds(one)])

    def _publish(self, name: str, manifests: list[Manifest], former: Month | None) -> Month | None:
        """Bring a month together and return it; the former one where windows are not alike."""
        first = self.window(manifests[0], former)
        if any(_form(one, first) != _form(manifests[0], first) for one in manifests):
            return former
        folder = self._place.scratch()
        write_fields(folder / FIELDS, self._together(first, manifests, former))
        digests = digests_below(folder)
        data = data_name(name, digests)
        self._place.bring_in(data, folder, digests)
        windows = {manifest.label: manifest.digest for manifest in manifests}
        month = Month(name, windows, data, digests, is_cleared=False)
        self._write(month, is_cleared=False)
        return month

    def _write(self, month: Month, *, is_cleared: bool) -> None:
        values = {
            "month": month.name, "windows": month.windows, "is_cleared": is_cleared,
            "data": month.data, "files": month.files,
        }  # fmt: skip
        self._place.write_json(f"{MONTHS}/{month.name}.json", values)

    def _clear(self, month: Month, manifests: list[Manifest]) -> None:
        """Remove the windows' own fields; those of a working copy may be there again."""
        self._place.take_out(manifests, FIELDS, everywhere=not month.is_cleared)
        if not month.is_cleared:
            self._write(month, is_cleared=True)

    def _together(self, first: xr.Dataset, manifests: list[Manifest], former: Month | None) -> xr.Dataset:
        """Return the fields along `time`; each window is read when its values are stored."""
        times = pd.to_datetime([one.label for one in manifests], format=LABEL).to_numpy("datetime64[ns]")
        read = [delayed(partial(self._checked, one, former), traverse=False)() for one in manifests]
        whole = {}
        for name, field in first.data_vars.items():
            shape = field.shape[1:]
            slices = [da.from_delayed(one[str(name)][1], shape, field.dtype)[None] for one in read]
            whole[name] = (field.dims, da.concatenate(slices), field.attrs)
        coords = {name: coord for name, coord in first.coords.items() if name != TIME}
        return xr.Dataset(whole, {**coords, TIME: (TIME, times, first[TIME].attrs)}, first.attrs)

    def window(self, manifest: Manifest, month: Month | None) -> xr.Dataset:
        """Return the fields of a window, lazily, from its month or its own."""
        if month is not None and month.holds(manifest):
            place = list(month.windows).index(manifest.label)
            return self.open(month).isel({TIME: [place]})
        return timed(open_fields(self._place.data(manifest.data, manifest.files, [FIELDS]) / FIELDS))

    def _checked(self, manifest: Manifest, former: Month | None) -> Arrays:
        """Return the arrays of a window, which are what was published."""
        if former is not None and former.holds(manifest):
            arrays = arrays_of(self.window(manifest, former))
        else:
            arrays = self._own(manifest)
        if arrays_digest(arrays) != manifest.values["fields"]:
            raise _altered(manifest)
        return arrays

    def _own(self, manifest: Manifest) -> Arrays:
        """Return the arrays that lie with a window; a working copy that is altered is fetched again."""
        data, files = manifest.data, manifest.files
        path = self._place.data(data, files, [FIELDS]) / FIELDS
        if not self._place.is_whole(data, files, FIELDS) and not self._place.renewed(data, files, FIELDS):
            raise _altered(manifest)
        return read_arrays(path)


def _altered(manifest: Manifest) -> StoreDamaged:
    return StoreDamaged(f"the fields of window {manifest.label} are altered", "restore them from a backup")


def _form(manifest: Manifest, first: xr.Dataset) -> dict[str, str]:
    """Return what two windows whose fields lie in one store have in common: the digests of all that is said
    of arrays, and of the coordinates.

    Args:
        manifest: Of a window.
        first: Fields of one of the windows.
    """
    places = {name: name.split("/") for name in manifest.files if name.startswith(f"{FIELDS}/")}
    return {
        name: manifest.files[name]
        for name, (_, array, *rest) in places.items()
        if rest and array != TIME and (rest == ["zarr.json"] or array not in first.data_vars)
    }
