"""Energy over wavenumber, of the forecast beside the truth."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.fft
import xarray as xr
from jaxtyping import Bool, Float

from koopcast.errors import EmptySelection
from koopcast.grids import Axis, FieldsInfo
from koopcast.metrics.averages import finite, verified
from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.spec import Problem

SHORTEST = 8
"""Cells below which a spectrum says nothing."""


class EnergySpectrumSpec(MetricSpec):
    """Distance in decibels between the energy spectra of forecast and truth.

    Where all of several space axes are periodic the spectrum is isotropic: energy gathered in rings of |k|.
    Else it runs along one axis and is averaged over the others. A periodic axis is transformed by FFT, a
    closed one by the cosine transform, which needs no period. Of masked fields only the largest gap-free
    block is used: the stretch of the axis, and the rows that hold data all along it, with most cells; it
    counts as closed. Members of an ensemble are transformed one by one: their mean is too smooth.
    """

    kind: Literal["energy_spectrum"] = "energy_spectrum"
    axis: str | None = None
    """Axis along which to transform; default: isotropic where all axes are periodic, else the last."""
    floor: float = 1e-8
    """Energies below this share of the truth's largest are raised to it, so that round-off is not
    compared."""

    is_local = False
    reference = "Durran et al. 2017; cosine transform: Denis et al. 2002"

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what is wrong with the axis."""
        names = [axis.name for axis in fields.axes]
        if self.axis is not None and self.axis not in names:
            yield Problem(("axis",), f"unknown axis '{self.axis}'; the fields have {', '.join(names)}")
            return
        axis = next((axis for axis in fields.axes if axis.name == self.axis), fields.axes[-1])
        if axis.size < SHORTEST:
            yield Problem(
                (), f"axis '{axis.name}' has {axis.size} cells, a spectrum needs {SHORTEST}; drop this metric"
            )
        if axis.geometry == "index" and not axis.periodic:
            yield Problem((), f"the cells of axis '{axis.name}' have no order in space; drop this metric")

    def score(self, pair: Verification) -> Score:
        """Return √⟨(10 log₁₀ E_f(k) / E_t(k))²⟩ over the wavenumbers k > 0."""
        verified(pair)
        axes = self._axes(pair)
        leads = pair.truth["lead"]
        subject = pair.forecast if pair.members is None else pair.members
        valid = _always_valid(pair)
        spectra = []
        for lead in leads.values:
            truth = _cases(pair.truth.sel(lead=lead), pair.space)
            known = np.isfinite(truth).any(axis=tuple(range(1, truth.ndim)))
            forecast = _cases(subject.sel(lead=lead), pair.space)
            forecast = forecast.reshape(len(known), -1, *valid.shape)[known].reshape(-1, *valid.shape)
            k, E_f = _spectrum(forecast, valid, axes, self.axis)
            _, E_t = _spectrum(truth[known], valid, axes, self.axis)
            spectra.append((E_f, E_t))
        E_f, E_t = np.array(spectra).swapaxes(0, 1)
        value = xr.DataArray(_distance(E_f, E_t, self.floor), dims="lead", coords={"lead": leads})
        pooled = float(_distance(E_f.mean(axis=0), E_t.mean(axis=0), self.floor))
        return Score(value, pooled, "dB", _curve(E_f, E_t, k, leads, pair.units))

    def _axes(self, pair: Verification) -> tuple[Axis, ...]:
        sizes = pair.truth.sizes
        return pair.axes or tuple(Axis(name, sizes[name]) for name in pair.space)


def squared(units: str) -> str:
    """Return the units of a square."""
    return "1" if units == "1" else (f"{units}2" if units.isalpha() else f"({units})2")


def _curve(
    E_f: Float[np.ndarray, "lead wavenumber"],
    E_t: Float[np.ndarray, "lead wavenumber"],
    k: Float[np.ndarray, " wavenumber"],
    leads: xr.DataArray,
    units: str,
) -> xr.DataArray:
    attrs = {"units": "1", "long_name": "waves along the axis"}
    return xr.DataArray(
        np.stack([E_f, E_t]),
        dims=("source", "lead", "wavenumber"),
        coords={
            "source": np.array(["forecast", "truth"], dtype=object),
            "lead": leads,
            "wavenumber": ("wavenumber", k, attrs),
        },
        attrs={"units": squared(units), "long_name": "energy"},
    )


def _cases(values: xr.DataArray, space: tuple[str, ...]) -> Float[np.ndarray, "case *space"]:
    """Return fields one after another, those of a member fastest."""
    array = values.transpose("sample", "time", ..., *space).values
    return array.reshape(-1, *array.shape[-len(space) :])


def _always_valid(pair: Verification) -> Bool[np.ndarray, "*space"]:
    """Return the cells that hold data in every field that is verified."""
    valid = finite(pair.truth)
    is_case = valid.any(pair.space)
    return np.asarray((valid | ~is_case).all(["sample", "time", "lead"]).values)


def _distance(
    E_f: Float[np.ndarray, "*lead wavenumber"], E_t: Float[np.ndarray, "*lead wavenumber"], floor: float
) -> Float[np.ndarray, "*lead"]:
    """Return the root-mean-square over wavenumbers of the decibels between forecast and truth."""
    lowest = floor * E_t.max(axis=-1, keepdims=True)
    decibel = 10 * np.log10(np.maximum(E_f, lowest) / np.maximum(E_t, lowest))
    return np.asarray(np.sqrt((decibel**2).mean(axis=-1)))


def _spectrum(
    values: Float[np.ndarray, "case *space"],
    valid: Bool[np.ndarray, "*space"],
    axes: tuple[Axis, ...],
    name: str | None,
) -> tuple[Float[np.ndarray, " wavenumber"], Float[np.ndarray, " wavenumber"]]:
    """Return the wavenumbers k > 0 in waves along the axis, and the mean energy at each: Σ E = ½ spatial
    variance.
    """
    if name is None and len(axes) > 1 and all(axis.periodic for axis in axes) and valid.all():
        return _isotropic(values.astype(np.float64), axes)
    index = next((i for i, axis in enumerate(axes) if axis.name == name), len(axes) - 1)
    axis = axes[index]
    rows = np.moveaxis(values, 1 + index, -1).reshape(len(values), -1, axis.size).astype(np.float64)
    valid_rows = np.moveaxis(valid, index, -1).reshape(-1, axis.size)
    if valid_rows.all() and axis.periodic:
        amplitude = np.abs(scipy.fft.rfft(rows, axis=-1)) ** 2 / axis.size**2
        if axis.size % 2 == 0:
            amplitude[..., -1] /= 2
        return np.arange(1.0, amplitude.shape[-1]), amplitude.mean(axis=(0, 1))[1:]
    columns, kept = _largest_block(valid_rows, axis)
    block = rows[:, kept][..., columns]
    amplitude = scipy.fft.dct(block, axis=-1, norm="ortho") ** 2 / (2 * len(columns))
    return np.arange(1, len(columns)) / 2 * axis.size / len(columns), amplitude.mean(axis=(0, 1))[1:]


def _isotropic(
    values: Float[np.ndarray, "case *space"], axes: tuple[Axis, ...]
) -> tuple[Float[np.ndarray, " wavenumber"], Float[np.ndarray, " wavenumber"]]:
    """Gather the energy in rings of |k| one wave wide, k in waves along the longest axis, up to the Nyquist
    ring.
    """
    shape = values.shape[1:]
    lengths = [axis.length or 1.0 for axis in axes]
    waves = [
        np.fft.fftfreq(n, 1 / n) * max(lengths) / length for n, length in zip(shape, lengths, strict=True)
    ]
    radius = np.sqrt(sum(k**2 for k in np.meshgrid(*waves, indexing="ij")))
    power = (np.abs(scipy.fft.fftn(values, axes=range(1, values.ndim))) ** 2).mean(axis=0) / (
        2 * np.prod(shape) ** 2
    )
    rings = np.bincount(np.rint(radius).astype(int).ravel(), weights=power.ravel())
    nyquist = int(min(np.abs(k).max() for k in waves))
    return np.arange(1.0, nyquist + 1), rings[1 : nyquist + 1]


def _largest_block(
    valid: Bool[np.ndarray, "row cell"], axis: Axis
) -> tuple[np.ndarray, Bool[np.ndarray, " row"]]:
    """Return the columns (across the seam of a periodic axis too) and rows of the gap-free block with most
    cells.
    """
    size = valid.shape[1]
    best, where = 0, (0, 0)
    for start in range(size):
        reach = size if axis.periodic else size - start
        columns = (start + np.arange(reach)) % size
        lengths = np.sort(np.logical_and.accumulate(valid[:, columns], axis=1).sum(axis=1))[::-1]
        cells = np.where(lengths >= SHORTEST, lengths * np.arange(1, len(lengths) + 1), 0)
        if cells.max() > best:
            best, where = int(cells.max()), (start, int(lengths[cells.argmax()]))
    if best == 0:
        raise EmptySelection(
            f"no row along axis '{axis.name}' holds {SHORTEST} valid cells on end",
            "drop the metric energy_spectrum",
        )
    columns = (where[0] + np.arange(where[1])) % size
    return columns, np.asarray(valid[:, columns].all(axis=1))
