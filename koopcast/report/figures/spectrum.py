"""Energy over wavenumber."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from koopcast.report.clock import Clock
from koopcast.report.style import INK, SERIES, Picture, draw, readable, with_units


def energy_spectra(curve: xr.DataArray, subjects: list[str], clock: Clock, name: str) -> Picture:
    """Draw the spectra of subjects beside the truth's; each at its first lead, and its last one dashed.

    Args:
        curve: Of one variable, dims `(subject, source, lead, wavenumber)`, NaN where there is none.
        subjects: Those to draw.
        clock: What a step is called.
        name: Of the picture.
    """
    k = curve["wavenumber"].values
    labels = []

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        truth = curve.sel(source="truth").mean(["subject", "lead"]).values
        axes.loglog(k, truth, color=INK, linewidth=3.4, alpha=0.3, label="truth")
        for place, subject in enumerate(subjects):
            own = curve.sel(source="forecast", subject=subject).dropna("lead", how="all")
            for order, lead in enumerate(dict.fromkeys(own["lead"].values[[0, -1]].tolist())):
                label = f"{subject}, {clock.text(lead)}" if lead else subject
                labels.append(label)
                style = "-" if order == 0 else (0, (4, 2))
                colour = SERIES[place % len(SERIES)]
                axes.loglog(k, own.sel(lead=lead), color=colour, linestyle=style, linewidth=1.5, label=label)
        top = float(np.nanmax(truth))
        axes.set_ylim(bottom=max(float(np.nanmin(truth[truth > 0])) / 30, 1e-12 * top))
        axes.set_xlabel("wavenumber (waves along the axis)")
        axes.set_ylabel(with_units("energy", str(curve.attrs.get("units", "1"))))
        axes.legend(loc="lower left")

    svg = draw(plot)
    title = f"Energy spectrum of {readable(str(curve['variable'].values))}"
    caption = (
        "Variance at each scale, large scales at the left. A line below the broad one has lost that "
        "scale (too "
        "smooth); above it, made it up (noise)."
    )
    return Picture(name, title, caption, f"{title}: truth and {', '.join(labels)}", svg)
