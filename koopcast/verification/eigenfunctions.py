"""Eigenfunctions of a learned linear model at the records of a dataset."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from koopcast.dynamics import Dynamics
from koopcast.errors import EmptySelection
from koopcast.fields import FieldData
from koopcast.grids import Window
from koopcast.models import Model
from koopcast.verification.pairs import MEMORY

OF_A_MODE = ("residual", "verified")
"""What the diagnostics may say of a pair beside its eigenvalue."""


@torch.no_grad()
def eigenfunctions(model: Dynamics, data: FieldData, device: torch.device | None = None) -> xr.Dataset | None:
    """Return the eigenfunctions of a model at each record of the window of `data`, and its latent states.

    Variables: `eigenfunction` `(sample, time, mode)`, complex; `latent` `(sample, time, latent)`. They are
    NaN where no state ends: at records without data, and at first records of the dataset that have too few
    before them. Coordinates of `mode`: `eigenvalue`, complex; `residual`, in training, and `verified` where
    the model knows them; `data_residual`, ‖φ(x') - λ φ(x)‖ / ‖φ(x)‖ over the pairs of `data`. Attributes:
    what the diagnostics of the model say of all pairs, its `certificate` among them.

    Returns:
        None where the model has no eigenfunctions.

    Raises:
        EmptySelection: No state ends in the window.
    """
    if not isinstance(model, Model):
        return None
    begin, end = data.view.times
    first = max(begin, model.history - 1)
    if first >= end:
        raise EmptySelection(
            f"no state of {model.history} records ends in the window {data.view.times}", "widen the part"
        )
    found = _evaluated(model, data, range(first, end), device or torch.device("cpu"))
    if found is None:
        return None
    values, latent = (
        torch.nn.functional.pad(u, (0, 0, first - begin, 0), value=torch.nan).numpy() for u in found
    )
    diagnostics = model.diagnostics()
    eigenvalue = (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values
    text = "relative residual of the eigenpair over the pairs of these records"
    return xr.Dataset(
        {
            "eigenfunction": (
                ("sample", "time", "mode"), values, {"units": "1", "long_name": "eigenfunction"},
            ),
            "latent": (("sample", "time", "latent"), latent, {"units": "1", "long_name": "latent state"}),
        },
        coords={
            "time": data.times(),
            "eigenvalue": ("mode", eigenvalue, {"units": "1", "long_name": "eigenvalue of one step"}),
            **{name: diagnostics[name] for name in OF_A_MODE if name in diagnostics},
            "data_residual": (
                "mode", residuals(values, eigenvalue), {"units": "1", "long_name": text},
            ),
        },
        attrs=diagnostics.attrs,
    )  # fmt: skip


def residuals(
    values: Complex[np.ndarray, "sample time mode"], eigenvalues: Complex[np.ndarray, " mode"]
) -> Float[np.ndarray, " mode"]:
    """Return ‖φ(x') - λ φ(x)‖ / ‖φ(x)‖ over pairs of records in a row; NaN where there is no pair."""
    before, after = values[:, :-1], values[:, 1:]
    is_pair = np.isfinite(before).all(axis=2) & np.isfinite(after).all(axis=2)
    phi, phi_next = before[is_pair], after[is_pair]
    size = np.linalg.norm(phi, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.linalg.norm(phi_next - eigenvalues * phi, axis=0) / size)


def _evaluated(
    model: Model, data: FieldData, ends: range, device: torch.device
) -> tuple[Complex[Tensor, "sample time mode"], Float[Tensor, "sample time latent"]] | None:
    """Return eigenfunctions and latent states of the states that end at these records."""
    h, samples = model.history, data.view.samples
    window = Window(samples, (ends.start - h + 1, ends.stop))
    frames = data.tensor(window=window, dtype=model.dtype)
    is_known = _known(data, window, h)
    count = len(ends)
    jobs = torch.cartesian_prod(torch.arange(len(frames)), torch.arange(count))
    phis, latents = [], []
    for batch in jobs.split(max(1, MEMORY // (16 * h * frames[0, 0].numel()))):
        sample, start = batch.unbind(dim=1)
        states = torch.stack([frames[sample, start + age] for age in range(h)], dim=1).to(device)
        if (phi := model.eigenfunctions(states)) is None:
            return None
        phis.append(phi.cpu())
        latents.append(model.encode(states).cpu())
    phi, latent = (torch.cat(u).unflatten(0, (len(frames), count)) for u in (phis, latents))
    unknown = ~is_known.expand(len(frames), count)
    phi[unknown], latent[unknown] = torch.nan, torch.nan
    return phi, latent


def _known(data: FieldData, window: Window, history: int) -> Bool[Tensor, "#sample time"]:
    """Return at which records a state ends all of whose records hold data somewhere."""
    valid = FieldData(data.dataset, data.info, window).valid().flatten(2).any(dim=2)
    if valid.shape[1] == 1:
        return valid
    return valid.unfold(1, history, 1).all(dim=2)
