"""Koopman eigenvalues in the unit circle."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from koopcast.report.clock import Clock
from koopcast.report.style import INK, MUTED, SERIES, Picture, draw, sentence

LABELLED = 6
"""Pairs whose period is written beside them."""


NEAR = 0.13
"""Angle between two labels, in radians."""


def unit_circle(diagnostics: xr.Dataset, clock: Clock, model: str, name: str) -> Picture:
    """Draw the eigenvalues of one step, with the periods of the slowest to decay.

    Args:
        diagnostics: `eigenvalue_real` and `eigenvalue_imag`, dim `mode`.
        clock: What a step is called.
        model: Whose they are.
        name: Of the picture.
    """
    value = diagnostics["eigenvalue_real"].values + 1j * diagnostics["eigenvalue_imag"].values
    upper = value[value.imag > 1e-9]
    labelled = _apart(upper[np.argsort(-np.abs(upper))])[:LABELLED]
    periods = [clock.text(2 * np.pi / np.angle(item)) for item in labelled]
    reach = max(1.12, 1.08 * float(np.abs(value).max(initial=0.0)))

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        angle = np.linspace(0, 2 * np.pi, 361)
        axes.fill(np.cos(angle), np.sin(angle), color=MUTED, alpha=0.06, linewidth=0)
        axes.plot(np.cos(angle), np.sin(angle), color=INK, linewidth=1.0)
        growing = np.abs(value) > 1 + 1e-6
        for chosen, colour in ((~growing, SERIES[0]), (growing, SERIES[1])):
            axes.scatter(value[chosen].real, value[chosen].imag, s=26, color=colour, alpha=0.85, linewidth=0)
        for item, period in zip(labelled, periods, strict=True):
            edge = 1.06 * max(1.0, abs(item)) * item / abs(item)
            axes.plot([item.real, edge.real], [item.imag, edge.imag], color=MUTED, linewidth=0.6)
            side = "left" if edge.real >= 0 else "right"
            axes.text(
                1.03 * edge.real, 1.03 * edge.imag, period, ha=side, va="center", fontsize=8, color=MUTED
            )
        axes.set(xlim=(-reach - 0.45, reach + 0.45), ylim=(-reach, reach), aspect="equal")
        axes.set_xlabel("real part")
        axes.set_ylabel("imaginary part")

    num_growing = int((np.abs(value) > 1 + 1e-6).sum())
    growth = f" {num_growing} outside the circle grow (orange)." if num_growing else ""
    title = f"{sentence(model)}: eigenvalues of one step"
    caption = (
        "Distance to the circle is decay, angle is frequency; the labels are periods. On the circle a "
        "mode goes on for "
        f"ever, inside it fades.{growth}"
    )
    largest = np.abs(value).max(initial=0.0)
    alt = f"{value.size} eigenvalues, largest modulus {largest:.3f}; periods {', '.join(periods)}"
    return Picture(name, title, caption, alt, draw(plot, height=3.3))


def _apart(values: np.ndarray) -> list[complex]:
    """Return the values in order, without those whose angle is too near to one that was kept."""
    kept: list[complex] = []
    for value in values.tolist():
        if all(abs(np.angle(value / other)) > NEAR for other in kept):
            kept.append(value)
    return kept
